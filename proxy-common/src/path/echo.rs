//! Ping: an ICMP echo request to the address of a Service with endpoints is answered in place, as a host of that address would.

use crate::addr::Addr;
use crate::be::{Be16, halves, join};
use crate::flags::AddrFlags;
use crate::path::body::{Covers, Interface, Packet, Services, Verdict};
use crate::path::csum::Delta;
use crate::path::icmp::TTL;
use crate::path::parse::Headers;
use crate::path::send;
use crate::path::step::Step;
use crate::reason::Reason;

/// Type and code of a request (RFC 792; RFC 4443 section 4.1).
#[inline]
pub const fn request(v6: bool) -> Be16 {
    Be16::new(if v6 { 0x8000 } else { 0x0800 })
}

/// Type and code of a reply.
#[inline]
const fn reply(v6: bool) -> Be16 {
    Be16::new(if v6 { 0x8100 } else { 0x0000 })
}

/// Answers the request if it is for an address that nothing else answers for. At egress it is one of this node's own.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn answer<A: Addr, C: Packet + Services<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
) -> Step {
    let known = ctx.addr(&headers.key.dst).unwrap_or_default();
    // With options or extensions a reply would need others.
    let plain = headers.l4 == headers.l3 + if A::IS_V6 { 40 } else { 20 };
    if !known.has(AddrFlags::ECHO) || known.has(AddrFlags::NODE) || !plain {
        ctx.count(Reason::NotOurs);
        return Step::done(Verdict::PASS);
    }
    if C::XDP {
        ctx.count(Reason::Deferred);
        return Step::done(Verdict::PASS);
    }
    if turn_round(ctx, headers).is_none() {
        ctx.count(Reason::EditFailed);
        return Step::done(Verdict::DROP);
    }
    ctx.count(Reason::EchoAnswered);
    send::back(ctx)
}

/// Makes the request its own reply. The exchange of addresses changes no sum.
#[inline]
fn turn_round<A: Addr, C: Packet>(ctx: &mut C, headers: &Headers<A>) -> Option<()> {
    let (l3, l4) = (headers.l3, headers.l4);
    let (src, dst) = (headers.key.dst.words(), headers.key.src.words());
    if A::IS_V6 {
        let [word] = ctx.words::<1>(l3 + 4)?;
        let (length, next) = halves(word);
        let next = Be16::new(next.get() & 0xff00 | TTL);
        ctx.set_words(l3 + 4, [join(length, next)])?;
        ctx.set_words(
            l3 + 8,
            [
                src[0], src[1], src[2], src[3], dst[0], dst[1], dst[2], dst[3],
            ],
        )?;
    } else {
        let [word] = ctx.words::<1>(l3 + 8)?;
        let (time, csum) = halves(word);
        let fresh = Be16::new(TTL << 8 | time.get() & 0xff);
        let csum = Delta::NONE.half(time.raw(), fresh.raw()).apply(csum.raw());
        let word = join(fresh, Be16::from_raw(csum));
        ctx.set_words(l3 + 8, [word, src[0], dst[0]])?;
    }
    let (old, new) = (request(A::IS_V6), reply(A::IS_V6));
    ctx.set_half(l4, new)?;
    let delta = Delta::NONE.half(old.raw(), new.raw());
    ctx.update_csum(l4 + 2, delta, Covers::Segment, false, A::IS_V6)
}
