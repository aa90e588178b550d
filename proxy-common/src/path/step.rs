//! What a stage decided, for the hook to carry out. In one register, as [`Verdict`]: the stages that decide and those that
//! edit the packet are called one after the other, not one from the other, so that their stack frames share 512 bytes.

use crate::flags::FlowFlags;
use crate::path::body::Verdict;
use crate::reason::Reason;

/// A packed [`Decision`].
#[must_use]
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step(u64);

/// A [`Step`] unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Nothing more to do.
    Done(Verdict),
    /// Translate and send.
    Send(FlowFlags, Reason),
    /// Answer with an ICMP error; the number is the MTU in bytes with [`Reason::TooBig`].
    Reject(Reason, u32),
}

const SEND: u64 = 1 << 62;
const REJECT: u64 = 1 << 63;

impl Step {
    /// [`Decision::Done`].
    #[inline]
    pub const fn done(verdict: Verdict) -> Self {
        Self(verdict.bits())
    }

    /// [`Decision::Send`].
    #[inline]
    pub const fn send(flags: FlowFlags, reason: Reason) -> Self {
        Self(SEND | (reason as u64) << 32 | flags.0 as u64)
    }

    /// [`Decision::Reject`].
    #[inline]
    pub const fn reject(reason: Reason, mtu: u32) -> Self {
        Self(REJECT | (reason as u64) << 32 | mtu as u64)
    }

    /// The same, but what would be sent past the stack goes through it.
    #[inline]
    pub const fn by_the_stack(self) -> Self {
        if self.0 & SEND != 0 {
            Self(self.0 & !(FlowFlags::REDIRECT.0 as u64))
        } else {
            self
        }
    }

    /// Unpacked.
    #[inline]
    pub const fn decision(self) -> Decision {
        if self.0 & (SEND | REJECT) == 0 {
            return Decision::Done(Verdict::from_bits(self.0));
        }
        let reason = match Reason::from_number((self.0 >> 32) as u32 & 0xffff) {
            Some(reason) => reason,
            None => Reason::Inconsistent,
        };
        if self.0 & SEND != 0 {
            Decision::Send(FlowFlags(self.0 as u16), reason)
        } else {
            Decision::Reject(reason, self.0 as u32)
        }
    }
}
