//! `FLOW_FILTER`: which ends connections of ours have had, so that packets of others cost no lookup in FLOWS, whose lines are seldom in the
//! processor's caches.
//!
//! Every key of FLOWS and EMBRYOS that packets are compared with has the frontend as its destination, or the backend as its source. Both ends are noted
//! before the first entry is made, and never forgotten: two ends that share a byte, or one that was used long ago, cost a lookup in vain. They are noted
//! as what they are, so that packets to a pod that is a backend, and its answers at the hook where they are not translated, pass at once.

use crate::addr::{Addr, proto};
use crate::be::{Be16, byte, halves};
use crate::flags::FlowFlags;
use crate::key::FlowKey;
use crate::path::body::{Env, Packet, Tables};
use crate::path::embryo::Plan;
use crate::path::lookup;
use crate::path::parse::tcp;

/// What an end of a connection is to those packets that are compared with it. The number moves its place.
#[derive(Clone, Copy)]
enum End {
    /// Requests go there.
    Frontend = 0,
    /// Answers come from there, and are translated at ingress.
    Backend = 0x5555,
    /// Answers come from there, and are translated at egress.
    BackendAtEgress = 0xaaaa,
}

/// Where `addr`:`port` is noted: the upper bits of a product, which all lower ones of its factors reach.
#[inline]
fn place<A: Addr>(addr: &A, port: Be16, end: End) -> u16 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = addr.words();
    let mut bits = u64::from(words[0]) << 16 | u64::from(port.raw());
    if A::IS_V6 {
        bits = bits.wrapping_mul(ODD) ^ (u64::from(words[1]) << 32 | u64::from(words[2]));
        bits = bits.wrapping_mul(ODD) ^ u64::from(words[3]);
    }
    (bits.wrapping_mul(ODD) >> 48) as u16 ^ end as u16
}

/// Whether there may be an entry for `key` that ingress translates by.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn may_have<A: Addr, C: Tables<A>>(ctx: &C, key: &FlowKey<A>) -> bool {
    ctx.noted(place(&key.dst, key.dport, End::Frontend))
        || ctx.noted(place(&key.src, key.sport, End::Backend))
}

/// Whether `key` may lead to a backend that its client speaks to by the same ports through a Service: see `connect`.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn may_meet<A: Addr, C: Tables<A>>(ctx: &C, key: &FlowKey<A>) -> bool {
    ctx.noted(place(&key.dst, key.dport, End::BackendAtEgress))
}

/// Whether a look at plain headers is enough to tell that the packet is no connection's of ours and begins none. Most packets of a node
/// are such, and cost no more.
#[inline]
pub fn is_others<A: Addr, C: Packet + Tables<A>>(ctx: &mut C, egress: bool) -> bool {
    excludes(ctx, egress) || ctx.pull() && excludes(ctx, egress)
}

/// The same, without another look after headers were pulled.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn excludes<A: Addr, C: Packet + Tables<A>>(ctx: &C, egress: bool) -> bool {
    let (src, dst, ports, protocol, l4);
    if A::IS_V6 {
        let Some([_, length, s0, s1, s2, s3, d0, d1, d2, d3, begin]) = ctx.words::<11>(C::L2)
        else {
            return false;
        };
        (src, dst, ports) = ([s0, s1, s2, s3], [d0, d1, d2, d3], begin);
        (protocol, l4) = (byte(length, 2), C::L2 + 40);
    } else {
        let Some([first, ident, ttl, from, to, begin]) = ctx.words::<6>(C::L2) else {
            return false;
        };
        // Without options, and no fragment.
        if byte(first, 0) != 0x45 || halves(ident).1.get() & 0x3fff != 0 {
            return false;
        }
        (src, dst, ports) = ([from, 0, 0, 0], [to, 0, 0, 0], begin);
        (protocol, l4) = (byte(ttl, 1), C::L2 + 20);
    }
    let begins = match protocol {
        proto::TCP | proto::UDP if egress => false,
        proto::TCP => match ctx.words::<1>(l4 + 12) {
            Some([flags]) => byte(flags, 1) & (tcp::SYN | tcp::ACK) == tcp::SYN,
            None => return false,
        },
        proto::UDP => true,
        _ => return false,
    };
    let (sport, dport) = halves(ports);
    let key = FlowKey::new(
        A::from_words(src),
        A::from_words(dst),
        sport,
        dport,
        protocol,
    );
    if egress {
        return !ctx.noted(place(&key.src, key.sport, End::BackendAtEgress));
    }
    if may_have(ctx, &key) || begins && may_meet(ctx, &key) {
        return false;
    }
    !begins || ctx.addr(&key.dst).is_none() && !lookup::unallocated(ctx, &key.dst)
}

/// Notes both ends of a connection that begins.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn note<A: Addr, C: Tables<A> + Env>(ctx: &C, plan: &Plan<'_, A>) {
    if ctx.dry() {
        return;
    }
    let (client, backend) = (plan.client, &plan.backend);
    ctx.note_end(place(&client.dst, client.dport, End::Frontend));
    if !plan.flags.with(FlowFlags::REPLY).at_egress() {
        ctx.note_end(place(&backend.addr, backend.port, End::Backend));
    }
    // What goes past the stack too: when `hostRouting` is switched off its answers are egress's.
    if !plan.flags.has(FlowFlags::SNAT) {
        ctx.note_end(place(&backend.addr, backend.port, End::BackendAtEgress));
    }
}

/// The bytes of `FLOW_FILTER` that keep no packet with `key` away.
pub fn places<A: Addr>(key: &FlowKey<A>) -> [u16; 3] {
    [
        place(&key.dst, key.dport, End::Frontend),
        place(&key.src, key.sport, End::Backend),
        place(&key.src, key.sport, End::BackendAtEgress),
    ]
}
