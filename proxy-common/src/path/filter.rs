//! `FLOW_FILTER`: which ends connections of ours have had, so that packets of others cost no lookup in FLOWS, whose lines are seldom in the
//! processor's caches.
//!
//! Every key of FLOWS and EMBRYOS that packets are compared with has the frontend as its destination, or the backend as its source. Both ends are noted
//! before the first entry is made, and never forgotten: two ends that share a byte, or one that was used long ago, cost a lookup in vain.

use crate::addr::{Addr, proto};
use crate::be::{Be16, byte, halves};
use crate::key::FlowKey;
use crate::path::body::{Env, Packet, Tables};
use crate::path::parse::tcp;
use crate::value::Backend;

/// Where `addr`:`port` is noted: the upper bits of a product, which all lower ones of its factors reach.
#[inline]
fn place<A: Addr>(addr: &A, port: Be16) -> u16 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = addr.words();
    let mut bits = u64::from(words[0]) << 16 | u64::from(port.raw());
    if A::IS_V6 {
        bits = bits.wrapping_mul(ODD) ^ (u64::from(words[1]) << 32 | u64::from(words[2]));
        bits = bits.wrapping_mul(ODD) ^ u64::from(words[3]);
    }
    (bits.wrapping_mul(ODD) >> 48) as u16
}

/// Whether there may be an entry for `key`.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn may_have<A: Addr, C: Tables<A>>(ctx: &C, key: &FlowKey<A>) -> bool {
    ctx.noted(place(&key.dst, key.dport)) || may_answer(ctx, key)
}

/// Whether there may be an entry for `key` as an answer.
#[inline]
pub fn may_answer<A: Addr, C: Tables<A>>(ctx: &C, key: &FlowKey<A>) -> bool {
    ctx.noted(place(&key.src, key.sport))
}

/// Whether a look at plain headers is enough to tell that the packet is no connection's of ours and begins none. Most packets of a node
/// are such, and cost no more.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn excludes<A: Addr, C: Packet + Tables<A>>(ctx: &C, egress: bool) -> bool {
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
    match protocol {
        proto::TCP | proto::UDP if egress => {}
        proto::TCP => match ctx.words::<1>(l4 + 12) {
            Some([flags]) if byte(flags, 1) & (tcp::SYN | tcp::ACK) != tcp::SYN => {}
            _ => return false,
        },
        _ => return false,
    }
    let (sport, dport) = halves(ports);
    let key = FlowKey::new(
        A::from_words(src),
        A::from_words(dst),
        sport,
        dport,
        protocol,
    );
    if egress {
        !may_answer(ctx, &key)
    } else {
        !may_have(ctx, &key)
    }
}

/// Notes both ends of a connection that begins.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn note<A: Addr, C: Tables<A> + Env>(ctx: &C, client: &FlowKey<A>, backend: &Backend<A>) {
    if !ctx.dry() {
        ctx.note_end(place(&client.dst, client.dport));
        ctx.note_end(place(&backend.addr, backend.port));
    }
}

/// The bytes of `FLOW_FILTER` that stand for the source and the destination of `key`.
pub fn ends<A: Addr>(key: &FlowKey<A>) -> [u16; 2] {
    [place(&key.src, key.sport), place(&key.dst, key.dport)]
}
