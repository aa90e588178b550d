//! Runs scenarios: three ways for each flow, and every difference in words.

use std::path::Path;

use anyhow::{Context as _, Result};
use kube_shunt::explain::answer::{Answer, Verdict};
use kube_shunt::explain::ask::ask;
use kube_shunt::explain::body::Body;
use kube_shunt::explain::kernel::Kernel;
use kube_shunt::explain::memory::Memory;
use kube_shunt::explain::offline::Offline;
use kube_shunt::explain::question::{self, Question};
use proxy_kernel::Capacities;
use proxy_model::Policy;
use proxy_model::policy::{DetectLocal, SourceIp};
use serde_json::{Map, Value};

use crate::file::Scenario;
use crate::planned::planned;

/// Room for any scenario: large maps take long to be emptied.
const SMALL: Capacities = Capacities {
    frontends: 16_384,
    backends: 16_384,
    flows: 64,
    embryos: 64,
    affinity: 64,
    source_ranges: 1_024,
    lut: 131_072,
};

/// How often each way was asked, and what differed.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Files.
    pub scenarios: usize,
    /// Flows asked of the maps, of memory, and of the kernel.
    pub flows: [usize; 3],
    /// What differs, a line each.
    pub wrong: Vec<String>,
}

/// Keeps the programs from one scenario to the next: loading them takes longer than most scenarios.
#[derive(Debug, Default)]
pub struct Runner {
    with_kernel: bool,
    loaded: Vec<((bool, SourceIp), Kernel)>,
}

impl Runner {
    /// `with_kernel` needs root and the eBPF object.
    pub fn new(with_kernel: bool) -> Self {
        Self {
            with_kernel,
            loaded: Vec::new(),
        }
    }

    /// Runs one file. What cannot be run is wrong, too.
    pub fn run(&mut self, path: &Path, tally: &mut Tally) {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        tally.scenarios += 1;
        let before = tally.wrong.len();
        let result = Scenario::read(path).and_then(|scenario| self.scenario(&scenario, tally));
        for line in tally.wrong.iter_mut().skip(before) {
            *line = format!("{file}: {line}");
        }
        if let Err(error) = result {
            tally.wrong.push(format!("{file}: {error:#}"));
        }
    }

    /// Runs one scenario.
    pub fn scenario(&mut self, scenario: &Scenario, tally: &mut Tally) -> Result<()> {
        let inputs = scenario.inputs()?;
        let policy = inputs.policy.clone();
        let mut offline = Offline::new(inputs);
        let maps = &offline.state.maps;
        if let Err(unsound) = maps.check() {
            tally.wrong.push(format!("planner: {unsound}"));
        }
        if let Some(expected) = &scenario.expect.maps {
            compare_maps(expected, &maps.dump().to_string(), &mut tally.wrong);
        }
        let mut kernel = None;
        if self.with_kernel {
            let loaded = self.kernel(&policy)?;
            loaded.fill(&offline)?;
            offline.state.settings = loaded.settings();
            kernel = Some(loaded);
        }
        let mut memory = Memory::new(&offline.state);
        for (number, expected) in (1..).zip(&scenario.expect.flows) {
            let question = Value::Object(expected.clone()).to_string();
            let question = question::line(&question)
                .map_err(|(_id, error)| anyhow::anyhow!("flow {number}: {error}"))?;
            let flow = format!(
                "flow {number} ({} to {}/{} from {})",
                question.src.ip,
                question.dst,
                question.proto.label(),
                offline.state.side(&question).label()
            );
            tally.flows[0] += 1;
            tally.wrong.extend(
                by_planner(&offline, &question, expected)
                    .map(|why| format!("{flow}: planner: {why}")),
            );
            let mut asked = |way: usize, name: &str, body: &mut dyn Body| -> Result<()> {
                let told = ask(&offline.state, body, &question)
                    .with_context(|| format!("{flow}: {name}"))?;
                tally.flows[way] += 1;
                let wrong = differences(&told.answer, expected)?;
                if !wrong.is_empty() {
                    let (reason, wrong) = (&told.answer.reason, wrong.join("; "));
                    tally
                        .wrong
                        .push(format!("{flow}: {name} ({reason}): {wrong}"));
                }
                Ok(())
            };
            asked(1, "memory", &mut memory)?;
            if let Some(kernel) = kernel.as_deref_mut() {
                asked(2, "kernel", kernel)?;
            }
        }
        Ok(())
    }

    /// Programs with the settings that the policy asks for.
    fn kernel(&mut self, policy: &Policy) -> Result<&mut Kernel> {
        let by_cidr = matches!(
            policy.detect_local,
            DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr
        );
        let key = (by_cidr, policy.source_ip);
        let found = self.loaded.iter().position(|(known, _)| *known == key);
        let index = if let Some(index) = found {
            index
        } else {
            self.loaded.push((key, Kernel::offline(policy, SMALL)?));
            self.loaded.len() - 1
        };
        let (_, kernel) = self.loaded.get_mut(index).context("no programs")?;
        Ok(kernel)
    }
}

/// The first line in which two dumps differ.
fn compare_maps(expected: &str, found: &str, wrong: &mut Vec<String>) {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim_end);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (expected, found) = (lines(expected), lines(found));
    if expected == found {
        return;
    }
    let at = expected
        .iter()
        .zip(&found)
        .take_while(|(a, b)| a == b)
        .count();
    let line = |lines: &[String]| {
        lines
            .get(at)
            .cloned()
            .unwrap_or_else(|| "nothing".to_owned())
    };
    wrong.push(format!(
        "planner: maps, line {}: expected `{}`, found `{}`; all of it:\n{}",
        at + 1,
        line(&expected),
        line(&found),
        found.join("\n")
    ));
}

/// The backends that the planner put there, where the flow is expected to reach one.
fn by_planner(
    offline: &Offline,
    question: &Question,
    expected: &Map<String, Value>,
) -> Option<String> {
    if expected.get("verdict")? != Verdict::Dnat.label() {
        return None;
    }
    let Some(planned) = planned(&offline.state, question) else {
        return Some("there is no frontend".to_owned());
    };
    let backends: Vec<_> = planned.backends.into_iter().collect();
    let checks = [
        ("service", Value::from(planned.service)),
        ("backends", Value::from(backends)),
    ];
    checks.into_iter().find_map(|(field, found)| {
        let expected = expected.get(field)?;
        (*expected != found).then(|| format!("{field} is {found}, expected {expected}"))
    })
}

/// The fields in which the answer is not what was expected.
fn differences(answer: &Answer, expected: &Map<String, Value>) -> Result<Vec<String>> {
    const QUESTION: [&str; 5] = ["id", "src", "dst", "proto", "from"];
    let found = serde_json::to_value(answer)?;
    let mut wrong = Vec::new();
    for (field, expected) in expected {
        if QUESTION.contains(&field.as_str()) {
            continue;
        }
        match found.get(field) {
            None => wrong.push(format!("{field} is no field of an answer")),
            Some(found) if found != expected => {
                wrong.push(format!("{field} is {found}, expected {expected}"));
            }
            Some(_) => {}
        }
    }
    Ok(wrong)
}
