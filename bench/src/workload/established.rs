//! Established connections through a `ClusterIP`: questions and answers, one stream, small datagrams, and what a packet costs.

use anyhow::Result;
use integration::topology::Family;

use super::connections::OWN;
use crate::arena::{Arena, CLIENT_CPU, From, Lane, SERVER_CPU, To};
use crate::contestant::Contestant;
use crate::context::Context;
use crate::interleave::{self, Contender};
use crate::plan::Subset;
use crate::record::{Better, LeftOut, Outcome, Record};
use crate::services::Edge;
use crate::traffic::process::{self, iperf3};
use crate::traffic::{Found, Order, Task};

/// A figure of a task.
type Figure = (&'static str, &'static str, Better, fn(&Found) -> f64);

const P50: Figure = ("p50", "us", Better::Lower, |found| found.p50_us);
const P99: Figure = ("p99", "us", Better::Lower, |found| found.p99_us);
const CPU: Figure = ("CPU per packet", "ns", Better::Lower, |found| found.cpu_ns);

/// What is done, and what is told of it.
type Work = (&'static str, Task, &'static [Figure]);

const TASKS: [Work; 4] = [
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
    for family in Family::BOTH {
        for task in TASKS {
            outcomes.extend(side_by_side(context, arena, family, task)?);
        }
    }
    // It checks our own client; how many Services there are is nothing to it.
    if context.plan.sizes.first() == Some(&arena.services()) {
        outcomes.extend(cross_check(context, arena)?);
    }
    Ok(outcomes)
}

/// One task by all who take part.
fn side_by_side(
    context: &Context,
    arena: &Arena,
    family: Family,
    (what, task, figures): Work,
) -> Result<Vec<Outcome>> {
    let prefix = super::prefix(family);
    let (services, name) = (arena.services(), Subset::Established.name());
    context.say(&format!(
        "established at {services} Services: {prefix}{what}"
    ));
    let mut contenders = Vec::new();
    for lane in taking_part(arena) {
        for position in super::positions(lane.contestant, services) {
            let record = |(figure, unit, better, _): &Figure| {
                let variant = format!("{prefix}{what}: {figure}");
                let record = Record::new(name, variant, lane.contestant, services, unit, *better);
                record.at(position)
            };
            let to = To::Edge(Edge::Local, position.unwrap_or_default());
            let order = Order {
                task,
                to: lane.addresses(lane.contestant, to, family, task.proto())?,
                during: context.plan.sample,
                cpu: CLIENT_CPU,
            };
            let records = figures.iter().map(record).collect();
            contenders.push(Contender::new(records, move || {
                let found = process::ask(lane.client(From::Pod)?, &order)?;
                Ok(figures.iter().map(|(.., value)| value(&found)).collect())
            }));
        }
    }
    interleave::run(context, OWN, contenders)
}

/// One stream by a public tool.
fn cross_check(context: &Context, arena: &Arena) -> Result<Vec<Outcome>> {
    let variant = "one TCP stream, by iperf3: throughput";
    let name = Subset::Established.name();
    context.say("established: iperf3 as cross-check");
    if let Some(reason) = iperf3::missing() {
        let left_out = LeftOut {
            variant: variant.to_owned(),
            ..LeftOut::new(name, Contestant::KubeShunt, arena.services(), reason)
        };
        return Ok(vec![left_out.into()]);
    }
    // The limit, ourselves and one peer: each sample takes more than a second.
    let checked = [
        Contestant::Direct,
        Contestant::KubeShunt,
        Contestant::Nftables,
    ];
    let mut contenders = Vec::new();
    for lane in checked.into_iter().filter_map(|one| arena.lane(one)) {
        let to = lane.cross_check();
        let server = iperf3::serve(lane.server()?, to.port())?;
        let services = arena.services();
        let record = Record::new(
            name,
            variant,
            lane.contestant,
            services,
            "Gbit/s",
            Better::Higher,
        );
        contenders.push(Contender::new(vec![record], move || {
            let _until_the_last_sample = &server;
            let client = lane.client(From::Pod)?;
            Ok(vec![
                iperf3::stream(client, to, [CLIENT_CPU, SERVER_CPU])? / 1e9,
            ])
        }));
    }
    interleave::run(context, OWN, contenders)
}

/// Everybody whose packets from pods go another way than somebody else's.
fn taking_part(arena: &Arena) -> impl Iterator<Item = &Lane> {
    let out = [Contestant::KubeShuntXdp, Contestant::HostRouting];
    let lanes = arena.lanes();
    lanes.filter(move |lane| !out.contains(&lane.contestant))
}
