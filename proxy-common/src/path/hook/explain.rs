//! `explain_socket`: what the socket hooks would do, asked by a packet (see [`crate::explain`]).

use crate::addr::{Addr as _, V4, V6};
use crate::be::{Be16, byte, halves, join};
use crate::explain;
use crate::path::body::{Env, Packet, Services, SocketTables};
use crate::path::hook::socket::{Outcome, send};

/// Reads the question in the packet and writes the answer beside it; `None` if the packet is too short for one.
#[inline]
pub fn ask<C: Packet + Services<V4> + Services<V6> + SocketTables + Env>(
    ctx: &mut C,
) -> Option<()> {
    let [ports, d0, d1, d2, d3] = ctx.words::<5>(explain::PORT)?;
    let [proto] = ctx.words::<1>(explain::PROTO)?;
    let (dst, port, proto) = (V6([d0, d1, d2, d3]), halves(ports).1, byte(proto, 0));
    let outcome = match dst.mapped_v4() {
        Some(v4) => mapped(send(ctx, v4, port, proto, V6::from_mapped_v4)),
        None => send(ctx, dst, port, proto, |addr: V6| addr),
    };
    let (outcome, errno, addr, port) = match outcome {
        Outcome::Pass => (0, 0, V6::default(), Be16::default()),
        Outcome::To(addr, port) => (1, 0, addr, port),
        Outcome::Fail(errno) => (2, errno as u32, V6::default(), Be16::default()),
    };
    let [a, b, c, d] = addr.words();
    let port = join(port, Be16::default());
    ctx.set_words(explain::ANSWER, [outcome, errno, a, b, c, d, port])
}

/// The address in its mapped form.
#[inline]
pub fn mapped(outcome: Outcome<V4>) -> Outcome<V6> {
    match outcome {
        Outcome::Pass => Outcome::Pass,
        Outcome::To(addr, port) => Outcome::To(V6::from_mapped_v4(addr), port),
        Outcome::Fail(errno) => Outcome::Fail(errno),
    }
}

/// The address in the question that the socket is bound to.
#[inline]
pub fn bound<A: crate::addr::Addr, P: Packet>(packet: &P) -> A {
    let words = packet.words::<4>(explain::BOUND).unwrap_or_default();
    A::from_words(if A::IS_V6 { words } else { [words[3], 0, 0, 0] })
}
