//! kube-shunt alone, fed by files: what its own pipeline takes from objects to kernel, with no API server's time in it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::agent::{Agent, AgentOptions};
use integration::maps::Frontends;
use integration::place::Place;
use integration::probe::Proto;
use integration::topology::{Cluster, Options};
use integration::wait::monotonic_ns;

mod files;
mod storm;

use super::usage::{self, Peak};
use crate::contestant::Contestant;
use crate::context::Context;
use crate::interrupt;
use crate::quiet::{Own, Watch};
use crate::record::{Better, Outcome, Record, Sample};
use crate::services::{ENDPOINTS, NODE, Numbered, PORT};
use crate::statistics::quantile;
pub(crate) use files::feed;
use files::{Form, replace};

/// As on the command line.
const WORKLOAD: &str = "scale";
/// A change that takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(10);

/// Measures `context.plan.huge` Services of ten endpoints.
pub fn run(context: &Context) -> Result<Vec<Outcome>> {
    let services = context.plan.huge;
    if services == 0 {
        return Ok(Vec::new());
    }
    let cluster = Cluster::new(Options::default())?;
    let mut records = Vec::new();
    for form in [Form::Json, Form::Yaml] {
        let dir = cluster.state.dir.join(form.name());
        files::write(&dir, form, services)?;
        context.say(&format!("scale: {services} Services as {}", form.name()));
        let rounds = context.plan.rounds.min(3);
        let mut starts = Vec::new();
        for round in 1..=rounds {
            interrupt::check()?;
            let mut agent = Measured::start(&cluster, &dir, services)?;
            starts.push(agent.figures());
            if round == rounds && form == Form::Json {
                let changes = if context.plan.quick { 100 } else { 1_000 };
                records.extend(agent.changes(&cluster, &dir, changes, services)?);
                records.extend(agent.storm(context, &cluster, &dir, services)?);
            }
        }
        records.extend(starts_of(form, services, &starts));
        std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(records.into_iter().map(Outcome::Measured).collect())
}

fn record(variant: &str, services: u32, unit: &str, samples: Vec<Sample>) -> Record {
    let kube_shunt = Contestant::KubeShunt;
    Record::new(WORKLOAD, variant, kube_shunt, services, unit, Better::Lower).with(samples)
}

/// What a start is measured by, and its unit.
const FIGURES: [(&str, &str); 5] = [
    ("until every Service is in the kernel", "s"),
    ("CPU time", "s"),
    ("memory of the process", "MiB"),
    (
        "memory of the process, without files and the kernel's maps",
        "MiB",
    ),
    ("peak memory of the process", "MiB"),
];

fn starts_of(form: Form, services: u32, starts: &[[Sample; 5]]) -> Vec<Record> {
    let figures = FIGURES.iter().enumerate();
    let record = |(index, (what, unit)): (usize, &(&str, &str))| {
        let samples = starts.iter().filter_map(|start| start.get(index).copied());
        let variant = format!("start from {} files: {what}", form.name());
        record(&variant, services, unit, samples.collect())
    };
    figures.map(record).collect()
}

/// An agent that has everything in the kernel.
struct Measured {
    agent: Agent,
    figures: [Sample; 5],
}

impl Measured {
    fn start(cluster: &Cluster, manifests: &Path, services: u32) -> Result<Self> {
        let node = &cluster.b;
        debug_assert_eq!(node.name(), NODE);
        let dir = cluster.state.dir.join(WORKLOAD);
        let backends = (services * ENDPOINTS).next_power_of_two().max(1 << 18);
        let options =
            AgentOptions::production().with("map-backends-entries", &backends.to_string());
        let (host, root): (&Place, &Path) = (&node.host, node.bpf_root());
        let watch = Watch::begin(Own::Tree);
        let start = monotonic_ns();
        let mut agent = Agent::start(host, manifests, &dir, root, &options)?;
        let pid = agent.pid().context("no agent")?;
        let peak = Peak::of(pid);
        agent.wait_ready()?;
        let took = Duration::from_nanos(monotonic_ns() - start).as_secs_f64();
        let disturbed = watch.end().disturbs();
        let [all, own] = usage::resident_mib(pid)?;
        let values = [took, usage::cpu_seconds(pid)?, all, own, peak.mib()];
        Ok(Self {
            agent,
            figures: values.map(|value| Sample { value, disturbed }),
        })
    }

    fn figures(&self) -> [Sample; 5] {
        self.figures
    }

    /// One endpoint less, and more again, in a file: until the kernel's map says so.
    fn changes(
        &mut self,
        cluster: &Cluster,
        dir: &Path,
        changes: u32,
        services: u32,
    ) -> Result<Vec<Record>> {
        let frontends = Frontends::open(cluster.b.bpf_root())?;
        let watch = Watch::begin(Own::Tree);
        let mut times = Vec::new();
        for change in 0..changes {
            interrupt::check()?;
            let count = ENDPOINTS - (change + 1) % 2;
            let text = Numbered::v4(0).slice(count).to_string();
            let start = monotonic_ns();
            replace(dir, 0, &text)?;
            until(&frontends, 0, count, start)?;
            times.push(Duration::from_nanos(monotonic_ns() - start).as_secs_f64() * 1_000.0);
        }
        let disturbed = watch.end().disturbs();
        let pid = self.agent.pid().context("no agent")?;
        let [all, _own] = usage::resident_mib(pid)?;
        let of = |fraction| quantile(&times, fraction).context("no change");
        let sample = |value| vec![Sample { value, disturbed }];
        let variant = |name: &str| format!("one endpoint changes, file to kernel: {name}");
        Ok(vec![
            record(&variant("p50"), services, "ms", sample(of(0.5)?)),
            record(&variant("p99"), services, "ms", sample(of(0.99)?)),
            record(
                "memory of the process after all changes",
                services,
                "MiB",
                sample(all),
            ),
        ])
    }
}

/// Waits until the kernel has `count` endpoints of Service `number`.
fn until(frontends: &Frontends, number: u32, count: u32, start: u64) -> Result<()> {
    let ip = Numbered::v4(number).cluster_ip();
    loop {
        let counts = frontends.counts(ip, PORT, Proto::Tcp)?;
        if counts.context("the frontend is gone")? == [count; 3] {
            return Ok(());
        }
        ensure!(
            u128::from(monotonic_ns() - start) < LIMIT.as_nanos(),
            "not in the kernel after {LIMIT:?}"
        );
        std::thread::park_timeout(Duration::from_micros(20));
    }
}
