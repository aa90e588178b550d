//! Lenient IP addresses: leading zeros are decimal, as kube-proxy reads them (SEMANTICS 2.8).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parses an address. IPv4-mapped IPv6 addresses are IPv4 addresses, as in Go.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
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
}
