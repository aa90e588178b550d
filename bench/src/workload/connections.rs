//! New connections: connect, one byte there, one byte back, close. From a pod and from the node to a `ClusterIP`, from outside to node
//! ports with backends on the node and elsewhere.

use anyhow::Result;
use integration::topology::Family;

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
    family: Family,
    from: From,
    to: fn(Position) -> To,
}

impl Way {
    const fn outside(name: &'static str, family: Family, to: fn(Position) -> To) -> Self {
        Self {
            name,
            family,
            from: From::Outside,
            to,
        }
    }

    const fn inside(name: &'static str, family: Family, from: From) -> Self {
        Self {
            name,
            family,
            from,
            to: To::ClusterIp,
        }
    }
}

const WAYS: [Way; 8] = [
    Way::inside(POD, Family::V4, From::Pod),
    Way::inside(NODE, Family::V4, From::Node),
    Way::outside(
        "NodePort from outside, backend on the node",
        Family::V4,
        |position| To::NodePort(Edge::Local, position),
    ),
    Way::outside(
        "NodePort from outside, backend elsewhere",
        Family::V4,
        |position| To::NodePort(Edge::Remote, position),
    ),
    Way::inside(POD6, Family::V6, From::Pod),
    Way::inside(NODE6, Family::V6, From::Node),
    Way::outside(
        "IPv6 NodePort from outside, backend on the node",
        Family::V6,
        |position| To::NodePort(Edge::Local, position),
    ),
    Way::outside(
        "IPv6 NodePort from outside, backend elsewhere",
        Family::V6,
        |position| To::NodePort(Edge::Remote, position),
    ),
];

/// The way of a pod's connections.
pub const POD: &str = "ClusterIP from a pod";
/// The way of the node's own.
pub const NODE: &str = "ClusterIP from the node";
/// The way of a pod's connections by IPv6.
pub const POD6: &str = "IPv6 ClusterIP from a pod";
/// The way of the node's own by IPv6.
pub const NODE6: &str = "IPv6 ClusterIP from the node";
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
                for contestant in contestants(lane.contestant, way.from) {
                    let who = (lane, contestant);
                    let services = arena.services();
                    contenders.extend(contenders_of(context, who, services, &way, parallel)?);
                }
            }
            outcomes.extend(interleave::run(context, OWN, contenders)?);
        }
    }
    Ok(outcomes)
}

/// Who is measured in a lane.
fn contestants(lane: Contestant, from: From) -> Vec<Contestant> {
    match (lane, from) {
        // XDP sees nothing of what does not come by the uplink; the other is measured by packets.
        (Contestant::KubeShuntXdp, From::Pod | From::Node) | (Contestant::HostRouting, _) => {
            Vec::new()
        }
        (Contestant::KubeShunt, From::Pod | From::Node) => vec![lane, Contestant::Beside],
        _ => vec![lane],
    }
}

/// A contestant's in a lane, one for each position.
fn contenders_of<'a>(
    context: &'a Context,
    (lane, contestant): (&'a Lane, Contestant),
    services: u32,
    way: &Way,
    parallel: u32,
) -> Result<Vec<Contender<'a>>> {
    let contender = |position: Option<Position>| {
        let record = |what: &str, unit: &str, better| {
            let variant = variant(way.name, parallel, what);
            let name = Subset::Connections.name();
            let record = Record::new(name, variant, contestant, services, unit, better);
            let record = record.at(position);
            if contestant == Contestant::KubeShuntXdp {
                return record.note("XDP on veth: see packets for a NIC-like source");
            }
            record
        };
        let records = vec![
            record("connections", "1/s", Better::Higher),
            record("p50", "us", Better::Lower),
            record("p99", "us", Better::Lower),
        ];
        let to = (way.to)(position.unwrap_or_default());
        let task = Task::Connect { parallel };
        let order = Order {
            task,
            to: lane.addresses(contestant, to, way.family, task.proto())?,
            during: context.plan.sample,
            cpu: CLIENT_CPU,
        };
        let from = way.from;
        Ok(Contender::new(records, move || {
            let found = process::ask(lane.client(from)?, &order)?;
            Ok(vec![found.per_second, found.p50_us, found.p99_us])
        }))
    };
    let positions = super::positions(contestant, services);
    positions.into_iter().map(contender).collect()
}
