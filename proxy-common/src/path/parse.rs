//! Headers to a tuple and offsets. Accepts anything; what it cannot read is not ours.

use crate::addr::{Addr, V4, V6, proto};
use crate::be::{Be16, byte, halves};
use crate::key::{FlowKey, FragmentKey};
use crate::path::body::Packet;

/// IPv6 extension headers that are walked before a packet is left alone.
pub const MAX_EXTENSIONS: u32 = 4;

/// TCP flag bits (RFC 9293 section 3.1).
pub mod tcp {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Open.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Acknowledgement.
    pub const ACK: u8 = 0x10;
}

/// Chunk types of SCTP (RFC 9260 section 3.2).
pub mod chunk {
    /// Opens an association; the only chunk of its packet.
    pub const INIT: u8 = 1;
    /// The answer to it.
    pub const INIT_ACK: u8 = 2;
    /// Ends an association at once.
    pub const ABORT: u8 = 6;
    /// No more data.
    pub const SHUTDOWN: u8 = 7;
    /// The answer to it: no more data from here either.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// The answer to that: the association is over.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// What a first chunk means to a connection, as the TCP flags that mean the same.
#[inline]
const fn as_tcp(chunk: u8) -> u8 {
    match chunk {
        chunk::INIT => tcp::SYN,
        chunk::INIT_ACK => tcp::SYN | tcp::ACK,
        chunk::SHUTDOWN | chunk::SHUTDOWN_ACK => tcp::FIN,
        chunk::ABORT | chunk::SHUTDOWN_COMPLETE => tcp::RST,
        _ => tcp::ACK,
    }
}

/// `EtherTypes`.
pub mod ethertype {
    use crate::be::Be16;

    /// IPv4.
    pub const IPV4: Be16 = Be16::new(0x0800);
    /// IPv6.
    pub const IPV6: Be16 = Be16::new(0x86dd);
}

/// A packet that may be ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Headers<A> {
    /// The tuple; ports are zero for ICMP and for later fragments.
    pub key: FlowKey<A>,
    /// Offset of the IP header.
    pub l3: u32,
    /// Offset of the layer 4 header.
    pub l4: u32,
    /// TCP flags; for SCTP those that mean what its first chunk means; zero for others.
    pub tcp: u8,
    /// Bytes of the layer 4 header; zero for ICMP and later fragments.
    pub l4_len: u8,
    /// Where in a fragmented datagram this is.
    pub part: Part,
    /// Fragment identification, as it lies in the packet; zero if not a fragment.
    pub id: u32,
}

/// The fragment a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Part {
    /// No fragment.
    #[default]
    Whole,
    /// The one with the layer 4 header; more follow.
    First,
    /// One without.
    Later,
}

impl<A: Addr> Headers<A> {
    /// Headers to be overwritten: `zero` everywhere.
    #[inline]
    pub fn blank(zero: u32) -> Self {
        Self {
            key: FlowKey::blank(zero),
            l3: zero,
            l4: zero,
            tcp: zero as u8,
            l4_len: zero as u8,
            part: Part::Whole,
            id: zero,
        }
    }

    /// Key of FRAGMENTS.
    #[inline]
    pub const fn fragment_key(&self) -> FragmentKey<A> {
        FragmentKey::new(self.key.src, self.key.dst, self.id, self.key.proto)
    }

    /// Opens a connection: a SYN, an INIT.
    #[inline]
    pub const fn opens(&self) -> bool {
        self.tcp & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
    }
}

/// Parses into `headers`; `false` as [`Parse::parse`]'s `None`.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn parse_into<A: Parse, P: Packet>(packet: &P, headers: &mut Headers<A>) -> bool {
    match A::parse(packet) {
        Some(parsed) => {
            *headers = parsed;
            true
        }
        None => false,
    }
}

/// Parses the family's header and the layer 4 one.
pub trait Parse: Addr {
    /// `None`: not TCP, UDP, SCTP or ICMP of this family, or cut short.
    fn parse<P: Packet>(packet: &P) -> Option<Headers<Self>>;
}

impl Parse for V4 {
    #[inline]
    fn parse<P: Packet>(packet: &P) -> Option<Headers<Self>> {
        let [first, ident, ttl, src, dst] = packet.words::<5>(P::L2)?;
        let version = byte(first, 0);
        if version >> 4 != 4 || version & 15 < 5 {
            return None;
        }
        let l4 = P::L2 + 4 * u32::from(version & 15);
        // RFC 791: flags (MF is 0x2000) and offset share the second half of the word.
        let fragment = halves(ident).1.get() & 0x3fff;
        let (part, id) = match fragment {
            0 => (Part::Whole, 0),
            0x2000 => (Part::First, u32::from(halves(ident).0.raw())),
            _ => (Part::Later, u32::from(halves(ident).0.raw())),
        };
        transport(
            packet,
            (V4(src), V4(dst)),
            byte(ttl, 1),
            (P::L2, l4),
            (part, id),
        )
    }
}

impl Parse for V6 {
    #[inline]
    fn parse<P: Packet>(packet: &P) -> Option<Headers<Self>> {
        let [first, length, s0, s1, s2, s3, d0, d1, d2, d3] = packet.words::<10>(P::L2)?;
        if byte(first, 0) >> 4 != 6 {
            return None;
        }
        let mut next = byte(length, 2);
        let mut l4 = P::L2 + 40;
        let mut part = (Part::Whole, 0);
        let mut steps = 0;
        // RFC 8200 section 4: hop-by-hop (0), routing (43), destination options (60) give their length; fragment (44) is 8 bytes.
        while steps < MAX_EXTENSIONS && matches!(next, 0 | 43 | 44 | 60) {
            let [extension, id] = packet.words::<2>(l4)?;
            if next == 44 {
                part = match halves(extension).1.get() & 0xfff9 {
                    0 => (Part::Whole, 0),
                    1 => (Part::First, id),
                    _ => (Part::Later, id),
                };
                l4 += 8;
            } else {
                l4 += 8 + 8 * u32::from(byte(extension, 1));
            }
            next = byte(extension, 0);
            if part.0 == Part::Later {
                break;
            }
            steps += 1;
        }
        transport(
            packet,
            (V6([s0, s1, s2, s3]), V6([d0, d1, d2, d3])),
            next,
            (P::L2, l4),
            part,
        )
    }
}

#[inline]
fn transport<A: Addr, P: Packet>(
    packet: &P,
    (src, dst): (A, A),
    protocol: u8,
    (l3, l4): (u32, u32),
    (part, id): (Part, u32),
) -> Option<Headers<A>> {
    let icmp = if A::IS_V6 { proto::ICMPV6 } else { proto::ICMP };
    if !proto::has_ports(protocol) && protocol != icmp {
        return None;
    }
    let mut headers = Headers {
        key: FlowKey::new(src, dst, Be16::default(), Be16::default(), protocol),
        l3,
        l4,
        tcp: 0,
        l4_len: 0,
        part,
        id,
    };
    if part == Part::Later || protocol == icmp {
        return Some(headers);
    }
    let ports = if protocol == proto::TCP {
        let [ports, _, _, flags, _] = packet.words::<5>(l4)?;
        headers.tcp = byte(flags, 1);
        // RFC 9293: the data offset counts words, in the upper half of its byte.
        headers.l4_len = (byte(flags, 0) >> 4) * 4;
        ports
    } else if protocol == proto::SCTP {
        headers.l4_len = 12;
        let [ports, _, _] = packet.words::<3>(l4)?;
        // What cannot be read is data: GSO keeps the chunks elsewhere.
        headers.tcp = as_tcp(
            packet
                .words::<1>(l4 + 12)
                .map_or(0, |[chunk]| byte(chunk, 0)),
        );
        ports
    } else {
        headers.l4_len = 8;
        packet.words::<2>(l4)?[0]
    };
    (headers.key.sport, headers.key.dport) = halves(ports);
    Some(headers)
}
