//! Puts a question to a body, candidate by candidate, and makes an answer of what the programs left behind.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, ensure};
use proxy_common::addr::{Addr as _, V6};
use proxy_common::explain::{self, Fact};
use proxy_common::flags::{DeviceFlags, FrontendFlags};
use proxy_common::path::hook::socket::{Errno, Outcome};
use proxy_common::reason::Reason;
use proxy_common::value::Frontend;

use super::answer::{Answer, Hook, Verdict};
use super::body::{Body, End, Left};
use super::frame::{self, Ends};
use super::question::{Question, Side};
use super::state::State;

/// An answer, and what more can be told to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The answer.
    pub answer: Answer,
    /// Where the flow begins.
    pub side: Side,
    /// The frontend that was found, and whether it is a `NodePort`.
    pub frontend: Option<(Frontend, bool)>,
    /// Source addresses that a masqueraded connection gets; netfilter chooses one where there is none.
    pub sources: BTreeSet<Option<IpAddr>>,
}

/// What one candidate led to.
enum Seen {
    Not(Verdict),
    To(SocketAddr, Masquerade),
}

/// What becomes of the source address.
enum Masquerade {
    No,
    /// It becomes this one.
    Ours(IpAddr),
    /// The stack is asked to change it.
    Netfilter,
}

/// Asks `body` what becomes of a new connection.
pub fn ask(state: &State, body: &mut dyn Body, question: &Question) -> anyhow::Result<Told> {
    let side = state.side(question);
    let (hook, first) = first(state, body, question, side)?;
    let fact = |fact| first.fact(fact);
    let place = fact(Fact::Frontend);
    let found = (place != 0).then(|| {
        let frontend = state.frontend(question, place);
        let frontend = frontend.with_context(|| {
            format!(
                "the program found a frontend at {}, the maps hold none",
                question.dst
            )
        });
        frontend.map(|frontend| (frontend, place == explain::NODE_PORT))
    });
    let frontend = found.transpose()?;
    let mut told = Told {
        answer: Answer {
            id: question.id.clone(),
            verdict: Verdict::Pass,
            service: frontend.map(|_| state.name(fact(Fact::Service))),
            frontend: frontend.map(|_| format!("{}/{}", question.dst, question.proto.label())),
            backends: Vec::new(),
            masquerade: false,
            hook,
            reason: reason(&first).label().to_owned(),
        },
        side,
        frontend,
        sources: BTreeSet::new(),
    };
    let mut backends = BTreeSet::new();
    let mut candidate = 0;
    let mut left = first;
    loop {
        match seen(state, &left, question, side)? {
            Seen::To(backend, masquerade) => {
                told.answer.verdict = Verdict::Dnat;
                backends.insert(backend.to_string());
                told.note(&masquerade, backend, question);
            }
            // Where the first one goes no further, none does; a later one may be one that the node has no route to.
            Seen::Not(verdict) if candidate == 0 => told.answer.verdict = verdict,
            Seen::Not(_) => {}
        }
        candidate += 1;
        if candidate >= left.fact(Fact::Backends) {
            break;
        }
        left = run(state, body, question, side, candidate)?;
    }
    told.answer.backends = backends.into_iter().collect();
    Ok(told)
}

impl Told {
    fn note(&mut self, masquerade: &Masquerade, backend: SocketAddr, question: &Question) {
        match masquerade {
            Masquerade::No => {}
            Masquerade::Ours(source) => {
                self.sources.insert(Some(*source));
            }
            Masquerade::Netfilter => {
                self.sources.insert(None);
            }
        }
        // A call has no packet yet whose source could be seen: the frontend's bit and the hairpin rule (SEMANTICS 9.2) decide.
        if self.side == Side::Host {
            let flags = self.frontend.map(|(frontend, _)| frontend.flags);
            let asked = flags.is_some_and(|flags| flags.has(FrontendFlags::MASQUERADE_HOST));
            if asked || backend.ip() == question.src.ip {
                self.sources.insert(None);
            }
        }
        self.answer.masquerade = !self.sources.is_empty();
    }
}

/// Why. A call that goes on as it is has no reason: it is not ours.
fn reason(left: &Left) -> Reason {
    let number = left.fact(Fact::Reason).checked_sub(1);
    number
        .and_then(Reason::from_number)
        .unwrap_or(Reason::NotOurs)
}

/// Candidate 0, and at which hook it is decided.
fn first(
    state: &State,
    body: &mut dyn Body,
    question: &Question,
    side: Side,
) -> anyhow::Result<(Hook, Left)> {
    let left = run(state, body, question, side, 0)?;
    if side == Side::Host {
        return Ok((Hook::Socket, left));
    }
    // XDP is the same code before TC: it finishes what leaves the node again, from an address of the node, and leaves the rest to TC.
    let (_, device) = state.entry(side)?;
    let redirected = left.end == End::Away
        && Ends::read(&left.bytes, question.proto).is_some_and(|ends| ends.src != question.src.ip);
    let xdp = redirected && device.flags.has(DeviceFlags::XDP);
    Ok((if xdp { Hook::Xdp } else { Hook::Tc }, left))
}

fn run(
    state: &State,
    body: &mut dyn Body,
    question: &Question,
    side: Side,
    candidate: u32,
) -> anyhow::Result<Left> {
    if side == Side::Host {
        return body.call(&call(question), candidate);
    }
    let (device, _) = state.entry(side)?;
    let frame = frame::of(question.src.ip, question.dst, question.proto);
    body.packet(device, &frame, candidate)
}

/// The call: the socket is bound to the source address, so that its ranges and its affinity are those of a packet.
fn call(question: &Question) -> explain::Question {
    explain::Question {
        dst: mapped(question.dst.ip()),
        port: proxy_common::be::Be16::new(question.dst.port()),
        proto: question.proto.number(),
        bound: if question.src.ip.is_unspecified() {
            V6::default()
        } else {
            mapped(question.src.ip)
        },
    }
}

fn mapped(ip: IpAddr) -> V6 {
    match ip {
        IpAddr::V4(ip) => V6::from_mapped_v4(ip.into()),
        IpAddr::V6(ip) => ip.into(),
    }
}

fn seen(state: &State, left: &Left, question: &Question, side: Side) -> anyhow::Result<Seen> {
    if side == Side::Host {
        let outcome = explain::answer(&left.bytes).context("the program gives no answer")?;
        return Ok(match outcome {
            Outcome::Pass => Seen::Not(Verdict::Pass),
            Outcome::To(addr, port) => {
                let ip = IpAddr::to_canonical(&addr.ip());
                Seen::To(SocketAddr::new(ip, port.get()), Masquerade::No)
            }
            Outcome::Fail(Errno::ConnectionRefused) => Seen::Not(Verdict::Reject),
            Outcome::Fail(Errno::HostUnreachable) => Seen::Not(Verdict::Drop),
        });
    }
    if left.end == End::Gone {
        return Ok(Seen::Not(Verdict::Drop));
    }
    let Some(ends) = Ends::read(&left.bytes, question.proto) else {
        ensure!(left.end == End::Away, "the program leaves a broken packet");
        return Ok(Seen::Not(Verdict::Reject));
    };
    if reason(left) != Reason::NewFlow {
        return Ok(Seen::Not(Verdict::Pass));
    }
    let masquerade = if ends.src != question.src.ip {
        Masquerade::Ours(ends.src)
    } else if left.mark & state.settings.masquerade_mark != 0 {
        Masquerade::Netfilter
    } else {
        Masquerade::No
    };
    Ok(Seen::To(ends.dst, masquerade))
}
