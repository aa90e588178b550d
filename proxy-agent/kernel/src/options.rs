//! What the operator can choose about the kernel side. Parsing only, no I/O.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use proxy_common::limits;

/// Everything that loading and attaching depends on.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Directory on a bpffs under which everything is pinned.
    pub bpf_root: PathBuf,
    /// The cgroup v2 root the socket hooks attach to; see [`crate::host::cgroup_root`].
    pub cgroup_root: PathBuf,
    /// Name of this node.
    pub node_name: String,
    /// Map sizes.
    pub capacities: Capacities,
    /// On which of the node's addresses `NodePort`s are served.
    pub node_port_addresses: NodePortAddresses,
    /// Devices that run XDP.
    pub xdp: XdpDevices,
    /// Devices to take or leave whatever their kind.
    pub devices: DeviceOverrides,
}

/// Entries of the maps that grow with the cluster, per address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacities {
    /// FRONTENDS.
    pub frontends: u32,
    /// BACKENDS slots and `BACKEND_STATE` ids.
    pub backends: u32,
    /// FLOWS, two a connection.
    pub flows: u32,
    /// EMBRYOS.
    pub embryos: u32,
    /// AFFINITY.
    pub affinity: u32,
    /// `SOURCE_RANGES`.
    pub source_ranges: u32,
    /// LUT, in words of four entries, for both families together.
    pub lut: u32,
}

impl Default for Capacities {
    fn default() -> Self {
        Self {
            frontends: limits::FRONTENDS,
            backends: limits::BACKENDS,
            flows: limits::FLOWS,
            embryos: limits::EMBRYOS,
            affinity: limits::AFFINITY,
            source_ranges: limits::SOURCE_RANGES,
            lut: limits::LUT,
        }
    }
}

/// kube-proxy's nodePortAddresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum NodePortAddresses {
    /// All local addresses.
    #[default]
    All,
    /// The addresses of the Node object.
    Primary,
    /// Local addresses in one of these ranges.
    Cidrs(Vec<Cidr>),
}

impl FromStr for NodePortAddresses {
    type Err = ParseError;

    /// `all` (or nothing), `primary`, or CIDRs separated by commas.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.trim() {
            "" | "all" => Ok(Self::All),
            "primary" => Ok(Self::Primary),
            list => list
                .split(',')
                .map(|cidr| cidr.trim().parse())
                .collect::<Result<_, _>>()
                .map(Self::Cidrs),
        }
    }
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

/// Where the XDP program runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum XdpDevices {
    /// Nowhere.
    #[default]
    None,
    /// On node-facing physical NICs whose driver takes it.
    Auto,
    /// On these devices; one whose driver refuses it is an error.
    Named(Vec<String>),
}

impl FromStr for XdpDevices {
    type Err = ParseError;

    /// `none` (or nothing), `auto`, or device names separated by commas.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(match text.trim() {
            "" | "none" => Self::None,
            "auto" => Self::Auto,
            list => Self::Named(names(list)),
        })
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Devices the operator decides about, by name. `exclude` wins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceOverrides {
    /// Covered even if their kind says otherwise.
    pub include: Vec<NamePattern>,
    /// Never touched.
    pub exclude: Vec<NamePattern>,
}

/// A device name in which `*` stands for any run of characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamePattern(String);

impl NamePattern {
    /// Whether `name` fits the pattern as a whole.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let parts: Vec<_> = parts.collect();
        let Some((last, middle)) = parts.split_last() else {
            return rest.is_empty();
        };
        for part in middle {
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

impl FromStr for NamePattern {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        if text.is_empty()
            || text.len() > 255
            || text.contains(|c: char| c == '/' || c.is_whitespace())
        {
            return Err(ParseError::Pattern(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A value that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// Not `address/prefix`.
    #[error(
        "`{0}` is no address range: expected all, primary or CIDRs such as 10.0.0.0/8,fd00::/8"
    )]
    Cidr(String),
    /// Not a device name.
    #[error("`{0}` is no device name or pattern such as eth0 or cali*")]
    Pattern(String),
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

    #[test]
    fn node_port_addresses_parse_or_say_why() {
        assert_eq!("".parse(), Ok(NodePortAddresses::All));
        assert_eq!("primary".parse(), Ok(NodePortAddresses::Primary));
        assert_eq!(
            "10.0.0.0/8, fd00::/8".parse(),
            Ok(NodePortAddresses::Cidrs(vec![
                "10.0.0.0/8".parse().unwrap(),
                "fd00::/8".parse().unwrap()
            ]))
        );
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

    #[test]
    fn patterns_match_whole_names() {
        let check = |pattern: &str, name: &str, expected| {
            assert_eq!(
                pattern.parse::<NamePattern>().unwrap().matches(name),
                expected,
                "{pattern} {name}"
            );
        };
        check("eth0", "eth0", true);
        check("eth0", "eth01", false);
        check("cali*", "cali1234", true);
        check("cali*", "xcali", false);
        check("*", "anything", true);
        check("*0", "eth0", true);
        check("e*h*0", "eth10", true);
        check("e*h*0", "eth1", false);
        check("a*a", "a", false);
        assert!("".parse::<NamePattern>().is_err());
        assert!("a b".parse::<NamePattern>().is_err());
    }

    #[test]
    fn xdp_devices_parse() {
        assert_eq!("none".parse(), Ok(XdpDevices::None));
        assert_eq!("auto".parse(), Ok(XdpDevices::Auto));
        assert_eq!(
            "eth0, eth1".parse(),
            Ok(XdpDevices::Named(vec!["eth0".into(), "eth1".into()]))
        );
    }
}
