//! What a receiver makes of a packet: addresses, ports, and whether its checksums hold, computed byte by byte from the RFCs.
//!
//! The judge of the path, so it shares no code with it: not the parser, not [`crate::path::csum`].

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::vec::Vec;

/// A packet as its receiver reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Source; port 0 for ICMP and later fragments.
    pub src: SocketAddr,
    /// Destination.
    pub dst: SocketAddr,
    /// Protocol behind all extension headers.
    pub proto: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// A part of a datagram.
    pub fragment: bool,
    /// What lies behind the IP headers, as long as those say.
    pub segment: Vec<u8>,
}

/// What is wrong with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Neither IPv4 nor IPv6, or shorter than its headers say.
    Cut,
    /// The IPv4 header's checksum.
    HeaderChecksum,
    /// The checksum of TCP, UDP, SCTP, ICMP or `ICMPv6`.
    SegmentChecksum,
    /// The IPv4 header checksum of the packet inside an ICMP error.
    InnerHeaderChecksum,
}

/// Reads an IP packet, without link-layer header, and checks every checksum it has.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn see(packet: &[u8]) -> Result<Seen, Wrong> {
    let (mut seen, pseudo) = match packet.first().ok_or(Wrong::Cut)? >> 4 {
        4 => see4(packet)?,
        6 => see6(packet)?,
        _ => return Err(Wrong::Cut),
    };
    if seen.fragment {
        return Ok(seen);
    }
    match seen.proto {
        132 => check_crc(&seen.segment)?,
        6 | 17 | 1 | 58 => check_sum(&seen, &pseudo)?,
        _ => return Ok(seen),
    }
    if matches!(seen.proto, 6 | 17 | 132) {
        let port = |at: usize| u16::from_be_bytes([seen.segment[at], seen.segment[at + 1]]);
        let (source, destination) = (port(0), port(2));
        seen.src.set_port(source);
        seen.dst.set_port(destination);
    }
    if seen.proto == 1 && matches!(seen.segment.first(), Some(3 | 11 | 12)) {
        check_inner(&seen.segment)?;
    }
    Ok(seen)
}

/// The ones' complement sum of `bytes` as 16-bit numbers, an odd last byte padded with zero (RFC 1071).
pub fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0_u32;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) * 256 + u32::from(pair.get(1).copied().unwrap_or(0));
        if total > 0xffff {
            total -= 0xffff;
        }
    }
    u16::try_from(total).unwrap_or(0)
}

/// SCTP's checksum as its RFC says: of the packet with zeros in the place of the sum, least significant byte first (RFC 9260 appendix A).
/// Zeros are a sum that a device is to complete.
pub fn crc32c(packet: &[u8]) -> [u8; 4] {
    let mut register = u32::MAX;
    for (at, byte) in packet.iter().enumerate() {
        let byte = if (8..12).contains(&at) { 0 } else { *byte };
        for bit in 0..8 {
            let out = (register & 1) ^ u32::from(byte >> bit & 1);
            register >>= 1;
            if out == 1 {
                register ^= 0x82f6_3b78;
            }
        }
    }
    (!register).to_le_bytes()
}

fn check_crc(segment: &[u8]) -> Result<(), Wrong> {
    let field = segment.get(8..12).ok_or(Wrong::Cut)?;
    if field == [0; 4] || field == crc32c(segment) {
        Ok(())
    } else {
        Err(Wrong::SegmentChecksum)
    }
}

/// The checksum of TCP, UDP, ICMP and `ICMPv6`; `pseudo` is the pseudo header of all but ICMP.
fn check_sum(seen: &Seen, pseudo: &[u8]) -> Result<(), Wrong> {
    let field = match seen.proto {
        6 => seen.segment.get(16..18),
        17 => seen.segment.get(6..8),
        _ => seen.segment.get(2..4),
    }
    .ok_or(Wrong::Cut)?;
    let unused = seen.proto == 17 && field == [0, 0];
    let pseudo = if seen.proto == 1 { &[] } else { pseudo };
    if !unused && sum(&[pseudo, &seen.segment].concat()) != 0xffff {
        return Err(Wrong::SegmentChecksum);
    }
    Ok(())
}

fn check_inner(segment: &[u8]) -> Result<(), Wrong> {
    let inner = segment.get(8..).unwrap_or_default();
    let Some(first) = inner.first() else {
        return Ok(());
    };
    match inner.get(..usize::from(first & 15) * 4) {
        Some(header) if first >> 4 == 4 && sum(header) != 0xffff => Err(Wrong::InnerHeaderChecksum),
        _ => Ok(()),
    }
}

fn see4(packet: &[u8]) -> Result<(Seen, Vec<u8>), Wrong> {
    let header_len = usize::from(packet[0] & 15) * 4;
    let header = packet.get(..header_len).ok_or(Wrong::Cut)?;
    if header_len < 20 {
        return Err(Wrong::Cut);
    }
    if sum(header) != 0xffff {
        return Err(Wrong::HeaderChecksum);
    }
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let segment = packet.get(header_len..total).ok_or(Wrong::Cut)?.to_vec();
    let ip = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let length = u16::try_from(segment.len()).map_err(|_| Wrong::Cut)?;
    let [high, low] = length.to_be_bytes();
    let pseudo = [&packet[12..20], &[0, packet[9], high, low]].concat();
    let seen = Seen {
        src: SocketAddr::new(IpAddr::V4(ip(12)), 0),
        dst: SocketAddr::new(IpAddr::V4(ip(16)), 0),
        proto: packet[9],
        ttl: packet[8],
        // MF, or an offset.
        fragment: packet[6] & 0x3f != 0 || packet[7] != 0,
        segment,
    };
    Ok((seen, pseudo))
}

fn see6(packet: &[u8]) -> Result<(Seen, Vec<u8>), Wrong> {
    let header = packet.get(..40).ok_or(Wrong::Cut)?;
    let total = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let packet = packet.get(..total).ok_or(Wrong::Cut)?;
    let (mut next, mut at, mut fragment) = (header[6], 40, false);
    while matches!(next, 0 | 43 | 44 | 60) {
        let extension = packet.get(at..at + 8).ok_or(Wrong::Cut)?;
        let mut later = false;
        if next == 44 {
            let offset = u16::from_be_bytes([extension[2], extension[3]]);
            fragment |= offset & 0xfff9 != 0;
            later = offset & 0xfff8 != 0;
            at += 8;
        } else {
            at += 8 + usize::from(extension[1]) * 8;
        }
        next = extension[0];
        if later {
            break;
        }
    }
    let segment = packet.get(at..).ok_or(Wrong::Cut)?.to_vec();
    let ip = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&packet[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let length = u16::try_from(segment.len()).map_err(|_| Wrong::Cut)?;
    let [high, low] = length.to_be_bytes();
    let pseudo = [&packet[8..40], &[0, 0, high, low, 0, 0, 0, next]].concat();
    let seen = Seen {
        src: SocketAddr::new(ip(8), 0),
        dst: SocketAddr::new(ip(24), 0),
        proto: next,
        ttl: header[7],
        fragment,
        segment,
    };
    Ok((seen, pseudo))
}
