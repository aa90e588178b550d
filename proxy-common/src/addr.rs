//! Addresses of both families, four-byte aligned so that the kernel side moves them in words.

use core::fmt;
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::be::Be16;

/// An IPv4 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct V4(pub u32);

/// An IPv6 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct V6(pub [u32; 4]);

/// What map keys and the packet path need to know of an address family.
pub trait Addr: Copy + Eq + Ord + Hash + fmt::Debug + fmt::Display + Default + 'static {
    /// `true` for IPv6.
    const IS_V6: bool;
    /// The address as it lies in memory: word 0 first, unused words zero.
    fn words(self) -> [u32; 4];
    /// The inverse of [`Addr::words`]; IPv4 ignores all words but the first.
    fn from_words(words: [u32; 4]) -> Self;
    /// As the standard library's type.
    fn ip(self) -> IpAddr;
    /// The address, if `ip` is of this family.
    fn from_ip(ip: IpAddr) -> Option<Self>;
    /// The unspecified address (0.0.0.0 or ::), under which `NodePort` frontends are kept.
    fn unspecified() -> Self {
        Self::default()
    }
    /// Whether the address is in 127.0.0.0/8, or is `::1`.
    fn is_loopback(self) -> bool;
    /// 127.0.0.1 or `::1`, which stands for all loopback addresses in `ADDRS`.
    fn loopback() -> Self;
}

impl Addr for V4 {
    const IS_V6: bool = false;

    #[inline]
    fn words(self) -> [u32; 4] {
        [self.0, 0, 0, 0]
    }

    #[inline]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words[0])
    }

    fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.0.to_ne_bytes()))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(ip.into()),
            IpAddr::V6(_) => None,
        }
    }

    #[inline]
    fn is_loopback(self) -> bool {
        crate::be::byte(self.0, 0) == 127
    }

    #[inline]
    fn loopback() -> Self {
        Self(u32::from_be(0x7f00_0001))
    }
}

impl Addr for V6 {
    const IS_V6: bool = true;

    #[inline]
    fn words(self) -> [u32; 4] {
        self.0
    }

    #[inline]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    fn ip(self) -> IpAddr {
        let mut bytes = [0; 16];
        for (to, word) in bytes.chunks_exact_mut(4).zip(self.0) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::V6(bytes.into())
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V6(ip) => Some(ip.into()),
            IpAddr::V4(_) => None,
        }
    }

    #[inline]
    fn is_loopback(self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c == 0 && d == Self::loopback().0[3]
    }

    #[inline]
    fn loopback() -> Self {
        Self([0, 0, 0, u32::from_be(1)])
    }
}

impl V6 {
    /// The IPv4 address of an IPv4-mapped one, `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
    #[inline]
    pub fn mapped_v4(self) -> Option<V4> {
        let [a, b, c, d] = self.0;
        (a | b == 0 && c == crate::be::join(Be16::new(0), Be16::new(0xffff))).then_some(V4(d))
    }

    /// The IPv4-mapped form of `addr` (RFC 4291 section 2.5.5.2).
    #[inline]
    pub fn from_mapped_v4(addr: V4) -> Self {
        Self([
            0,
            0,
            crate::be::join(Be16::new(0), Be16::new(0xffff)),
            addr.0,
        ])
    }
}

impl From<Ipv4Addr> for V4 {
    fn from(ip: Ipv4Addr) -> Self {
        Self(u32::from_ne_bytes(ip.octets()))
    }
}

impl From<Ipv6Addr> for V6 {
    fn from(ip: Ipv6Addr) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(ip.octets().chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Self(words)
    }
}

macro_rules! as_ip {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.ip(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.ip(), f)
            }
        }
    )*};
}
as_ip!(V4 V6);

/// IANA protocol numbers that the path knows.
pub mod proto {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// `ICMPv6` (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;

    /// Whether it is one of those that Services can have.
    #[inline]
    pub const fn has_ports(proto: u8) -> bool {
        matches!(proto, TCP | UDP | SCTP)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn addresses_keep_their_bytes() {
        let v4: Ipv4Addr = "10.96.0.1".parse().unwrap();
        let v6: Ipv6Addr = "fd00:10:96::1".parse().unwrap();
        assert_eq!(V4::from(v4).ip(), IpAddr::V4(v4));
        assert_eq!(V6::from(v6).ip(), IpAddr::V6(v6));
        assert_eq!(V6::from_words(V6::from(v6).words()), V6::from(v6));
    }

    #[test]
    fn mapped_addresses_are_recognised() {
        let v4 = V4::from(Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(V6::from_mapped_v4(v4).mapped_v4(), Some(v4));
        assert_eq!(V6::from_mapped_v4(v4).to_string(), "::ffff:10.0.0.7");
        assert_eq!(V6::from(Ipv6Addr::LOCALHOST).mapped_v4(), None);
    }

    #[test]
    fn loopback_is_127_slash_8_and_one() {
        assert!(V4::from(Ipv4Addr::new(127, 9, 9, 9)).is_loopback());
        assert!(!V4::from(Ipv4Addr::new(10, 0, 0, 127)).is_loopback());
        assert!(V6::from(Ipv6Addr::LOCALHOST).is_loopback());
        assert_eq!(V4::loopback().ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(V6::loopback().ip(), Ipv6Addr::LOCALHOST);
        assert!(!V6::from("fe80::1".parse::<Ipv6Addr>().unwrap()).is_loopback());
    }
}
