//! Where `NodePort`s are served: kube-proxy's nodePortAddresses (SEMANTICS 3.1 to 3.3).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use proxy_common::flags::AddrFlags;

use super::ParseError;

/// kube-proxy's nodePortAddresses: everything named counts.
#[expect(clippy::struct_excessive_bools, reason = "independent words of a list")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePortAddresses {
    /// All local addresses.
    pub all: bool,
    /// The primary address of each family: the Node object's first, or [`Self::node_ip`].
    pub primary: bool,
    /// 127.0.0.0/8 and `::1`.
    pub localhost: bool,
    /// Local addresses in these ranges.
    pub cidrs: Vec<Cidr>,
    /// Whether all local addresses are also those of 127.0.0.0/8.
    pub loopback4: bool,
    /// Whether all local addresses are also `::1`.
    pub loopback6: bool,
    /// Never on 127.0.0.0/8, whatever is named (`iptables.localhostNodePorts: false`, SEMANTICS 3.3).
    pub without_loopback4: bool,
    /// Replaces the Node object's primary address of its family (bindAddress, SEMANTICS 13.4).
    pub node_ip: Option<IpAddr>,
}

impl Default for NodePortAddresses {
    /// All local addresses of both families.
    fn default() -> Self {
        Self {
            all: true,
            ..Self::nothing()
        }
    }
}

impl NodePortAddresses {
    fn nothing() -> Self {
        Self {
            all: false,
            primary: false,
            localhost: false,
            cidrs: Vec::new(),
            loopback4: true,
            loopback6: true,
            without_loopback4: false,
            node_ip: None,
        }
    }

    /// Whether `NodePort`s are served on `ip`, with the node's primary addresses known.
    fn serves(&self, primary: &[IpAddr], ip: IpAddr) -> bool {
        let own = |other: &IpAddr| other.is_ipv4() == ip.is_ipv4();
        let mut cidrs = self
            .cidrs
            .iter()
            .filter(|cidr| cidr.is_ipv4() == ip.is_ipv4());
        let primary = primary.iter().find(|ip| own(ip) && !ip.is_loopback());
        let primary = primary.filter(|_primary| self.primary);
        if ip.is_loopback() {
            let refused = ip.is_ipv4() && self.without_loopback4;
            if refused || self.localhost {
                return !refused;
            }
        }
        // A family of which nothing is named is not restricted, whatever holds for the other.
        let unrestricted = self.all
            || cidrs.clone().any(|cidr| cidr.prefix == 0)
            || cidrs.clone().next().is_none() && primary.is_none() && !self.localhost;
        if unrestricted && (!ip.is_loopback() || self.counts_loopback(ip)) {
            return true;
        }
        primary == Some(&ip) || cidrs.any(|cidr| cidr.prefix != 0 && cidr.contains(ip))
    }

    fn counts_loopback(&self, ip: IpAddr) -> bool {
        if ip.is_ipv4() {
            self.loopback4
        } else {
            self.loopback6
        }
    }
}

impl FromStr for NodePortAddresses {
    type Err = ParseError;

    /// `all` (or nothing), `primary`, `localhost` and CIDRs, separated by commas.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut addresses = Self::nothing();
        for word in text.split(',') {
            match word.trim() {
                "all" => addresses.all = true,
                "primary" => addresses.primary = true,
                "localhost" => addresses.localhost = true,
                cidr => addresses.cidrs.push(cidr.parse()?),
            }
        }
        Ok(addresses)
    }
}

/// What the node's addresses are to the programs, as ADDRS has it: those of its interfaces, and one of each family that stands for
/// all loopback addresses. `node_object` are the Node object's addresses in its order.
pub fn node_addr_flags(
    node_ports: &NodePortAddresses,
    node_object: &[IpAddr],
    interfaces: impl IntoIterator<Item = IpAddr>,
) -> BTreeMap<IpAddr, AddrFlags> {
    let primary: Vec<IpAddr> = node_ports
        .node_ip
        .iter()
        .chain(node_object)
        .copied()
        .collect();
    interfaces
        .into_iter()
        .filter(|ip| !ip.is_loopback() && !is_link_local(*ip))
        .chain([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
        .map(|ip| {
            let flags = if node_ports.serves(&primary, ip) {
                AddrFlags::NODE.with(AddrFlags::NODE_PORT)
            } else {
                AddrFlags::NODE
            };
            (ip, flags)
        })
        .collect()
}

/// `fe80::/10`: the same on every link, so a frontend there means nothing. (169.254.0.0/16 is used for node-local services.)
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// An address range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    addr: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether it is a range of IPv4 addresses.
    pub fn is_ipv4(&self) -> bool {
        self.addr.is_ipv4()
    }

    /// Whether `ip` lies in the range; never across families.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let keep = |bits: u32| u32::from(self.prefix).min(bits);
        match (self.addr, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - keep(32)).unwrap_or(0);
                (net.to_bits() ^ ip.to_bits()) & mask == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - keep(128)).unwrap_or(0);
                (net.to_bits() ^ ip.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::Cidr(text.to_owned());
        let (addr, prefix) = text.split_once('/').ok_or_else(bad)?;
        let (Ok(addr), Ok(prefix)) = (addr.parse::<IpAddr>(), prefix.parse::<u8>()) else {
            return Err(bad());
        };
        let most = if addr.is_ipv4() { 32 } else { 128 };
        if prefix > most {
            Err(bad())
        } else {
            Ok(Self { addr, prefix })
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cidr_contains_only_its_range() {
        let check = |cidr: &str, ip: &str, expected| {
            let cidr: Cidr = cidr.parse().unwrap();
            assert_eq!(cidr.contains(ip.parse().unwrap()), expected, "{cidr} {ip}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("0.0.0.0/0", "192.0.2.1", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("192.0.2.7/32", "192.0.2.7", true);
        check("192.0.2.7/32", "192.0.2.6", false);
        check("::/0", "2001:db8::1", true);
        check("2001:db8::/33", "2001:db8:8000::1", false);
        check("::1/128", "::1", true);
    }

    const INTERFACES: [&str; 6] = [
        "192.0.2.1",
        "192.0.2.77",
        "203.0.113.9",
        "2001:db8::1",
        "2001:db8::5",
        "fe80::1",
    ];

    fn served(addresses: &NodePortAddresses, node_object: &[&str]) -> Vec<String> {
        let parse =
            |ips: &[&str]| -> Vec<IpAddr> { ips.iter().map(|ip| ip.parse().unwrap()).collect() };
        let flags = node_addr_flags(addresses, &parse(node_object), parse(&INTERFACES));
        assert_eq!(
            flags.len(),
            7,
            "all but the link-local one, and two for loopback"
        );
        assert!(flags.values().all(|flags| flags.has(AddrFlags::NODE)));
        flags
            .into_iter()
            .filter(|(_ip, flags)| flags.has(AddrFlags::NODE_PORT))
            .map(|(ip, _flags)| ip.to_string())
            .collect()
    }

    #[track_caller]
    fn check(list: &str, expected: &[&str]) {
        let addresses: NodePortAddresses = list.parse().unwrap();
        let found = served(&addresses, &["192.0.2.77", "2001:db8::5", "192.0.2.1"]);
        assert_eq!(found, expected, "{list}");
    }

    const V4: [&str; 4] = ["127.0.0.1", "192.0.2.1", "192.0.2.77", "203.0.113.9"];
    const V6: [&str; 3] = ["::1", "2001:db8::1", "2001:db8::5"];

    #[test]
    fn semantics_3_1_lists_of_words_and_ranges() {
        let all = [V4.as_slice(), &V6].concat();
        check("", &all);
        check("all", &all);
        check("primary", &["192.0.2.77", "2001:db8::5"]);
        check("localhost", &["127.0.0.1", "::1"]);
        check(
            "localhost, primary",
            &["127.0.0.1", "192.0.2.77", "::1", "2001:db8::5"],
        );
        check(
            "192.0.2.0/24,2001:db8::1/128",
            &["192.0.2.1", "192.0.2.77", "2001:db8::1"],
        );
        check(
            "203.0.113.0/24,primary",
            &["192.0.2.77", "203.0.113.9", "2001:db8::5"],
        );
        check("198.51.100.0/24,::/0", &V6);
        check(
            "198.51.100.0/24,0.0.0.0/0,::1/128",
            &[V4.as_slice(), &["::1"]].concat(),
        );
    }

    #[test]
    fn semantics_3_1_a_family_of_which_nothing_is_named_is_not_restricted() {
        check("127.0.0.0/8", &[["127.0.0.1"].as_slice(), &V6].concat());
        check(
            "2001:db8::1/128",
            &[V4.as_slice(), &["2001:db8::1"]].concat(),
        );
        // The Node object has no IPv6 address, or only loopback.
        let primary: NodePortAddresses = "primary".parse().unwrap();
        for node in [["192.0.2.77"].as_slice(), &["192.0.2.77", "::1"]] {
            assert_eq!(
                served(&primary, node),
                [["192.0.2.77"].as_slice(), &V6].concat()
            );
        }
    }

    #[test]
    fn semantics_3_3_loopback_by_family() {
        let without4 = NodePortAddresses {
            loopback4: false,
            ..NodePortAddresses::default()
        };
        assert_eq!(served(&without4, &[]), [&V4[1..], &V6].concat());
        let without6 = NodePortAddresses {
            loopback6: false,
            ..NodePortAddresses::default()
        };
        assert_eq!(served(&without6, &[]), [V4.as_slice(), &V6[1..]].concat());
        // Named by itself it is always served.
        let named = NodePortAddresses {
            localhost: true,
            ..without4
        };
        assert_eq!(served(&named, &[]), [V4.as_slice(), &V6].concat());
        // Unless it is switched off by name.
        let off = NodePortAddresses {
            without_loopback4: true,
            ..named
        };
        assert_eq!(served(&off, &[]), [&V4[1..], &V6].concat());
    }

    #[test]
    fn semantics_13_4_bind_address_replaces_the_primary_of_its_family() {
        let bound = NodePortAddresses {
            node_ip: Some("203.0.113.9".parse().unwrap()),
            ..("primary".parse().unwrap())
        };
        assert_eq!(
            served(&bound, &["192.0.2.77", "2001:db8::5"]),
            ["203.0.113.9", "2001:db8::5"]
        );
    }

    #[test]
    fn node_port_addresses_parse_or_say_why() {
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "fd00::/129",
            "x/8",
            "10.0.0.0/8,,",
        ] {
            assert!(bad.parse::<NodePortAddresses>().is_err(), "{bad}");
        }
    }
}
