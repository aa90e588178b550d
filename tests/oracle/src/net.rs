//! Addresses and networks as kube-proxy reads them: leading zeros are decimal (SEMANTICS 2.8).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: an address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Net {
    address: IpAddr,
    length: u32,
}

/// An address; `None` for what is none.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let octets: Option<Vec<u8>> = text.split('.').map(decimal).collect();
    <[u8; 4]>::try_from(octets?)
        .ok()
        .map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A number in digits only, with any leading zeros.
fn decimal<T: std::str::FromStr>(digits: &str) -> Option<T> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

impl Net {
    /// A network such as `10.0.0.0/8`; blanks around it do not matter.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address_text, length) = text.trim().split_once('/')?;
        let net = Self {
            address: address(address_text)?,
            length: decimal(length)?,
        };
        (net.length <= net.width()).then_some(net)
    }

    /// A single address.
    pub(crate) fn host(address: IpAddr) -> Self {
        let mut net = Self { address, length: 0 };
        net.length = net.width();
        net
    }

    pub(crate) fn v4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Matches every address of its family.
    pub(crate) fn everything(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn contains(&self, other: IpAddr) -> bool {
        if other.is_ipv4() != self.v4() {
            return false;
        }
        let differing = bits(self.address) ^ bits(other);
        // The address sits in the low bits of the word; what lies below the prefix does not matter.
        differing
            .checked_shr(self.width() - self.length)
            .unwrap_or(0)
            == 0
    }

    fn width(&self) -> u32 {
        if self.v4() { 32 } else { 128 }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_decimal() {
        assert_eq!(address("172.30.0.041"), "172.30.0.41".parse().ok());
        assert_eq!(address("192.168.300.1"), None);
        assert_eq!(address("1.2.3"), None);
        assert_eq!(address("1.2.3.+4"), None);
    }

    #[test]
    fn networks_match_by_prefix() {
        let net = Net::parse(" 203.0.113.000/025\t").expect("a network");
        assert!(net.contains("203.0.113.127".parse().expect("an address")));
        assert!(!net.contains("203.0.113.128".parse().expect("an address")));
        assert!(!net.contains("::1".parse().expect("an address")));
        let all = Net::parse("::/0").expect("a network");
        assert!(all.contains("fd00::1".parse().expect("an address")));
        assert!(
            Net::parse("fd00::/8")
                .is_some_and(|net| !net.contains("fe80::1".parse().expect("an address")))
        );
        assert_eq!(Net::parse("10.0.0.0/33"), None);
        assert_eq!(Net::parse("10.0.0.1"), None);
    }
}
