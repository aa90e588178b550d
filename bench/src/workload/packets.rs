//! Packets from a NIC-like source to node ports: how many a second get through one processor. No socket and no application is in it:
//! frames are born in XDP on the node's uplink, and dropped and counted where they arrive.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::bpf::{Foreign, Hook};
use integration::live::{Flows, Generator, Sink, Template};
use integration::place::Place;
use integration::topology::addresses::CLIENT4;
use integration::wait;
use nix::ifaddrs::getifaddrs;

use super::connections::OWN;
use crate::arena::{Arena, CLIENT_CPU, Lane, To};
use crate::contestant::Contestant;
use crate::context::Context;
use crate::interleave::{self, Contender};
use crate::plan::Subset;
use crate::record::{Better, Outcome, Record};
use crate::services::Edge;
use crate::traffic;

/// The uplink, in the node and, where it has none of its own, a pod's.
const UPLINK: &str = "eth0";
/// Frames in one call. As new flows they fill a quarter of conntrack's table, which holds 262,144 by default and is emptied before
/// each sample.
const CHUNK: u32 = 65_536;
/// The port of the flow that is established.
const PORT: u16 = 5_353;
/// How long a first packet may take.
const SOON: Duration = Duration::from_secs(5);
/// Whose sources new flows have: nobody is there, and nothing is sent back.
const SOURCES: [u8; 4] = [198, 18, 0, 0];

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
pub fn variant(way: Edge, flows: Flows) -> String {
    let name = WAYS
        .iter()
        .find(|(_, edge)| *edge == way)
        .map_or("", |(name, _)| name);
    let what = match flows {
        Flows::New => "new flows",
        Flows::One => "packets of an established flow",
    };
    format!("{name}: {what}")
}

/// Measures at the arena's number of Services.
pub fn run(context: &Context, arena: &mut Arena) -> Result<Vec<Outcome>> {
    let name = Subset::Packets.name();
    let services = arena.services();
    let mut outcomes: Vec<Outcome> = arena.left_out(name).into_iter().map(Into::into).collect();
    // XDP programs at the ends of the uplinks: ours take the place of those that stand for a NIC's driver.
    let standing: Vec<_> = arena.lanes_mut().map(Lane::take_far_end).collect();
    let drivers = arena.lanes().map(driver).collect::<Result<Vec<_>>>()?;
    for (way, edge) in WAYS {
        for flows in [Flows::New, Flows::One] {
            context.say(&format!(
                "packets at {services} Services: {}",
                variant(edge, flows)
            ));
            let mut contenders = Vec::new();
            for lane in arena.lanes() {
                for contestant in variations(lane.contestant, edge) {
                    let name = variant(edge, flows);
                    let unit = Record::new(
                        Subset::Packets.name(),
                        name,
                        contestant,
                        services,
                        "1/s",
                        Better::Higher,
                    );
                    let mut source = Source::new(lane, contestant, edge, flows)
                        .with_context(|| format!("{}: {way}", contestant.title()))?;
                    let during = context.plan.sample;
                    contenders.push(Contender::new(vec![unit], move || {
                        Ok(vec![source.sample(during)?])
                    }));
                }
            }
            outcomes.extend(interleave::run(context, OWN, contenders)?);
        }
    }
    drop(drivers);
    for (lane, far_end) in arena.lanes_mut().zip(standing) {
        lane.restore_far_end(far_end)?;
    }
    Ok(outcomes)
}

/// What is measured in a lane: an agent without conntrack and with it; XDP where it does more than to let packets pass.
fn variations(contestant: Contestant, edge: Edge) -> Vec<Contestant> {
    match contestant {
        Contestant::KubeShunt => vec![contestant, Contestant::KubeShuntConntrack],
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
    flows: Flows,
    generator: Generator,
    edge: Edge,
}

impl<'a> Source<'a> {
    fn new(lane: &'a Lane, contestant: Contestant, edge: Edge, flows: Flows) -> Result<Self> {
        let node = &lane.node().host;
        let xdp = contestant == Contestant::KubeShuntXdp;
        let to = lane.address(To::NodePort(edge));
        let from = match flows {
            Flows::New => std::net::SocketAddrV4::new(SOURCES.into(), PORT),
            Flows::One => std::net::SocketAddrV4::new(CLIENT4, PORT),
        };
        let template = Template {
            to_mac: mac(node, UPLINK)?,
            from,
            to,
            // Nobody would get answers to the many.
            payload: match flows {
                Flows::New => traffic::COUNT,
                Flows::One => traffic::ECHO,
            },
        };
        Ok(Self {
            lane,
            contestant,
            flows,
            generator: Generator::new(node, UPLINK, &template, flows, xdp)?,
            edge,
        })
    }

    /// Packets a second.
    fn sample(&mut self, during: Duration) -> Result<f64> {
        let node = &self.lane.node().host;
        let _conntrack = (self.contestant == Contestant::KubeShuntConntrack)
            .then(|| Conntrack::activate(node))
            .transpose()?;
        if self.contestant.is_kube_proxy() || self.contestant == Contestant::KubeShuntConntrack {
            node.run("conntrack", &["-F"])?;
        }
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
            let (mut sent, mut took) = (0_u64, Duration::ZERO);
            while sent == 0 || self.flows == Flows::One && start.elapsed() < during {
                took += self.generator.send(CHUNK)?;
                sent += u64::from(CHUNK);
            }
            Ok::<_, anyhow::Error>((sent, took))
        })??;
        let counted = sink.count()? - before;
        ensure!(counted > 0, "none of {sent} packets arrived");
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        Ok(counted as f64 / took.as_secs_f64())
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
        let socket = client.enter(|| std::net::UdpSocket::bind((CLIENT4, PORT)))??;
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
