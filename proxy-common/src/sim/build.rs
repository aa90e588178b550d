//! Packets in words: `Build::tcp(client, frontend).syn().frame()`.
//!
//! Every packet that comes out is valid, checksums included, until the caller breaks it.

use core::net::{IpAddr, SocketAddr};
use std::vec::Vec;

use crate::sim::{oracle, sctp};

/// Destination MAC address of built frames.
pub const TO: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];
/// Source MAC address of built frames.
pub const FROM: [u8; 6] = [2, 0, 0, 0, 0, 0xbb];

/// A packet being described.
#[derive(Clone, Debug)]
pub struct Build {
    src: SocketAddr,
    dst: SocketAddr,
    segment: Segment,
    payload: Vec<u8>,
    ttl: u8,
    id: u16,
    dont_fragment: bool,
    option_words: u8,
    tcp_words: u8,
    extensions: Vec<(u8, u8)>,
}

#[derive(Clone, Copy, Debug)]
enum Segment {
    Tcp { flags: u8 },
    Udp { zero_checksum: bool },
    Icmp { kind: u8, code: u8, rest: u32 },
    Sctp { chunk: u8, partial: bool },
    Other(u8),
}

impl Build {
    fn between(src: SocketAddr, dst: SocketAddr, segment: Segment) -> Self {
        assert_eq!(src.is_ipv4(), dst.is_ipv4(), "{src} and {dst}");
        Self {
            src,
            dst,
            segment,
            payload: Vec::new(),
            ttl: 64,
            id: 1,
            dont_fragment: false,
            option_words: 0,
            tcp_words: 0,
            extensions: Vec::new(),
        }
    }

    /// TCP with the flags ACK and PSH.
    pub fn tcp(src: SocketAddr, dst: SocketAddr) -> Self {
        Self::between(src, dst, Segment::Tcp { flags: 0x18 })
    }

    /// UDP.
    pub fn udp(src: SocketAddr, dst: SocketAddr) -> Self {
        Self::between(
            src,
            dst,
            Segment::Udp {
                zero_checksum: false,
            },
        )
    }

    /// SCTP with a chunk of data.
    pub fn sctp(src: SocketAddr, dst: SocketAddr) -> Self {
        Self::flow(132, src, dst)
    }

    /// TCP, UDP or SCTP by number, between addresses.
    pub fn flow(proto: u8, src: SocketAddr, dst: SocketAddr) -> Self {
        let segment = match proto {
            6 => Segment::Tcp { flags: 0x18 },
            17 => Segment::Udp {
                zero_checksum: false,
            },
            132 => Segment::Sctp {
                chunk: 0,
                partial: false,
            },
            other => Segment::Other(other),
        };
        Self::between(src, dst, segment)
    }

    /// An ICMP or `ICMPv6` message; for errors `inner` is the packet they are about.
    pub fn icmp(src: IpAddr, dst: IpAddr, (kind, code): (u8, u8), rest: u32, inner: &[u8]) -> Self {
        let (src, dst) = (SocketAddr::new(src, 0), SocketAddr::new(dst, 0));
        Self::between(src, dst, Segment::Icmp { kind, code, rest }).payload(inner)
    }

    /// Sets the TCP flags.
    #[must_use]
    pub fn flags(self, flags: u8) -> Self {
        Self {
            segment: Segment::Tcp { flags },
            ..self
        }
    }

    /// A TCP segment that opens a connection.
    #[must_use]
    pub fn syn(self) -> Self {
        self.flags(0x02)
    }

    /// The answer to it.
    #[must_use]
    pub fn syn_ack(self) -> Self {
        self.flags(0x12)
    }

    /// The last segment of one direction.
    #[must_use]
    pub fn fin(self) -> Self {
        self.flags(0x11)
    }

    /// A reset.
    #[must_use]
    pub fn rst(self) -> Self {
        self.flags(0x14)
    }

    /// UDP without checksum.
    #[must_use]
    pub fn zero_checksum(self) -> Self {
        Self {
            segment: Segment::Udp {
                zero_checksum: true,
            },
            ..self
        }
    }

    /// Sets the type of the SCTP chunk: 1 is INIT, 2 INIT ACK, 6 ABORT, 7 SHUTDOWN, 8 SHUTDOWN ACK, 14 SHUTDOWN COMPLETE.
    #[must_use]
    pub fn chunk(self, chunk: u8) -> Self {
        Self {
            segment: Segment::Sctp {
                chunk,
                partial: false,
            },
            ..self
        }
    }

    /// SCTP data whose checksum is left to the device.
    #[must_use]
    pub fn partial_checksum(self) -> Self {
        Self {
            segment: Segment::Sctp {
                chunk: 0,
                partial: true,
            },
            ..self
        }
    }

    /// Bytes behind the layer 4 header.
    #[must_use]
    pub fn payload(self, payload: &[u8]) -> Self {
        Self {
            payload: payload.to_vec(),
            ..self
        }
    }

    /// TTL or hop limit.
    #[must_use]
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// Identification, for fragments.
    #[must_use]
    pub fn id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    /// Sets IPv4's "don't fragment".
    #[must_use]
    pub fn dont_fragment(self) -> Self {
        Self {
            dont_fragment: true,
            ..self
        }
    }

    /// IPv4 options: so many words of "no operation".
    #[must_use]
    pub fn options(self, words: u8) -> Self {
        Self {
            option_words: words,
            ..self
        }
    }

    /// TCP options: so many words of "no operation".
    #[must_use]
    pub fn tcp_options(self, words: u8) -> Self {
        Self {
            tcp_words: words,
            ..self
        }
    }

    /// An IPv6 extension header of `kind` with 8 and `8 * more` bytes; the next call's one follows it.
    #[must_use]
    pub fn extension(mut self, kind: u8, more: u8) -> Self {
        self.extensions.push((kind, more));
        self
    }

    /// The packet, without link-layer header.
    pub fn packet(&self) -> Vec<u8> {
        self.wrap(&self.layer4(), None)
    }

    /// The packet in an Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        ethernet(&self.packet())
    }

    /// The packet in two parts, without link-layer headers; the first carries `first` bytes, rounded down to eights.
    pub fn parts(&self, first: usize) -> [Vec<u8>; 2] {
        let segment = self.layer4();
        let cut = (first.min(segment.len()) / 8) * 8;
        let (head, tail) = segment.split_at(cut);
        let offset = u16::try_from(cut).unwrap_or(0);
        [
            self.wrap(head, Some((0, true))),
            self.wrap(tail, Some((offset, false))),
        ]
    }

    fn proto(&self) -> u8 {
        match self.segment {
            Segment::Tcp { .. } => 6,
            Segment::Udp { .. } => 17,
            Segment::Icmp { .. } if self.src.is_ipv4() => 1,
            Segment::Icmp { .. } => 58,
            Segment::Sctp { .. } => 132,
            Segment::Other(proto) => proto,
        }
    }

    fn layer4(&self) -> Vec<u8> {
        let ports = [self.src.port().to_be_bytes(), self.dst.port().to_be_bytes()].concat();
        let (mut segment, checksum) = match self.segment {
            Segment::Tcp { flags } => {
                let words = 5 + self.tcp_words;
                let rest = [
                    0,
                    0,
                    0,
                    1,
                    0,
                    0,
                    0,
                    2,
                    words << 4,
                    flags,
                    0xff,
                    0xff,
                    0,
                    0,
                    0,
                    0,
                ];
                let mut header = [ports.as_slice(), &rest].concat();
                header.resize(usize::from(words) * 4, 1);
                (header, Some(16))
            }
            Segment::Udp { zero_checksum } => {
                let length = u16::try_from(8 + self.payload.len()).unwrap_or(0);
                let rest = [length.to_be_bytes(), [0, 0]].concat();
                ([ports, rest].concat(), (!zero_checksum).then_some(6))
            }
            Segment::Icmp { kind, code, rest } => {
                let rest = rest.to_be_bytes();
                ([&[kind, code, 0, 0], rest.as_slice()].concat(), Some(2))
            }
            Segment::Sctp { chunk, partial } => {
                return sctp::packet(&ports, chunk, &self.payload, partial);
            }
            Segment::Other(_) => (ports, None),
        };
        segment.extend_from_slice(&self.payload);
        if let Some(at) = checksum {
            let pseudo = self.pseudo(segment.len());
            let mut sum = !oracle::sum(&[pseudo.as_slice(), &segment].concat());
            if self.proto() == 17 && sum == 0 {
                sum = 0xffff;
            }
            segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        segment
    }

    fn pseudo(&self, length: usize) -> Vec<u8> {
        let length = u16::try_from(length).unwrap_or(0).to_be_bytes();
        let proto = self.proto();
        match (self.src.ip(), self.dst.ip()) {
            _ if proto == 1 => Vec::new(),
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                [src.octets(), dst.octets(), [0, proto, length[0], length[1]]].concat()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let rest = [0, 0, length[0], length[1], 0, 0, 0, proto];
                [src.octets().as_slice(), &dst.octets(), &rest].concat()
            }
            _ => unreachable!("checked when the packet was described"),
        }
    }

    /// The IP header and `part`, which begins at `fragment`'s offset.
    fn wrap(&self, part: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                self.wrap4(&[src.octets(), dst.octets()].concat(), part, fragment)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                self.wrap6(&[src.octets(), dst.octets()].concat(), part, fragment)
            }
            _ => unreachable!("checked when the packet was described"),
        }
    }

    fn wrap4(&self, addresses: &[u8], part: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        let words = 5 + self.option_words;
        let total = usize::from(words) * 4 + part.len();
        let total = u16::try_from(total).unwrap_or(u16::MAX).to_be_bytes();
        let (offset, more) = fragment.unwrap_or_default();
        let flags = u16::from(more) << 13 | u16::from(self.dont_fragment) << 14;
        let place = (offset / 8) | flags;
        let (id, place) = (self.id.to_be_bytes(), place.to_be_bytes());
        let mut header = [[0x40 | words, 0], total, id, place].concat();
        header.extend_from_slice(&[self.ttl, self.proto(), 0, 0]);
        header.extend_from_slice(addresses);
        header.resize(usize::from(words) * 4, 1);
        let sum = !oracle::sum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend_from_slice(part);
        header
    }

    fn wrap6(&self, addresses: &[u8], part: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        if fragment.is_some() {
            extensions.push((44, 0));
        }
        let mut kinds = extensions.iter().map(|(kind, _)| *kind).skip(1);
        let mut body = Vec::new();
        for (kind, more) in &extensions {
            let next = kinds.next().unwrap_or_else(|| self.proto());
            if *kind == 44 {
                let (offset, more) = fragment.unwrap_or_default();
                body.extend_from_slice(&[next, 0]);
                body.extend_from_slice(&(offset | u16::from(more)).to_be_bytes());
                body.extend_from_slice(&u32::from(self.id).to_be_bytes());
            } else {
                // One option that fills the header: PadN.
                let length = 8 + usize::from(*more) * 8;
                let mut header = std::vec![next, *more, 1, u8::try_from(length - 4).unwrap_or(0)];
                header.resize(length, 0);
                body.extend_from_slice(&header);
            }
        }
        body.extend_from_slice(part);
        let first = extensions
            .first()
            .map_or_else(|| self.proto(), |(kind, _)| *kind);
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut packet = std::vec![0x60, 0, 0, 0, length[0], length[1], first, self.ttl];
        packet.extend_from_slice(addresses);
        packet.extend_from_slice(&body);
        packet
    }
}

/// Puts an Ethernet header before an IP packet.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    let v6 = packet.first().is_some_and(|first| first >> 4 == 6);
    let ethertype = if v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    [TO.as_slice(), &FROM, &ethertype, packet].concat()
}
