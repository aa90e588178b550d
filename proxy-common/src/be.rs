//! Numbers as they lie in a packet. The only place where byte order is converted.

use core::fmt;

/// A 16-bit number in network byte order (a port, an `EtherType`, a length).
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Be16(u16);

impl Be16 {
    /// From a number in host order.
    #[inline]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// From two bytes of a packet, read as one native number.
    #[inline]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The number in host order.
    #[inline]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The number as it lies in memory.
    #[inline]
    pub const fn raw(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Display for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Splits a native 32-bit read of a packet into its first and second 16-bit number.
#[inline]
pub const fn halves(word: u32) -> (Be16, Be16) {
    let [a, b, c, d] = word.to_ne_bytes();
    (
        Be16(u16::from_ne_bytes([a, b])),
        Be16(u16::from_ne_bytes([c, d])),
    )
}

/// The inverse of [`halves`].
#[inline]
pub const fn join(first: Be16, second: Be16) -> u32 {
    let ([a, b], [c, d]) = (first.0.to_ne_bytes(), second.0.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// Byte `index` (0 to 3, as on the wire) of a native 32-bit read of a packet.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "one byte is wanted")]
pub const fn byte(word: u32, index: u32) -> u8 {
    (u32::from_be(word) >> (24 - 8 * (index & 3))) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_join_are_identity() {
        let (a, b) = (Be16::new(0x1234), Be16::new(0xabcd));
        assert_eq!(halves(join(a, b)), (a, b));
        assert_eq!(join(a, b).to_ne_bytes(), [0x12, 0x34, 0xab, 0xcd]);
        assert_eq!(byte(join(a, b), 2), 0xab);
    }
}
