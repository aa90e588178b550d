//! ICMP errors: those we send ([`reject`]) and those that others send about translated packets ([`translate`]).

use crate::addr::{Addr, proto};
use crate::be::{Be16, byte, halves, join};
use crate::key::FlowKey;
use crate::path::body::{Covers, FlowHandle as _, Interface, Packet, Tables, Verdict};
use crate::path::csum::Delta;
use crate::path::parse::{Headers, Part};
use crate::path::step::Step;
use crate::path::{echo, rewrite, send};
use crate::reason::Reason;

/// An error we send: the first two words of its ICMP header, checksum zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    first: u32,
    second: u32,
}

impl Error {
    #[inline]
    const fn new(kind: u8, code: u8, second: u32) -> Self {
        Self {
            first: u32::from_be((kind as u32) << 24 | (code as u32) << 16),
            second: u32::from_be(second),
        }
    }

    /// Port unreachable (RFC 792; RFC 4443 section 3.1).
    #[inline]
    pub const fn port_unreachable(v6: bool) -> Self {
        if v6 {
            Self::new(1, 4, 0)
        } else {
            Self::new(3, 3, 0)
        }
    }

    /// Fragmentation needed (RFC 1191), packet too big (RFC 4443 section 3.2). `mtu` in bytes.
    #[inline]
    pub const fn too_big(v6: bool, mtu: u32) -> Self {
        if v6 {
            Self::new(2, 0, mtu)
        } else {
            Self::new(3, 4, mtu & 0xffff)
        }
    }

    /// Time exceeded in transit.
    #[inline]
    pub const fn time_exceeded(v6: bool) -> Self {
        if v6 {
            Self::new(3, 0, 0)
        } else {
            Self::new(11, 0, 0)
        }
    }

    /// Fragmentation needed, which only those want to hear who set "don't fragment".
    #[inline]
    fn is_fragmentation_needed(self) -> bool {
        halves(self.first).0 == Be16::new(0x0304)
    }
}

/// Hop limit of what we send, as Linux's own.
pub const TTL: u16 = 64;

/// Turns the packet into an ICMP error about itself and sends it back. The sender is the address the client spoke to.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn reject<A: Addr, C: Packet + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    reason: Reason,
    mtu: u32,
) -> Step {
    if C::XDP {
        ctx.count(Reason::Deferred);
        return Step::done(Verdict::PASS);
    }
    ctx.count(reason);
    let error = match reason {
        Reason::TooBig => Error::too_big(A::IS_V6, mtu),
        Reason::TtlExceeded => Error::time_exceeded(A::IS_V6),
        _ => Error::port_unreachable(A::IS_V6),
    };
    // RFC 1122 section 3.2.2: no error about a fragment but the first, nor about an error; both are "later" parts here.
    if headers.part == Part::Later {
        return Step::done(Verdict::DROP);
    }
    let written = if A::IS_V6 {
        write6(ctx, headers, error)
    } else {
        write4(ctx, headers, error)
    };
    match written {
        Some(()) => send::back(ctx),
        None => Step::done(Verdict::DROP),
    }
}

/// Bytes behind the IP header that an error carries: 8 are what RFC 792 asks for, and what sockets need to find themselves.
/// Those of SCTP want to see an INIT's tag too, which is random (RFC 9260 section 10).
#[inline]
const fn quoted(proto: u8) -> u32 {
    if proto == proto::SCTP { 20 } else { 8 }
}

/// Copies `bytes` bytes of the packet's beginning to where an error carries them, and adds them to `sum`. From the last one
/// on, since the places may overlap.
#[inline]
fn quote<C: Packet>(ctx: &mut C, l3: u32, to: u32, bytes: u32, mut sum: Delta) -> Option<Delta> {
    let mut at = bytes;
    while at >= 4 {
        at -= 4;
        let word = ctx.words::<1>(l3 + at)?;
        ctx.set_words(to + at, word)?;
        sum = sum.add(word[0]);
    }
    Some(sum)
}

/// IP header, ICMP header, and of the packet its IP header and as much as [`quoted`] says.
#[inline]
fn write4<A: Addr, C: Packet>(ctx: &mut C, headers: &Headers<A>, error: Error) -> Option<()> {
    let l3 = headers.l3;
    let [start, ident] = ctx.words::<2>(l3)?;
    // Headers with options are too rare to be worth room here.
    if byte(start, 0) != 0x45
        || error.is_fragmentation_needed() && halves(ident).1.get() & 0x4000 == 0
    {
        return None;
    }
    let quoted = 20 + quoted(headers.key.proto);
    ctx.resize(l3 + 28 + quoted)?;
    let sum = quote(
        ctx,
        l3,
        l3 + 28,
        quoted,
        Delta::NONE.add(error.first).add(error.second),
    )?;
    ctx.set_words(
        l3 + 20,
        [
            join(halves(error.first).0, Be16::from_raw(!sum.folded16())),
            error.second,
        ],
    )?;
    // Precedence "internetwork control", as RFC 1812 section 4.3.2.5 says.
    let start = join(Be16::new(0x45c0), Be16::new(28 + quoted as u16));
    let ttl = Be16::new(TTL << 8 | u16::from(proto::ICMP));
    let (src, dst) = (headers.key.dst.words()[0], headers.key.src.words()[0]);
    let sum = Delta::NONE
        .add(start)
        .add(join(ttl, Be16::new(0)))
        .add(src)
        .add(dst);
    ctx.set_words(
        l3,
        [
            start,
            0,
            join(ttl, Be16::from_raw(!sum.folded16())),
            src,
            dst,
        ],
    )
}

/// As [`write4`]; the sum covers the pseudo header too (RFC 4443 section 2.3).
#[inline]
fn write6<A: Addr, C: Packet>(ctx: &mut C, headers: &Headers<A>, error: Error) -> Option<()> {
    let l3 = headers.l3;
    let quoted = 40 + quoted(headers.key.proto);
    let length = 8 + quoted as u16;
    ctx.resize(l3 + 48 + quoted)?;
    let (src, dst) = (headers.key.dst.words(), headers.key.src.words());
    let sum = Delta::NONE.add(error.first).add(error.second);
    let sum = sum
        .add(u32::from_be(u32::from(length)))
        .add(u32::from_be(u32::from(proto::ICMPV6)));
    let sum = sum
        .add(src[0])
        .add(src[1])
        .add(src[2])
        .add(src[3])
        .add(dst[0])
        .add(dst[1])
        .add(dst[2])
        .add(dst[3]);
    let sum = quote(ctx, l3, l3 + 48, quoted, sum)?;
    ctx.set_words(
        l3 + 40,
        [
            join(halves(error.first).0, Be16::from_raw(!sum.folded16())),
            error.second,
        ],
    )?;
    let next = Be16::new(u16::from(proto::ICMPV6) << 8 | TTL);
    ctx.set_words(
        l3,
        [u32::from_be(0x6000_0000), join(Be16::new(length), next)],
    )?;
    ctx.set_words(l3 + 8, [src[0], src[1], src[2], src[3]])?;
    ctx.set_words(l3 + 24, [dst[0], dst[1], dst[2], dst[3]])
}

/// Whether the message is an error, which carries the packet it is about.
#[inline]
fn is_error(v6: bool, kind: u8) -> bool {
    if v6 {
        matches!(kind, 1..=4)
    } else {
        matches!(kind, 3 | 11 | 12)
    }
}

/// Translates an ICMP error about a packet of a known flow, outside and inside; `to` becomes the outer addresses. `egress`
/// tells which entries apply here: those of answers that keep the client's address at egress, all others at ingress.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn translate<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &mut Headers<A>,
    to: &mut FlowKey<A>,
    egress: bool,
) -> Step {
    match ctx.words::<1>(headers.l4) {
        Some([kind]) if headers.part == Part::Whole && is_error(A::IS_V6, byte(kind, 0)) => {}
        Some([kind])
            if headers.part == Part::Whole && halves(kind).0 == echo::request(A::IS_V6) =>
        {
            return echo::answer(ctx, headers);
        }
        _ => return untouched(ctx, Reason::NotOurs),
    }
    if C::XDP {
        return untouched(ctx, Reason::Deferred);
    }
    let zero = ctx.zero();
    let mut inner = Inner {
        key: FlowKey::blank(zero),
        l3: zero,
        l4: zero,
    };
    if !parse_inner(ctx, headers.l4 + 8, &mut inner) {
        return untouched(ctx, Reason::NotOurs);
    }
    let answer = inner.key.reversed();
    let Some(handle) = ctx.flow(&answer).or_else(|| ctx.embryo(&answer)) else {
        return untouched(ctx, Reason::NotOurs);
    };
    let flags = handle.load().flags;
    if flags.at_egress() != egress {
        return untouched(ctx, Reason::NotOurs);
    }
    if rewrite_inner(ctx, headers, &inner, &handle).is_none()
        || outer(ctx, headers, &inner, &handle, to).is_none()
    {
        ctx.count(Reason::EditFailed);
        return Step::done(Verdict::DROP);
    }
    // Neither ICMP nor ICMPv6 has ports: from here on the packet is treated as one without.
    headers.part = Part::Later;
    Step::send(flags, Reason::IcmpTranslated)
}

/// On to the stack as it came.
#[inline]
fn untouched<C: Interface>(ctx: &C, reason: Reason) -> Step {
    ctx.count(reason);
    Step::done(Verdict::PASS)
}

/// The header of the packet that an error is about. Headers with options or extensions are left alone.
struct Inner<A> {
    key: FlowKey<A>,
    l3: u32,
    l4: u32,
}

#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn parse_inner<A: Addr, P: Packet>(packet: &P, l3: u32, inner: &mut Inner<A>) -> bool {
    match Inner::parse(packet, l3) {
        Some(parsed) => {
            *inner = parsed;
            true
        }
        None => false,
    }
}

impl<A: Addr> Inner<A> {
    #[inline]
    fn parse<P: Packet>(packet: &P, l3: u32) -> Option<Self> {
        let (src, dst, protocol, l4) = if A::IS_V6 {
            let [first, length, s0, s1, s2, s3, d0, d1, d2, d3] = packet.words::<10>(l3)?;
            if byte(first, 0) >> 4 != 6 {
                return None;
            }
            ([s0, s1, s2, s3], [d0, d1, d2, d3], byte(length, 2), l3 + 40)
        } else {
            let [first, ident, ttl, src, dst] = packet.words::<5>(l3)?;
            if byte(first, 0) != 0x45 || halves(ident).1.get() & 0x1fff != 0 {
                return None;
            }
            ([src, 0, 0, 0], [dst, 0, 0, 0], byte(ttl, 1), l3 + 20)
        };
        if !proto::has_ports(protocol) {
            return None;
        }
        let (sport, dport) = halves(packet.words::<1>(l4)?[0]);
        let key = FlowKey::new(
            A::from_words(src),
            A::from_words(dst),
            sport,
            dport,
            protocol,
        );
        Some(Self { key, l3, l4 })
    }
}

/// The inner transport checksum is left as it is: who gets the error has no use for it (RFC 5508 section 4.2 lets a NAT do so).
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn rewrite_inner<A: Addr, C: Packet + Tables<A>>(
    ctx: &mut C,
    headers: &Headers<A>,
    inner: &Inner<A>,
    handle: &<C as Tables<A>>::Flow,
) -> Option<()> {
    let to = handle.load().peer(inner.key.proto);
    let addresses = rewrite::addresses(&inner.key, &to);
    rewrite::set_addresses(ctx, inner.l3, &to, addresses)?;
    let (old, new) = (
        join(inner.key.sport, inner.key.dport),
        join(to.sport, to.dport),
    );
    ctx.set_words(inner.l4, [new])?;
    // An IPv4 header sums to a constant, so only IPv6 addresses change the sum of the message.
    let delta = if A::IS_V6 { addresses } else { Delta::NONE };
    ctx.update_csum(
        headers.l4 + 2,
        delta.word(old, new),
        Covers::Segment,
        false,
        A::IS_V6,
    )
}

/// The outer addresses after translation, and what they mean for the checksum: only `ICMPv6` has a pseudo header.
#[inline]
fn outer<A: Addr, C: Packet + Tables<A>>(
    ctx: &mut C,
    headers: &Headers<A>,
    inner: &Inner<A>,
    handle: &<C as Tables<A>>::Flow,
    to: &mut FlowKey<A>,
) -> Option<()> {
    let flow = handle.load();
    *to = headers.key;
    // The error comes from the very host that would have answered, or from a router on the way, which keeps its address.
    if to.src == inner.key.dst {
        to.src = flow.src;
    }
    to.dst = flow.dst;
    if A::IS_V6 {
        let delta = rewrite::addresses(&headers.key, to);
        ctx.update_csum(headers.l4 + 2, delta, Covers::PseudoHeader, false, true)?;
    }
    Some(())
}
