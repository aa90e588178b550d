//! New connections: connect, one byte there, one byte back, close. From a pod and from the node to a `ClusterIP`, from outside to node
//! ports with backends on the node and elsewhere.

use anyhow::Result;

use crate::arena::{Arena, CLIENT_CPU, From, Lane, To};
use crate::contestant::Contestant;
use crate::context::Context;
use crate::interleave::{self, Contender};
use crate::plan::Subset;
use crate::quiet::Own;
use crate::record::{Better, Outcome, Position, Record};
use crate::services::Edge;
use crate::traffic::{Order, Task, process};

/// What may run beside a sample without disturbing it.
pub(super) const OWN: Own = Own::Named(&["proxy-bench", "kube-shunt", "iperf3"]);

/// A way to a backend.
struct Way {
    name: &'static str,
    from: From,
    to: fn(Position) -> To,
    /// Whether the place among the Services matters.
    placed: bool,
}

const WAYS: [Way; 4] = [
    Way {
        name: POD,
        from: From::Pod,
        to: To::ClusterIp,
        placed: true,
    },
    Way {
        name: NODE,
        from: From::Node,
        to: To::ClusterIp,
        placed: true,
    },
    Way {
        name: "NodePort from outside, backend on the node",
        from: From::Outside,
        to: |_| To::NodePort(Edge::Local),
        placed: false,
    },
    Way {
        name: "NodePort from outside, backend elsewhere",
        from: From::Outside,
        to: |_| To::NodePort(Edge::Remote),
        placed: false,
    },
];

/// The way of a pod's connections.
pub const POD: &str = "ClusterIP from a pod";
/// The way of the node's own.
pub const NODE: &str = "ClusterIP from the node";
/// The names of all ways.
pub fn ways() -> impl Iterator<Item = &'static str> {
    WAYS.iter().map(|way| way.name)
}

/// Connections at a time.
pub const PARALLEL: [u32; 2] = [1, 64];

/// The name of a figure: `what` is `connections`, `p50` or `p99`.
pub fn variant(way: &str, parallel: u32, what: &str) -> String {
    format!("{way}, {parallel} at a time: {what}")
}

/// Measures at the arena's number of Services.
pub fn run(context: &Context, arena: &Arena) -> Result<Vec<Outcome>> {
    let name = Subset::Connections.name();
    let mut outcomes: Vec<Outcome> = arena.left_out(name).into_iter().map(Into::into).collect();
    for way in WAYS {
        for parallel in PARALLEL {
            context.say(&format!(
                "connections at {} Services: {}, {parallel} at a time",
                arena.services(),
                way.name
            ));
            let mut contenders = Vec::new();
            for lane in arena.lanes() {
                contenders.extend(contenders_of(
                    context,
                    lane,
                    arena.services(),
                    &way,
                    parallel,
                ));
            }
            outcomes.extend(interleave::run(context, OWN, contenders)?);
        }
    }
    Ok(outcomes)
}

/// The lane's, one for each position that matters.
fn contenders_of<'a>(
    context: &'a Context,
    lane: &'a Lane,
    services: u32,
    way: &Way,
    parallel: u32,
) -> Vec<Contender<'a>> {
    // XDP sees nothing of what does not come by the uplink.
    if lane.contestant == Contestant::KubeShuntXdp && way.from != From::Outside {
        return Vec::new();
    }
    let placed = way.placed && lane.contestant != Contestant::Direct;
    let positions = if placed {
        Position::of(services)
    } else {
        &[Position::First]
    };
    positions
        .iter()
        .map(|&position| {
            let record = |what: &str, unit: &str, better| {
                let variant = variant(way.name, parallel, what);
                let name = Subset::Connections.name();
                let mut record =
                    Record::new(name, variant, lane.contestant, services, unit, better);
                if placed {
                    record = record.at(position);
                }
                if lane.contestant == Contestant::KubeShuntXdp {
                    record = record.note("XDP on veth: see packets for a NIC-like source");
                }
                record
            };
            let records = vec![
                record("connections", "1/s", Better::Higher),
                record("p50", "us", Better::Lower),
                record("p99", "us", Better::Lower),
            ];
            let order = Order {
                task: Task::Connect { parallel },
                to: lane.address((way.to)(position)),
                during: context.plan.sample,
                cpu: CLIENT_CPU,
            };
            let from = way.from;
            Contender::new(records, move || {
                let found = process::ask(lane.client(from)?, &order)?;
                Ok(vec![found.per_second, found.p50_us, found.p99_us])
            })
        })
        .collect()
}
