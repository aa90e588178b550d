//! The JSON: what was run, where, and what came out.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::record::{LeftOut, Outcome, Record};

/// A run and its outcomes.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Results {
    /// The command that makes such results.
    pub command: String,
    /// When it ended, UTC (RFC 3339).
    pub when: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether its figures are for comparing at all.
    pub quick: bool,
    /// For everything that was left to chance.
    pub seed: u64,
    /// Samples of each figure, if none was disturbed.
    pub rounds: u32,
    /// Milliseconds of a sample of traffic.
    pub sample_ms: u64,
    /// Numbers of Services.
    pub sizes: Vec<u32>,
    /// Where.
    pub machine: Machine,
    /// Programs and their versions.
    pub versions: Vec<(String, String)>,
    /// What came out.
    pub outcomes: Vec<Outcome>,
}

/// What figures depend on.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Its processor's name.
    pub processor: String,
    /// Processors that are online.
    pub processors: usize,
    /// Of memory.
    pub memory_mib: u64,
    /// Release and architecture.
    pub kernel: String,
    /// Whether it is a guest, and of what.
    pub hypervisor: String,
    /// The kernel's mitigation of indirect branches: they are what eBPF and netfilter pay for alike.
    pub spectre_v2: String,
    /// What processors do that have nothing to do.
    pub idle: String,
}

impl Machine {
    /// This one; `idle` is what its idle processors do.
    pub fn this(idle: String) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| -> String {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(": "));
            value.map_or_else(
                || "unknown".to_owned(),
                |(_, value)| value.trim().to_owned(),
            )
        };
        let memory = read("/proc/meminfo");
        let kilobytes: u64 = memory
            .split_whitespace()
            .nth(1)
            .and_then(|kilobytes| kilobytes.parse().ok())
            .unwrap_or_default();
        let guest = field("flags").split(' ').any(|flag| flag == "hypervisor");
        Self {
            processor: field("model name"),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kilobytes / 1024,
            kernel: said("uname", &["-rm"]),
            hypervisor: if guest { "virtual machine" } else { "none" }.to_owned(),
            spectre_v2: read("/sys/devices/system/cpu/vulnerabilities/spectre_v2")
                .trim()
                .to_owned(),
            idle,
        }
    }
}

impl Results {
    /// Of a run that ends now.
    pub fn new(
        plan: &Plan,
        command: String,
        seconds: f64,
        idle: String,
        outcomes: Vec<Outcome>,
    ) -> Result<Self> {
        Ok(Self {
            command,
            when: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            seconds,
            quick: plan.quick,
            seed: plan.seed,
            rounds: plan.rounds,
            sample_ms: u64::try_from(plan.sample.as_millis())?,
            sizes: plan.sizes.clone(),
            machine: Machine::this(idle),
            versions: versions(),
            outcomes,
        })
    }

    /// Several runs as one: of one machine, with the same versions and as much effort.
    pub fn join(runs: Vec<Self>) -> Result<Self> {
        let mut runs = runs.into_iter();
        let mut all = runs.next().context("no results")?;
        for run in runs {
            let key = |run: &Self| {
                let Self {
                    quick,
                    seed,
                    rounds,
                    sample_ms,
                    machine,
                    versions,
                    ..
                } = run.clone();
                (quick, seed, rounds, sample_ms, machine, versions)
            };
            ensure!(
                key(&run) == key(&all),
                "the runs of {} and {} differ in machine, versions, seed or effort",
                all.when,
                run.when
            );
            all.command = format!("{}; {}", all.command, run.command);
            all.when = run.when;
            all.seconds += run.seconds;
            all.sizes.extend(run.sizes);
            all.add(run.outcomes);
        }
        all.sizes.sort_unstable();
        all.sizes.dedup();
        Ok(all)
    }

    /// Adds what a later run found. Where both measured the same figures of a workload and size, each has the samples of both; else those of
    /// the later run take their place: no ratio is made of figures of different runs.
    fn add(&mut self, outcomes: Vec<Outcome>) {
        let mut subjects: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for outcome in outcomes {
            let subject = subjects.entry(outcome.subject()).or_default();
            subject.push(outcome);
        }
        for (subject, mut again) in subjects {
            let mine = |one: &Outcome| one.subject() == subject;
            let mut earlier: Vec<_> = self.outcomes.iter_mut().filter(|one| mine(one)).collect();
            earlier.sort_by_key(|one| one.figure());
            again.sort_by_key(Outcome::figure);
            let figures = earlier.iter().map(|one| one.figure());
            if figures.eq(again.iter().map(Outcome::figure)) {
                for (earlier, again) in earlier.into_iter().zip(again) {
                    earlier.add(again);
                }
            } else {
                self.outcomes.retain(|one| !mine(one));
                self.outcomes.extend(again);
            }
        }
    }

    /// What was measured.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Measured(record) => Some(record),
            Outcome::LeftOut(_) => None,
        })
    }

    /// What was not.
    pub fn left_out(&self) -> impl Iterator<Item = &LeftOut> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Measured(_) => None,
            Outcome::LeftOut(left_out) => Some(left_out),
        })
    }
}

fn versions() -> Vec<(String, String)> {
    let agent = integration::binaries::kube_shunt()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let assets = integration::control_plane::program_path;
    let asset = |name: &str| assets(name).display().to_string();
    [
        ("kube-shunt", agent, "version"),
        ("kube-proxy", asset("kube-proxy"), "--version"),
        ("kube-apiserver", asset("kube-apiserver"), "--version"),
        ("iptables", "iptables".to_owned(), "--version"),
        ("nft", "nft".to_owned(), "--version"),
        ("iperf3", "iperf3".to_owned(), "--version"),
    ]
    .into_iter()
    .map(|(name, program, flag)| {
        let line = said(&program, &[flag]);
        (name.to_owned(), line)
    })
    .collect()
}

/// The first line of what a program says; why there is none.
fn said(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned(),
        Err(error) => format!("not there ({})", error.kind()),
    }
}
