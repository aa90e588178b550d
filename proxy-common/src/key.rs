//! Map keys. Every byte is part of the key, padding included: build them with the constructors.

use crate::addr::Addr;
use crate::be::Be16;

/// Key of FRONTENDS: what a client addresses. `NodePorts` are kept under the unspecified address.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrontendKey<A> {
    /// `ClusterIP`, external IP or load-balancer IP; unspecified for a `NodePort`.
    pub addr: A,
    /// Service port, or node port.
    pub port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    pad: u8,
}

impl<A> FrontendKey<A> {
    /// The key of `addr`:`port`/`proto`.
    #[inline]
    pub const fn new(addr: A, port: Be16, proto: u8) -> Self {
        Self {
            addr,
            port,
            proto,
            pad: 0,
        }
    }
}

/// Key of FLOWS and EMBRYOS: the tuple of a packet as it is seen at the hook that looks it up.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FlowKey<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// IANA protocol number.
    pub proto: u8,
    // Two numbers, since the compiler makes a call of memset out of three bytes.
    pad: u8,
    pad2: u16,
}

impl<A: Addr> FlowKey<A> {
    /// The key of a packet from `src`:`sport` to `dst`:`dport`.
    #[inline]
    pub const fn new(src: A, dst: A, sport: Be16, dport: Be16, proto: u8) -> Self {
        Self {
            src,
            dst,
            sport,
            dport,
            proto,
            pad: 0,
            pad2: 0,
        }
    }

    /// A tuple to be overwritten: `zero` everywhere.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "zero is zero in any width")]
    pub fn blank(zero: u32) -> Self {
        let (addr, port) = (A::from_words([zero; 4]), Be16::from_raw(zero as u16));
        Self::new(addr, addr, port, port, zero as u8)
    }

    /// The tuple of an answer to this one.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            ..self
        }
    }
}

/// Key of FRAGMENTS: what the parts of one datagram have in common (RFC 791, RFC 8200).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FragmentKey<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Identification, as it lies in the packet.
    pub id: u32,
    /// IANA protocol number.
    pub proto: u8,
    // Two numbers, since the compiler makes a call of memset out of three bytes.
    pad: u8,
    pad2: u16,
}

impl<A> FragmentKey<A> {
    /// The key of a datagram.
    #[inline]
    pub const fn new(src: A, dst: A, id: u32, proto: u8) -> Self {
        Self {
            src,
            dst,
            id,
            proto,
            pad: 0,
            pad2: 0,
        }
    }
}

/// Key of AFFINITY: one record per client and `ServicePort`, for every frontend and hook (SEMANTICS 8.1).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AffinityKey<A> {
    /// Service id.
    pub service: u32,
    /// The client; unspecified for the node's own processes.
    pub client: A,
}

/// Key of `SOURCE_RANGES`, a trie of longest prefixes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RangeKey<A> {
    /// Bits that count: 32 for the set, then those of the address.
    pub prefix: u32,
    /// The set.
    pub set: u32,
    /// Network, or client.
    pub addr: A,
}
