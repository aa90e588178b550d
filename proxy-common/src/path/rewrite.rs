//! Edits of headers: a new tuple, a smaller TTL, MAC addresses. Checksums follow by difference.

use crate::addr::{Addr, proto};
use crate::be::{Be16, halves, join};
use crate::key::FlowKey;
use crate::path::body::{Covers, Packet};
use crate::path::crc32c;
use crate::path::csum::Delta;
use crate::path::parse::{Headers, Part};

/// Offset of the layer 4 checksum.
#[inline]
pub fn csum_offset<A: Addr>(headers: &Headers<A>) -> u32 {
    headers.l4
        + match headers.key.proto {
            proto::TCP => 16,
            proto::UDP => 6,
            _ => 2,
        }
}

/// The change from one address pair to another.
#[inline]
pub fn addresses<A: Addr>(from: &FlowKey<A>, to: &FlowKey<A>) -> Delta {
    let (s, d, ns, nd) = (
        from.src.words(),
        from.dst.words(),
        to.src.words(),
        to.dst.words(),
    );
    let delta = Delta::NONE.word(s[0], ns[0]).word(d[0], nd[0]);
    if !A::IS_V6 {
        return delta;
    }
    delta
        .word(s[1], ns[1])
        .word(s[2], ns[2])
        .word(s[3], ns[3])
        .word(d[1], nd[1])
        .word(d[2], nd[2])
        .word(d[3], nd[3])
}

/// Writes the addresses of `to` into the IP header at `l3`, and the IPv4 header checksum with them.
#[inline]
pub fn set_addresses<A: Addr, P: Packet>(
    packet: &mut P,
    l3: u32,
    to: &FlowKey<A>,
    delta: Delta,
) -> Option<()> {
    let (s, d) = (to.src.words(), to.dst.words());
    if A::IS_V6 {
        return packet.set_words(l3 + 8, [s[0], s[1], s[2], s[3], d[0], d[1], d[2], d[3]]);
    }
    let [ttl] = packet.words::<1>(l3 + 8)?;
    let (time, csum) = halves(ttl);
    packet.set_words(
        l3 + 8,
        [
            join(time, Be16::from_raw(delta.apply(csum.raw()))),
            s[0],
            d[0],
        ],
    )
}

/// Gives the packet the tuple `to`. Later fragments have addresses only.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn translate<A: Addr, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    to: &FlowKey<A>,
) -> Option<()> {
    let from = &headers.key;
    let pseudo = addresses(from, to);
    set_addresses(packet, headers.l3, to, pseudo)?;
    if headers.part == Part::Later {
        return Some(());
    }
    let (old, new) = (join(from.sport, from.dport), join(to.sport, to.dport));
    if from.proto == proto::SCTP {
        return sctp_ports::<A, P>(packet, headers, old, new);
    }
    let udp = from.proto == proto::UDP;
    let csum = csum_offset(headers);
    if old != new {
        packet.set_words(headers.l4, [new])?;
        packet.update_csum(
            csum,
            Delta::NONE.word(old, new),
            Covers::Segment,
            udp,
            A::IS_V6,
        )?;
    }
    packet.update_csum(csum, pseudo, Covers::PseudoHeader, udp, A::IS_V6)
}

/// Whether the packet can be given the tuple `to`. Not so the first fragment of an SCTP packet, if its ports change: the sum
/// depends on the whole packet's length, and nobody can tell that yet.
#[inline]
pub fn can_translate<A: Addr>(headers: &Headers<A>, to: &FlowKey<A>) -> bool {
    let from = &headers.key;
    headers.part != Part::First
        || from.proto != proto::SCTP
        || (from.sport, from.dport) == (to.sport, to.dport)
}

/// Writes the ports of an SCTP packet and what they mean for its checksum, which knows no addresses.
#[inline]
fn sctp_ports<A: Addr, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    old: u32,
    new: u32,
) -> Option<()> {
    if old == new {
        return Some(());
    }
    let [_, _, checksum] = packet.words::<3>(headers.l4)?;
    packet.set_words(headers.l4, [new])?;
    // A sum that its sender left to a device is zero until then (Linux's partial checksums).
    if checksum == 0 {
        return Some(());
    }
    let end = if A::IS_V6 {
        40 + u32::from(packet.half(headers.l3 + 4)?.get())
    } else {
        u32::from(packet.half(headers.l3 + 2)?.get())
    };
    let length = end.wrapping_sub(headers.l4 - headers.l3) as u16;
    let checksum = crc32c::update(checksum, old, new, length);
    packet.set_words(headers.l4 + 8, [checksum])
}

/// Lowers TTL or hop limit by one. `Some(false)`: it was used up, nothing was changed.
#[inline]
pub fn age<A: Addr, P: Packet>(packet: &mut P, l3: u32) -> Option<bool> {
    if A::IS_V6 {
        let [length] = packet.words::<1>(l3 + 4)?;
        let (len, rest) = halves(length);
        let left = rest.get() & 0xff;
        if left <= 1 {
            return Some(false);
        }
        packet.set_words(l3 + 4, [join(len, Be16::new(rest.get() - 1))])?;
        return Some(true);
    }
    let [word] = packet.words::<1>(l3 + 8)?;
    let (time, csum) = halves(word);
    if time.get() >> 8 <= 1 {
        return Some(false);
    }
    let aged = Be16::new(time.get() - 0x100);
    let csum = Delta::NONE.half(time.raw(), aged.raw()).apply(csum.raw());
    packet.set_words(l3 + 8, [join(aged, Be16::from_raw(csum))])?;
    Some(true)
}

/// Exchanges destination and source MAC address.
#[inline]
pub fn swap_macs<P: Packet>(packet: &mut P) -> Option<()> {
    if P::L2 == 0 {
        return Some(());
    }
    let [a, b, c] = packet.words::<3>(0)?;
    let ((d0, d1), (d2, s0), (s1, s2)) = (halves(a), halves(b), halves(c));
    packet.set_words(0, [join(s0, s1), join(s2, d0), join(d1, d2)])
}
