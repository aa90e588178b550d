//! Nanoseconds per packet of each eBPF program, in two ways: `BPF_PROG_TEST_RUN` less an empty program, by hook, family and kind of
//! packet; and by the kernel's own statistics while real connections run, which add some tens of nanoseconds themselves.

use anyhow::{Context as _, Result};
use integration::bpf::{RunTime, Statistics, run_times};
use integration::prog_bench;
use integration::topology::Family;

use super::scale;
use crate::arena::{Arena, CLIENT_CPU, From, Lane, To};
use crate::contestant::{Contestant, Source};
use crate::context::Context;
use crate::interrupt;
use crate::plan::Subset;
use crate::quiet::{Own, Watch};
use crate::record::{Better, Outcome, Position, Record, Sample};
use crate::services::Edge;
use crate::traffic::{Order, Task, process};

/// Traffic of a pod, to a `ClusterIP` or to the pods behind it.
const TRAFFIC: [(&str, Contestant, Task); 5] = [
    (
        "new connections",
        Contestant::KubeShunt,
        Task::Connect { parallel: 1 },
    ),
    (
        "questions and answers",
        Contestant::KubeShunt,
        Task::Exchange,
    ),
    ("one TCP stream", Contestant::KubeShunt, Task::Stream),
    (
        "new connections that are no Service's",
        Contestant::Beside,
        Task::Connect { parallel: 1 },
    ),
    (
        "questions and answers that are no Service's",
        Contestant::Beside,
        Task::Exchange,
    ),
];

/// Measures both ways.
pub fn run(context: &Context) -> Result<Vec<Outcome>> {
    let mut records = test_runs(context)?;
    records.extend(in_traffic(context)?);
    Ok(records.into_iter().map(Outcome::Measured).collect())
}

fn record(variant: String, samples: impl IntoIterator<Item = Sample>) -> Record {
    let name = Subset::Program.name();
    Record::new(name, variant, Contestant::KubeShunt, 0, "ns", Better::Lower).with(samples)
}

/// The programs by themselves; no cluster is there.
fn test_runs(context: &Context) -> Result<Vec<Record>> {
    context.say("program: nanoseconds per packet");
    let rounds = u16::try_from(2 * context.plan.rounds)?;
    let watch = Watch::begin(Own::Tree);
    let figures = prog_bench::measure(rounds, &[])?;
    // All cases take turns in every round: what disturbs one disturbs all.
    let disturbed = watch.end().disturbs();
    let figures = figures.into_iter().map(|figure| {
        let samples = figure.nanoseconds.into_iter();
        record(
            figure.name,
            samples.map(|value| Sample { value, disturbed }),
        )
    });
    Ok(figures.collect())
}

/// The programs at work, by the kernel's statistics.
fn in_traffic(context: &Context) -> Result<Vec<Record>> {
    context.say("program: the kernel's run-time statistics");
    let mut arena = Arena::new(context, None)?;
    let dir = arena.folder("feed")?;
    scale::feed(&dir, 1)?;
    arena.start(context, Source::Manifests(&dir), 1)?;
    let lane = arena
        .lane(Contestant::KubeShunt)
        .context("kube-shunt did not come up")?;
    let _statistics = Statistics::enable()?;
    let mut records: Vec<Record> = Vec::new();
    for _ in 0..context.plan.rounds {
        for (what, contestant, task) in TRAFFIC {
            interrupt::check()?;
            for (program, sample) in one(context, lane, contestant, task)? {
                let variant = format!("run-time statistics, {what}: {program}");
                match records.iter_mut().find(|record| record.variant == variant) {
                    Some(record) => record.samples.push(sample),
                    None => records.push(record(variant, [sample])),
                }
            }
        }
    }
    arena.stop()?;
    Ok(records)
}

/// Nanoseconds of a run of each program that ran.
fn one(
    context: &Context,
    lane: &Lane,
    contestant: Contestant,
    task: Task,
) -> Result<Vec<(String, Sample)>> {
    let to = To::Edge(Edge::Local, Position::First);
    let order = Order {
        task,
        to: lane.addresses(contestant, to, Family::V4, task.proto())?,
        during: context.plan.sample,
        cpu: CLIENT_CPU,
    };
    let before = run_times(lane.bpf_root())?;
    let watch = Watch::begin(Own::Tree);
    process::ask(lane.client(From::Pod)?, &order)?;
    let disturbed = watch.end().disturbs();
    let after = run_times(lane.bpf_root())?;
    let mut samples = Vec::new();
    for (program, RunTime { runs, ns }) in after {
        let start = before.get(&program).copied().unwrap_or_default();
        let (runs, ns) = (runs - start.runs, ns - start.ns);
        // A few runs are somebody's neighbour discovery.
        if runs > 100 {
            #[expect(clippy::cast_precision_loss, reason = "seconds are below 2^52 ns")]
            let value = ns as f64 / runs as f64;
            samples.push((program, Sample { value, disturbed }));
        }
    }
    Ok(samples)
}
