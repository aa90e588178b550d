//! ICMP errors: those we send ([`reject`]) and those that others send about translated packets ([`translate`]).

use crate::addr::{Addr, proto};
use crate::be::{Be16, byte, halves, join};
use crate::flags::FlowFlags;
use crate::key::FlowKey;
use crate::path::body::{Covers, FlowHandle as _, Interface, Packet, Tables, Verdict};
use crate::path::csum::Delta;
use crate::path::parse::{Headers, Part};
use crate::path::{rewrite, send};
use crate::reason::Reason;
use crate::value::Flow;

/// An error we send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Port unreachable (RFC 792; RFC 4443 section 3.1).
    PortUnreachable,
    /// Fragmentation needed (RFC 1191), packet too big (RFC 4443 section 3.2), with the MTU.
    TooBig(u32),
    /// Time exceeded in transit.
    TtlExceeded,
}

impl Error {
    /// First word: type, code, zero checksum; second word.
    #[inline]
    fn words(self, v6: bool) -> [u32; 2] {
        let (kind, code, rest) = match (self, v6) {
            (Self::PortUnreachable, false) => (3, 3, 0),
            (Self::PortUnreachable, true) => (1, 4, 0),
            (Self::TooBig(mtu), false) => (3, 4, mtu & 0xffff),
            (Self::TooBig(mtu), true) => (2, 0, mtu),
            (Self::TtlExceeded, false) => (11, 0, 0),
            (Self::TtlExceeded, true) => (3, 0, 0),
        };
        [join(Be16::new(kind << 8 | code), Be16::new(0)), u32::from_be(rest)]
    }
}

/// Hop limit of what we send, as Linux's own.
const TTL: u16 = 64;

/// Turns the packet into an ICMP error about itself and sends it back. The sender is the address the client spoke to.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn reject<A: Addr, C: Packet + Interface>(ctx: &mut C, headers: &Headers<A>, error: Error, reason: Reason) -> Verdict {
    if C::XDP {
        ctx.count(Reason::Deferred);
        return Verdict::PASS;
    }
    ctx.count(reason);
    // RFC 1122 section 3.2.2: no error about a fragment but the first.
    if headers.part == Part::Later || write(ctx, headers, error).is_none() {
        return Verdict::DROP;
    }
    send::back(ctx)
}

#[inline]
fn write<A: Addr, C: Packet + Interface>(ctx: &mut C, headers: &Headers<A>, error: Error) -> Option<()> {
    let l3 = headers.l3;
    let [first, second] = error.words(A::IS_V6);
    // RFC 792: the IP header and 8 bytes, which is the least that sockets need to find themselves.
    let [p0, p1] = ctx.words::<2>(headers.l4)?;
    let base = Delta::NONE.add(first).add(second).add(p0).add(p1);
    if A::IS_V6 {
        let inner = ctx.words::<10>(l3)?;
        let (src, dst) = (headers.key.dst.words(), headers.key.src.words());
        // 8 bytes of ICMPv6, 40 of header, 8 of transport.
        let length = 56;
        let mut sum = base.add(u32::from_be(length)).add(u32::from_be(u32::from(proto::ICMPV6)));
        sum = sum.add(src[0]).add(src[1]).add(src[2]).add(src[3]).add(dst[0]).add(dst[1]).add(dst[2]).add(dst[3]);
        let [i0, i1, i2, i3, i4, i5, i6, i7, i8, i9] = inner;
        sum = sum.add(i0).add(i1).add(i2).add(i3).add(i4).add(i5).add(i6).add(i7).add(i8).add(i9);
        ctx.resize(l3 + 40 + length)?;
        let next = Be16::new(u16::from(proto::ICMPV6) << 8 | TTL);
        ctx.set_words(l3, [u32::from_be(0x6000_0000), join(Be16::new(56), next)])?;
        ctx.set_words(l3 + 8, [src[0], src[1], src[2], src[3], dst[0], dst[1], dst[2], dst[3]])?;
        ctx.set_words(l3 + 40, [join(halves(first).0, Be16::from_raw(!sum.folded16())), second])?;
        ctx.set_words(l3 + 48, inner)?;
        return ctx.set_words(l3 + 88, [p0, p1]);
    }
    let inner = ctx.words::<5>(l3)?;
    let [i0, i1, i2, i3, i4] = inner;
    // RFC 1191: only who set "don't fragment" is told; and headers with options are too rare to be worth room here.
    if byte(i0, 0) != 0x45 || matches!(error, Error::TooBig(_)) && halves(i1).1.get() & 0x4000 == 0 {
        return None;
    }
    let sum = base.add(i0).add(i1).add(i2).add(i3).add(i4);
    // 20 bytes of header, 8 of ICMP, 20 of header, 8 of transport. Precedence "internetwork control", as RFC 1812 section 4.3.2.5 says.
    let start = join(Be16::new(0x45c0), Be16::new(56));
    let ttl = Be16::new(TTL << 8 | u16::from(proto::ICMP));
    let (src, dst) = (headers.key.dst.words()[0], headers.key.src.words()[0]);
    let header = Delta::NONE.add(start).add(join(ttl, Be16::new(0))).add(src).add(dst);
    ctx.resize(l3 + 56)?;
    ctx.set_words(l3, [start, 0, join(ttl, Be16::from_raw(!header.folded16())), src, dst])?;
    ctx.set_words(l3 + 20, [join(halves(first).0, Be16::from_raw(!sum.folded16())), second])?;
    ctx.set_words(l3 + 28, inner)?;
    ctx.set_words(l3 + 48, [p0, p1])
}

/// Whether the message is an error, which carries the packet it is about.
#[inline]
fn is_error(v6: bool, kind: u8) -> bool {
    if v6 { matches!(kind, 1..=4) } else { matches!(kind, 3 | 11 | 12) }
}

/// Translates an ICMP error about a packet of a known flow, outside and inside. `egress` tells which entries apply here:
/// those of answers that keep the client's address at egress, all others at ingress.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn translate<A: Addr, C: Packet + Tables<A> + Interface>(ctx: &mut C, headers: &Headers<A>, egress: bool) -> Verdict {
    match find(ctx, headers) {
        Some((inner, key, flow)) => {
            let at_egress = flow.flags.has(FlowFlags::REPLY) && !flow.flags.has(FlowFlags::SNAT);
            if at_egress == egress && !C::XDP {
                return apply(ctx, headers, &inner, &key, &flow);
            }
            Verdict::PASS
        }
        None => Verdict::PASS,
    }
}

/// The packet inside, its offset, the tuple of an answer to it, and the entry under that tuple.
#[inline]
fn find<A: Addr, C: Packet + Tables<A>>(ctx: &C, headers: &Headers<A>) -> Option<(Inner<A>, FlowKey<A>, Flow<A>)> {
    let [kind] = ctx.words::<1>(headers.l4)?;
    if headers.part != Part::Whole || !is_error(A::IS_V6, byte(kind, 0)) {
        return None;
    }
    let inner = Inner::parse(ctx, headers.l4 + 8)?;
    let key = inner.key.reversed();
    let flow = match ctx.flow(&key) {
        Some(handle) => handle.load(),
        None => ctx.embryo(&key)?.load(),
    };
    Some((inner, key, flow))
}

/// The header of the packet that an error is about. Headers with options or extensions are left alone.
struct Inner<A> {
    key: FlowKey<A>,
    l3: u32,
    l4: u32,
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
        if protocol != proto::TCP && protocol != proto::UDP {
            return None;
        }
        let (sport, dport) = halves(packet.words::<1>(l4)?[0]);
        let key = FlowKey::new(A::from_words(src), A::from_words(dst), sport, dport, protocol);
        Some(Self { key, l3, l4 })
    }
}

#[inline]
fn apply<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    inner: &Inner<A>,
    key: &FlowKey<A>,
    flow: &Flow<A>,
) -> Verdict {
    let translated = flow.translated(key.proto);
    // The error comes from the very host that would have answered, or from a router on the way, which keeps its address.
    let src = if headers.key.src == key.src { translated.src } else { headers.key.src };
    let outer = FlowKey::new(src, translated.dst, headers.key.sport, headers.key.dport, headers.key.proto);
    if rewrite_inner(ctx, headers, inner, &translated.reversed()).is_none() {
        ctx.count(Reason::EditFailed);
        return Verdict::DROP;
    }
    send_outer(ctx, headers, &outer, flow.flags)
}

/// The inner transport checksum is left as it is: who gets the error has no use for it (RFC 5508 section 4.2 lets a NAT do so).
#[inline]
fn rewrite_inner<A: Addr, C: Packet>(
    ctx: &mut C,
    headers: &Headers<A>,
    inner: &Inner<A>,
    to: &FlowKey<A>,
) -> Option<()> {
    let addresses = rewrite::addresses(&inner.key, to);
    rewrite::set_addresses(ctx, inner.l3, to, addresses)?;
    let (old, new) = (join(inner.key.sport, inner.key.dport), join(to.sport, to.dport));
    ctx.set_words(inner.l4, [new])?;
    // An IPv4 header sums to a constant, so only IPv6 addresses change the sum of the message.
    let delta = if A::IS_V6 { addresses } else { Delta::NONE };
    let field = headers.l4 + 2;
    ctx.update_csum(field, delta.word(old, new), Covers::Segment, false, A::IS_V6)
}

#[inline]
fn send_outer<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    outer: &FlowKey<A>,
    flags: FlowFlags,
) -> Verdict {
    // ICMP has no pseudo header, ICMPv6 has one. Neither has ports, so `translate` must not look for any.
    let as_later = Headers { part: Part::Later, ..*headers };
    if A::IS_V6 {
        let delta = rewrite::addresses(&headers.key, outer);
        if ctx.update_csum(headers.l4 + 2, delta, Covers::PseudoHeader, false, true).is_none() {
            ctx.count(Reason::EditFailed);
            return Verdict::DROP;
        }
    }
    send::send(ctx, &as_later, outer, flags, Reason::IcmpTranslated)
}
