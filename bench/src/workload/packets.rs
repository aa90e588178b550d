//! Packets from a NIC-like source to node ports: how many a second get through one processor. No socket and no application is in it:
//! frames are born in XDP on the node's uplink, and dropped and counted where they arrive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::bpf::{Foreign, Hook};
use integration::live::{Flows, Generator, Sink, Template};
use integration::maps;
use integration::place::Place;
use integration::probe::Proto;
use integration::topology::Family;
use integration::wait;
use nix::ifaddrs::getifaddrs;

use super::connections::OWN;
use crate::arena::{Arena, CLIENT_CPU, Lane, To};
use crate::contestant::Contestant;
use crate::context::Context;
use crate::interleave::{self, Contender};
use crate::plan::Subset;
use crate::record::{Better, Outcome, Position, Record};
use crate::services::Edge;
use crate::traffic;

/// The uplink, in the node and, where it has none of its own, a pod's.
const UPLINK: &str = "eth0";
/// Frames in one call, which nothing ends early.
const CHUNK: u32 = 8_192;
/// The port of the flow that is established.
const PORT: u16 = 5_353;
/// How long a first packet may take.
const SOON: Duration = Duration::from_secs(5);

/// Where packets go.
const WAYS: [(&str, Edge); 3] = [
    ("NodePort, backend on the node", Edge::Local),
    (
        "NodePort with externalTrafficPolicy Local, backend on the node",
        Edge::Kept,
    ),
    ("NodePort, backend elsewhere", Edge::Remote),
];

/// The name of a figure.
pub fn variant(family: Family, way: Edge, flows: Flows) -> String {
    let name = WAYS
        .iter()
        .find(|(_, edge)| *edge == way)
        .map_or("", |(name, _)| name);
    let prefix = super::prefix(family);
    let what = match flows {
        Flows::New => "new flows",
        Flows::One => "packets of an established flow",
    };
    format!("{prefix}{name}: {what}")
}

/// Measures at the arena's number of Services.
pub fn run(context: &Context, arena: &mut Arena) -> Result<Vec<Outcome>> {
    let name = Subset::Packets.name();
    let mut outcomes: Vec<Outcome> = arena.left_out(name).into_iter().map(Into::into).collect();
    // XDP programs at the ends of the uplinks: ours take the place of those that stand for a NIC's driver.
    let standing: Vec<_> = arena.lanes_mut().map(Lane::take_far_end).collect();
    let drivers = arena.lanes().map(driver).collect::<Result<Vec<_>>>()?;
    for family in Family::BOTH {
        for (_, edge) in WAYS {
            for flows in [Flows::New, Flows::One] {
                outcomes.extend(side_by_side(context, arena, family, edge, flows)?);
            }
        }
    }
    drop(drivers);
    for (lane, far_end) in arena.lanes_mut().zip(standing) {
        lane.restore_far_end(far_end)?;
    }
    Ok(outcomes)
}

/// One kind of packets through all lanes.
fn side_by_side(
    context: &Context,
    arena: &Arena,
    family: Family,
    edge: Edge,
    flows: Flows,
) -> Result<Vec<Outcome>> {
    let (services, what) = (arena.services(), variant(family, edge, flows));
    context.say(&format!("packets at {services} Services: {what}"));
    let mut contenders = Vec::new();
    for lane in arena.lanes() {
        for contestant in variations(lane.contestant, edge) {
            for position in super::positions(contestant, services) {
                let better = Better::Higher;
                let name = Subset::Packets.name();
                let record = Record::new(name, &*what, contestant, services, "1/s", better);
                let way = (edge, position.unwrap_or_default());
                let mut source = Source::new(lane, contestant, family, way, flows)
                    .with_context(|| format!("{}: {what}", contestant.title()))?;
                let (during, frames) = (context.plan.sample, context.plan.frames);
                contenders.push(Contender::new(vec![record.at(position)], move || {
                    Ok(vec![source.sample(during, frames)?])
                }));
            }
        }
    }
    interleave::run(context, OWN, contenders)
}

/// What is measured in a lane: an agent without conntrack and with it; XDP and `hostRouting` where they do more than to let packets pass.
fn variations(contestant: Contestant, edge: Edge) -> Vec<Contestant> {
    match contestant {
        Contestant::KubeShunt => vec![contestant, Contestant::KubeShuntConntrack],
        Contestant::HostRouting if edge == Edge::Remote => Vec::new(),
        Contestant::HostRouting => vec![contestant, Contestant::HostRoutingConntrack],
        Contestant::KubeShuntXdp if edge != Edge::Remote => Vec::new(),
        _ => vec![contestant],
    }
}

/// Makes frames possible on a veth: they need an XDP program there. The agent's own is one.
fn driver(lane: &Lane) -> Result<Option<Foreign>> {
    if lane.contestant == Contestant::KubeShuntXdp {
        return Ok(None);
    }
    let mut pass = Foreign::xdp()?;
    pass.attach(&lane.node().host, UPLINK, Hook::Xdp)?;
    Ok(Some(pass))
}

/// One way through one lane.
struct Source<'a> {
    lane: &'a Lane,
    contestant: Contestant,
    family: Family,
    flows: Flows,
    generator: Generator,
    edge: Edge,
}

impl<'a> Source<'a> {
    fn new(
        lane: &'a Lane,
        contestant: Contestant,
        family: Family,
        (edge, position): (Edge, Position),
        flows: Flows,
    ) -> Result<Self> {
        let node = &lane.node().host;
        let xdp = contestant == Contestant::KubeShuntXdp;
        let to = lane.addresses(contestant, To::NodePort(edge, position), family, Proto::Udp)?;
        let from = match flows {
            Flows::New => nobody(family),
            Flows::One => lane.cluster.client_ip(family),
        };
        let template = Template {
            to_mac: mac(node, UPLINK)?,
            from: SocketAddr::new(from, PORT),
            to: *to.first().context("no address")?,
            // Nobody would get answers to the many.
            payload: match flows {
                Flows::New => traffic::COUNT,
                Flows::One => traffic::ECHO,
            },
        };
        Ok(Self {
            lane,
            contestant,
            family,
            flows,
            generator: Generator::new(node, UPLINK, &template, flows, xdp)?,
            edge,
        })
    }

    /// Packets a second: of `frames` new flows, or of one flow while `during` lasts.
    fn sample(&mut self, during: Duration, frames: u32) -> Result<f64> {
        let node = &self.lane.node().host;
        let _conntrack = self
            .contestant
            .with_conntrack()
            .then(|| Conntrack::activate(node))
            .transpose()?;
        self.forget()?;
        if self.flows == Flows::One {
            self.establish()?;
        }
        let (place, device, hook) = self.end()?;
        let sink = Sink::attach(place, &device, hook)?;
        wait::until("the first packet", SOON, || {
            node.enter(|| self.generator.send(1))??;
            ensure!(sink.count()? > 0, "none");
            Ok(())
        })?;
        let before = sink.count()?;
        let (sent, took) = node.enter(|| {
            traffic::pin(CLIENT_CPU);
            let start = Instant::now();
            let (mut sent, mut took) = (0, Duration::ZERO);
            while !self.is_enough(sent, frames, start.elapsed(), during) {
                took += self.generator.send(CHUNK)?;
                sent += CHUNK;
            }
            Ok::<_, anyhow::Error>((sent, took))
        })??;
        let counted = sink.count()? - before;
        ensure!(counted > 0, "none of {sent} packets arrived");
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        Ok(counted as f64 / took.as_secs_f64())
    }

    /// Whether a sample has enough of `frames` new flows, or of the time for one flow. Rules of ten thousand Services take a tenth of a
    /// millisecond for a new flow: then time decides there too.
    fn is_enough(&self, sent: u32, frames: u32, took: Duration, during: Duration) -> bool {
        let is_late = match self.flows {
            Flows::New => sent >= frames || took >= 4 * during,
            Flows::One => took >= during,
        };
        sent > 0 && is_late
    }

    /// What the flows of earlier samples left: tables that are full and SNAT ports that are taken are not what is measured.
    fn forget(&self) -> Result<()> {
        if self.contestant.is_kube_proxy() || self.contestant.with_conntrack() {
            self.lane.node().host.run("conntrack", &["-F"])?;
        }
        if self.contestant.is_kube_shunt() {
            maps::forget_flows(self.lane.bpf_root())?;
        }
        Ok(())
    }

    /// Packets there and answers back, until every proxy takes the flow for one that goes both ways.
    fn establish(&self) -> Result<()> {
        let cluster = &self.lane.cluster;
        // What XDP transmits over a veth is only taken by an XDP program; the sink will be one.
        let mut far_end = Foreign::xdp()?;
        if self.contestant == Contestant::KubeShuntXdp {
            far_end.attach(&cluster.router, cluster.b.name(), Hook::Xdp)?;
        }
        let client = &cluster.client;
        let address = cluster.client_ip(self.family);
        let socket = client.enter(|| UdpSocket::bind((address, PORT)))??;
        socket.set_nonblocking(true)?;
        let node = &self.lane.node().host;
        let mut answers = 0;
        wait::until("answers to packets of the flow", SOON, || {
            node.enter(|| self.generator.send(1))??;
            while socket.recv(&mut [0; 64]).is_ok() {
                answers += 1;
            }
            ensure!(answers > 2, "{answers} answers");
            Ok(())
        })
    }

    /// Where packets arrive and how they are dropped there, with the least effort.
    fn end(&self) -> Result<(&Place, String, Hook)> {
        let cluster = &self.lane.cluster;
        if self.edge == Edge::Remote {
            // What XDP transmits, XDP takes; what comes from the stack is an skb already.
            let hook = if self.contestant == Contestant::KubeShuntXdp {
                Hook::Xdp
            } else {
                Hook::TcxIngress
            };
            return Ok((&cluster.router, cluster.b.name().to_owned(), hook));
        }
        Ok((self.lane.server()?, UPLINK.to_owned(), Hook::TcxIngress))
    }
}

/// Whose address new flows have: nobody is there, and nothing is sent back.
fn nobody(family: Family) -> IpAddr {
    family.pick(
        Ipv4Addr::new(198, 18, 0, 0),
        Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 0),
    )
}

/// Somebody else's rules, for which every packet is tracked, as with most CNIs and network policies.
struct Conntrack<'a>(&'a Place);

impl<'a> Conntrack<'a> {
    fn activate(node: &'a Place) -> Result<Self> {
        let rules = "table inet other {
            chain passing { type filter hook forward priority 0; ct state established,related accept; }
            chain leaving { type nat hook postrouting priority 100; ip saddr 192.0.2.0/24 masquerade; }
        }";
        node.run("nft", &[rules])?;
        Ok(Self(node))
    }
}

impl Drop for Conntrack<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.run("nft", &["delete table inet other"]) {
            eprintln!("{error:#}");
        }
    }
}

fn mac(place: &Place, device: &str) -> Result<[u8; 6]> {
    let found = place.enter(|| {
        getifaddrs().map(|mut all| {
            all.find_map(|one| {
                let link = one.address?.as_link_addr()?.addr()?;
                (one.interface_name == device).then_some(link)
            })
        })
    })??;
    found.with_context(|| format!("{device} in {} has no address", place.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_past_the_stack_is_measured_where_the_backend_is_on_the_node() {
        let all = |edge| variations(Contestant::HostRouting, edge);
        for edge in [Edge::Local, Edge::Kept] {
            assert_eq!(all(edge).len(), 2, "with conntrack and without");
        }
        assert!(all(Edge::Remote).is_empty(), "it leaves by the stack");
        assert!(variations(Contestant::KubeShuntXdp, Edge::Local).is_empty());
    }

    #[test]
    fn every_way_has_a_name_of_its_own() {
        let mut names: Vec<String> = Vec::new();
        for family in Family::BOTH {
            for edge in Edge::ALL {
                names.extend([Flows::New, Flows::One].map(|flows| variant(family, edge, flows)));
            }
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
