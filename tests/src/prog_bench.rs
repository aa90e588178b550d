//! Nanoseconds per packet of every program and family: `BPF_PROG_TEST_RUN` less a program that does nothing.
//!
//! No test: the figures of a shared machine are for reading. The kernel patches itself and sleeps before each test run of an XDP program, so that the packets of
//! these find the caches cold: their figures are upper bounds.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::be::Be16;
use proxy_common::flags::{AddrFlags, FlowFlags, feature};
use proxy_common::key::{FlowKey, FrontendKey};
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::sim::scene::{self, FAMILIES, NODE, Names, POD};
use proxy_common::sim::{Program, Skb, World, world::Holds};
use proxy_common::value::{Backend, BackendState, Flow, Frontend, Settings, Slice, backend_state};

use crate::bpf::Foreign;
use crate::prog_run::{Kernel, namespace};

/// Packets of one case in one round.
const PACKETS: u32 = 20_000;
/// Frontends that lead from one to the next: a packet that is run again and again is a new connection each time.
pub const CHAIN: u16 = 2_000;
/// First port of the chain.
pub const FIRST: u16 = 10_000;
/// Hops that a packet may be redirected.
const HOPS: u32 = 250;

/// What a packet is to a program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    NotOurs,
    Established,
    Redirected,
    New,
    NewRedirected,
}

/// A kind of packet at a program.
struct Case {
    kind: &'static str,
    proto: u8,
    program: Program,
    /// What it must be counted as.
    reason: Reason,
    /// The packet of a round.
    packet: Box<dyn Fn(u16) -> Build>,
    ifindex: u32,
    /// Times that the same packet can be run.
    repeat: u32,
    nanoseconds: Vec<f64>,
}

/// A kind of packet at a program, and what it costs.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// As in `IPv4 tc_ingress TCP established`.
    pub name: String,
    /// Nanoseconds per packet, less those of a program that does nothing; one a round.
    pub nanoseconds: Vec<f64>,
}

/// Rounds of [`measure`], at most.
pub const ROUNDS: u16 = 15;

/// Measures the cases of both families whose names have all of `words`, in `rounds` rounds.
pub fn measure(rounds: u16, words: &[String]) -> Result<Vec<Figure>> {
    let namespace = namespace()?;
    let mut figures = Vec::new();
    for names in &FAMILIES {
        figures.extend(namespace.enter(|| of_family(names, rounds.min(ROUNDS), words))??);
    }
    Ok(figures)
}

fn of_family(names: &Names, rounds: u16, words: &[String]) -> Result<Vec<Figure>> {
    // An XDP test run sleeps before it begins, and another processor's caches would be cold.
    let mut here = CpuSet::new();
    here.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &here)?;
    let settings = Settings {
        features: feature::COARSE_CLOCK,
        ..scene::settings()
    };
    let mut world = scene::world(settings, 64);
    if names.v6 {
        contents::<V6>(&mut world, names)?;
    } else {
        contents::<V4>(&mut world, names)?;
    }
    let mut kernel = Kernel::load(settings, 1 << 18, &Program::ALL)?;
    kernel.occupy_devices()?;
    kernel.mirror(&world)?;
    let family = if names.v6 { "IPv6" } else { "IPv4" };
    let mut cases = cases(names)?;
    cases.retain(|case| {
        let name = case.name(family);
        words.iter().all(|word| name.contains(word))
    });
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let (tc, xdp) = (Foreign::tc()?, Foreign::xdp()?);
    let (mut nothing_tc, mut nothing_xdp) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let frame = (cases[0].packet)(round).frame();
        nothing_tc.push(tc.time(&frame, PACKETS)?);
        nothing_xdp.push(xdp.time(&frame, PACKETS)?);
        for case in &mut cases {
            case.run(&kernel, round)?;
        }
    }
    let figure = |case: &Case| {
        let nothing = if case.program == Program::Xdp {
            &nothing_xdp
        } else {
            &nothing_tc
        };
        Figure {
            name: case.name(family),
            // Both of the same round: what disturbs the one disturbs the other.
            nanoseconds: case
                .nanoseconds
                .iter()
                .zip(nothing)
                .map(|(case, nothing)| case - nothing)
                .collect(),
        }
    };
    Ok(cases.iter().map(figure).collect())
}

impl Case {
    fn name(&self, family: &str) -> String {
        let proto = if self.proto == 6 { "TCP" } else { "UDP" };
        format!("{family} {} {proto} {}", self.program.name(), self.kind)
    }

    /// One round; fails if the packets were not what the case is about.
    fn run(&mut self, kernel: &Kernel, round: u16) -> Result<()> {
        if self.reason == Reason::NewFlow {
            // Frontends and backends into the caches, by another client.
            kernel.time(self.program, &self.skb(round + ROUNDS), self.repeat)?;
        }
        let skb = self.skb(round);
        let hook = self.program.hook();
        let before = kernel.counted(self.reason, hook)?;
        let calls = if self.reason == Reason::NewFlow {
            1
        } else {
            PACKETS / self.repeat
        };
        let mut total = 0.0;
        for _ in 0..calls {
            total += kernel.time(self.program, &skb, self.repeat)?;
        }
        self.nanoseconds.push(total / f64::from(calls));
        let counted = kernel.counted(self.reason, hook)? - before;
        let wanted = u64::from(calls * self.repeat);
        ensure!(
            counted == wanted,
            "{} at {}: {counted} of {wanted} packets were {}",
            self.kind,
            self.program.name(),
            self.reason.label()
        );
        Ok(())
    }

    /// The packet of a round at its device.
    fn skb(&self, round: u16) -> Skb {
        let build = (self.packet)(round);
        let framed = Skb::new(build.frame(), self.ifindex);
        match self.program.l2() {
            0 => Skb::l3(build.packet(), framed.protocol, self.ifindex),
            _ => framed,
        }
    }
}

/// Frontends of `names.remote` that lead from one to the next, each to the port after its own, and flows that lead back to themselves.
pub fn contents<A: Addr>(world: &mut World, names: &Names) -> Result<()>
where
    World: Holds<A>,
{
    let remote: A = scene::addr(names.remote);
    world.family_mut().addrs.insert(remote, AddrFlags::VIRTUAL);
    let vip: A = scene::addr(names.vip);
    world.family_mut().addrs.insert(vip, AddrFlags::VIRTUAL);
    for index in 0..CHAIN {
        let (slot, port) = (u32::from(index) + 1, FIRST + index);
        let backend = Backend {
            addr: remote,
            port: Be16::new(port + 1),
            id: slot,
            generation: 1,
            ..Backend::default()
        };
        let slice = Slice {
            offset: slot,
            count: 1,
        };
        let frontend = Frontend {
            service: slot,
            slices: [slice; 3],
            ..Frontend::default()
        };
        let state = BackendState {
            generation: 1,
            state: backend_state::ACTIVE,
            ..BackendState::default()
        };
        world.states.set(slot, state);
        let family = world.family_mut();
        family.backends.set(slot, backend);
        for proto in [6, 17] {
            family
                .frontends
                .insert(FrontendKey::new(remote, Be16::new(port), proto), frontend);
        }
    }
    for (there, back, flags) in toggles(names)? {
        for (from, to) in [(there, back), (back, there)] {
            let end = |index: usize| -> Result<(A, Be16)> {
                let end: SocketAddr = [from.0, from.1, to.0, to.1][index];
                Ok((
                    A::from_ip(end.ip()).context("family")?,
                    Be16::new(end.port()),
                ))
            };
            let [source, target, new_source, new_target] = [end(0)?, end(1)?, end(2)?, end(3)?];
            for proto in [6, 17] {
                let key = FlowKey::new(source.0, target.0, source.1, target.1, proto);
                let flow = Flow {
                    src: new_source.0,
                    dst: new_target.0,
                    sport: new_source.1,
                    dport: new_target.1,
                    flags,
                    backend: 1,
                    generation: 1,
                    ..Flow::default()
                };
                world.family().put_flow(key, flow);
            }
        }
    }
    Ok(())
}

/// Source and destination.
type Ends = (SocketAddr, SocketAddr);

/// Tuples that flows translate to each other, and the flows' flags: at ingress, redirected, at egress.
fn toggles(names: &Names) -> Result<[(Ends, Ends, FlowFlags); 3]> {
    let at = |ip: &str, port| -> Result<SocketAddr> { Ok(SocketAddr::new(ip.parse()?, port)) };
    let snat = FlowFlags::SNAT.with(FlowFlags::REDIRECT);
    Ok([
        (
            (at(names.pod, 4000)?, at(names.vip, 80)?),
            (at(names.pod, 4001)?, at(names.remote, 80)?),
            FlowFlags::default(),
        ),
        (
            (at(names.outside, 4000)?, at(names.remote, 79)?),
            (at(names.node, 4001)?, at(names.remote, 80)?),
            snat,
        ),
        (
            (at(names.remote, 80)?, at(names.pod, 5000)?),
            (at(names.vip, 80)?, at(names.pod, 5001)?),
            FlowFlags::REPLY,
        ),
    ])
}

/// Every case of one family.
fn cases(names: &Names) -> Result<Vec<Case>> {
    let [pod, outside, answer] = toggles(names)?;
    let stranger: Ends = (
        SocketAddr::new(names.pod.parse()?, 9),
        SocketAddr::new(names.outside.parse()?, 80),
    );
    let chain = SocketAddr::new(names.remote.parse()?, FIRST);
    let mut cases = Vec::new();
    for proto in [6, 17] {
        for program in Program::ALL {
            let egress = matches!(program, Program::TcEgress | Program::TcEgressL3);
            let kept = if egress { answer.0 } else { pod.0 };
            let mut add = |kind: Kind, from: Ends| {
                let redirected = matches!(kind, Kind::Redirected | Kind::NewRedirected);
                if egress && (redirected || kind == Kind::New)
                    || program == Program::Xdp && matches!(kind, Kind::Established | Kind::New)
                {
                    return;
                }
                cases.push(case(kind, program, proto, from));
            };
            add(Kind::NotOurs, stranger);
            add(Kind::Established, kept);
            add(Kind::Redirected, outside.0);
            add(Kind::New, (pod.0.0, chain));
            add(Kind::NewRedirected, (outside.0.0, chain));
        }
    }
    Ok(cases)
}

fn case(kind: Kind, program: Program, proto: u8, (from, to): Ends) -> Case {
    let (reason, ifindex, repeat) = match kind {
        Kind::NotOurs => (Reason::NotOurs, POD, PACKETS),
        Kind::Established => (Reason::Established, POD, PACKETS),
        Kind::Redirected => (Reason::Established, NODE, HOPS),
        Kind::New => (Reason::NewFlow, POD, u32::from(CHAIN)),
        Kind::NewRedirected => (Reason::NewFlow, NODE, HOPS),
    };
    let packet = move |round: u16| {
        let mut from = from;
        if reason == Reason::NewFlow {
            // Programs share EMBRYOS, so each has client ports of its own.
            from.set_port(20_000 + program as u16 * 100 + round);
        }
        let packet = Build::flow(proto, from, to).payload(&[0; 26]).ttl(255);
        if reason == Reason::NewFlow && proto == 6 {
            packet.syn()
        } else {
            packet
        }
    };
    let name = match kind {
        Kind::NotOurs => "not ours",
        Kind::Established => "established",
        Kind::Redirected => "established, redirected",
        Kind::New => "new",
        Kind::NewRedirected => "new, redirected",
    };
    Case {
        kind: name,
        proto,
        program,
        reason,
        packet: Box::new(packet),
        ifindex,
        repeat,
        nanoseconds: Vec::new(),
    }
}
