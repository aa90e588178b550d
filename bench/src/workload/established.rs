//! Established connections through a `ClusterIP`: questions and answers, one stream, small datagrams, and what a packet costs.

use anyhow::Result;

use super::connections::OWN;
use crate::arena::{Arena, CLIENT_CPU, From, Lane, To};
use crate::contestant::Contestant;
use crate::context::Context;
use crate::interleave::{self, Contender};
use crate::plan::Subset;
use crate::record::{Better, Outcome, Record};
use crate::services::Edge;
use crate::traffic::{Found, Order, Task, process};

/// A figure of a task.
type Figure = (&'static str, &'static str, Better, fn(&Found) -> f64);

const P50: Figure = ("p50", "us", Better::Lower, |found| found.p50_us);
const P99: Figure = ("p99", "us", Better::Lower, |found| found.p99_us);
const CPU: Figure = ("CPU per packet", "ns", Better::Lower, |found| found.cpu_ns);

const TASKS: [(&str, Task, &[Figure]); 4] = [
    ("TCP question and answer", Task::Exchange, &[P50, P99]),
    ("UDP question and answer", Task::ExchangeUdp, &[P50, P99]),
    (
        "one TCP stream",
        Task::Stream,
        &[
            ("throughput", "Gbit/s", Better::Higher, |found| {
                found.per_second * 8.0 / 1e9
            }),
            CPU,
        ],
    ),
    (
        "small datagrams",
        Task::Flood,
        &[
            ("delivered", "1/s", Better::Higher, |found| found.per_second),
            CPU,
        ],
    ),
];

/// Measures at the arena's number of Services.
pub fn run(context: &Context, arena: &Arena) -> Result<Vec<Outcome>> {
    let name = Subset::Established.name();
    let mut outcomes: Vec<Outcome> = arena.left_out(name).into_iter().map(Into::into).collect();
    for (what, task, figures) in TASKS {
        context.say(&format!(
            "established at {} Services: {what}",
            arena.services()
        ));
        let contenders = taking_part(arena)
            .map(|lane| {
                let records = figures
                    .iter()
                    .map(|(figure, unit, better, _)| {
                        let variant = format!("{what}: {figure}");
                        Record::new(
                            name,
                            variant,
                            lane.contestant,
                            arena.services(),
                            unit,
                            *better,
                        )
                    })
                    .collect();
                let order = Order {
                    task,
                    to: lane.address(To::Edge(Edge::Local)),
                    during: context.plan.sample,
                    cpu: CLIENT_CPU,
                };
                Contender::new(records, move || {
                    let found = process::ask(lane.client(From::Pod)?, &order)?;
                    Ok(figures.iter().map(|(.., value)| value(&found)).collect())
                })
            })
            .collect();
        outcomes.extend(interleave::run(context, OWN, contenders)?);
    }
    Ok(outcomes)
}

/// Everybody whose packets from pods go another way than somebody else's.
fn taking_part(arena: &Arena) -> impl Iterator<Item = &Lane> {
    arena
        .lanes()
        .filter(|lane| lane.contestant != Contestant::KubeShuntXdp)
}
