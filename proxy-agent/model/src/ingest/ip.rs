//! Lenient IP addresses: leading zeros are decimal, as kube-proxy reads them (SEMANTICS 2.8).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proxy_common::addr::{Addr, V4, V6};

use crate::family::{Family, masked};
use crate::policy::Network;

/// Parses an address. IPv4-mapped IPv6 addresses are IPv4 addresses, as in Go.
pub fn parse(text: &str) -> Option<IpAddr> {
    if !text.contains(':') {
        return v4(text).map(IpAddr::V4);
    }
    let parsed: Option<Ipv6Addr> = match text.rsplit_once(':') {
        // The standard library refuses leading zeros in the IPv4 part too.
        Some((head, tail)) if tail.contains('.') => format!("{head}:{}", v4(tail)?).parse().ok(),
        _ => text.parse().ok(),
    };
    parsed.map(|ip| ip.to_canonical())
}

/// Parses a network, with blanks around it and leading zeros (SEMANTICS 2.8); bits of the host are dropped.
pub(super) fn parse_network(text: &str) -> Option<Network> {
    let (addr, bits) = text.trim().split_once('/')?;
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|_| digits)?;
    match parse(addr)? {
        // An IPv4-mapped network: its prefix counts from the front of the IPv6 address.
        IpAddr::V4(ip) => {
            let skipped = if addr.contains(':') { 96 } else { 0 };
            let bits = bits.checked_sub(skipped).filter(|bits| *bits <= V4::BITS)?;
            Some((masked(V4::from(ip), bits).ip(), bits))
        }
        IpAddr::V6(ip) => {
            let bits = Some(bits).filter(|bits| *bits <= V6::BITS)?;
            Some((masked(V6::from(ip), bits).ip(), bits))
        }
    }
}

fn v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        // u8::from_str takes a sign.
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        *octet = part.parse().ok().filter(|_| digits)?;
    }
    parts.next().is_none().then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semantics_2_8_lenient_addresses() {
        for (text, expected) in [
            ("172.30.0.041", Some("172.30.0.41")),
            ("192.168.099.022", Some("192.168.99.22")),
            ("203.0.113.000", Some("203.0.113.0")),
            ("0000010.1.2.3", Some("10.1.2.3")),
            ("fd00:0010::0001", Some("fd00:10::1")),
            ("::ffff:10.0.0.07", Some("10.0.0.7")),
            ("64:ff9b::010.0.0.7", Some("64:ff9b::a00:7")),
            ("", None),
            ("1.2.3", None),
            ("1.2.3.4.5", None),
            ("1.2.3.256", None),
            ("1.2.3.+4", None),
            ("1.2..4", None),
            (" 1.2.3.4", None),
            ("0x7f.0.0.1", None),
            ("fe80::1%eth0", None),
            ("::ffff:1.2.3", None),
            ("example.com", None),
        ] {
            assert_eq!(
                parse(text).map(|ip| ip.to_string()).as_deref(),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn semantics_2_8_lenient_networks() {
        for (text, expected) in [
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            (" 203.0.113.000/025\t", Some("203.0.113.0/25")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("fd00:0010::1/064", Some("fd00:10::/64")),
            ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
            ("::ffff:10.1.2.3/95", None),
            ("10.0.0.0", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0/+8", None),
            ("10.0.0.0/256", None),
            ("fd00::/129", None),
            ("10.0.0.0 /8", None),
            ("", None),
        ] {
            let actual = parse_network(text).map(|(ip, bits)| format!("{ip}/{bits}"));
            assert_eq!(actual.as_deref(), expected, "{text:?}");
        }
    }
}
