//! Internet checksums, incrementally (RFC 1071, RFC 1624). Pure arithmetic on numbers as they lie in memory.

/// A change to checksummed bytes: the ones' complement sum of what came less what went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delta(u64);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// Adds the change of one 32-bit word.
    #[inline]
    #[must_use]
    pub const fn word(self, old: u32, new: u32) -> Self {
        Self(self.0.wrapping_add(!old as u64).wrapping_add(new as u64))
    }

    /// Adds the change of one 16-bit number at an even offset.
    #[inline]
    #[must_use]
    pub const fn half(self, old: u16, new: u16) -> Self {
        Self(self.0.wrapping_add(!old as u64).wrapping_add(new as u64))
    }

    /// Adds a word that was not covered before.
    #[inline]
    #[must_use]
    pub const fn add(self, word: u32) -> Self {
        Self(self.0.wrapping_add(word as u64))
    }

    /// The change as the kernel's 32-bit checksum helpers take it.
    #[inline]
    pub const fn folded(self) -> u32 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((sum & 0xffff_ffff) + (sum >> 32)) as u32
    }

    /// The change in 16 bits.
    #[inline]
    pub const fn folded16(self) -> u16 {
        let sum = self.folded();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// The checksum field `old` after the change (RFC 1624 equation 3).
    #[inline]
    pub const fn apply(self, old: u16) -> u16 {
        let sum = (!old) as u32 + self.folded16() as u32;
        !(((sum & 0xffff) + (sum >> 16)) as u16)
    }
}
