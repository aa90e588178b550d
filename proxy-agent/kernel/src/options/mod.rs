//! What the operator can choose about the kernel side. Parsing only, no I/O.

mod addresses;

use std::path::PathBuf;
use std::str::FromStr;

use proxy_common::flags::detect;
use proxy_common::limits;

pub(crate) use addresses::is_link_local;
pub use addresses::{Cidr, NodePortAddresses, node_addr_flags};

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
    /// How pods of this node are told from everybody else.
    pub detect: LocalDetector,
    /// Sources are masqueraded exactly where kube-proxy does (`sourceIP: kube-proxy`).
    pub exact_masquerade: bool,
    /// Connections to cluster IPs are masqueraded whoever their client is (SEMANTICS 9.2).
    pub masquerade_all: bool,
    /// Connections to pods of this node go past the node's stack where they can (`hostRouting: bpf`).
    pub host_routing: bool,
    /// The bit of the packet mark that asks for netfilter's masquerade, 0 to 31 (SEMANTICS 9.1).
    pub masquerade_bit: u8,
}

impl LoadOptions {
    /// The option that has pods' connections masqueraded too, which only netfilter can.
    pub(crate) fn masquerade_always(&self) -> Option<&'static str> {
        if self.exact_masquerade {
            Some("sourceIP: kube-proxy")
        } else if self.masquerade_all {
            Some("masqueradeAll")
        } else {
            None
        }
    }
}

/// The mark bit of kube-proxy's default, 0x4000.
pub const MASQUERADE_BIT: u8 = 14;

/// How a packet is known to come from a pod of this node (SEMANTICS 9.4).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum LocalDetector {
    /// By the kind of the device it enters.
    #[default]
    Devices,
    /// By its source address: element 0 of CIDRS, which the planner sets (`ClusterCIDR`, `NodeCIDR`).
    Cidr,
    /// Not at all.
    None,
    /// By the bridge it enters (`BridgeInterface`).
    Bridge(String),
    /// By the first letters of the device it enters (`InterfaceNamePrefix`).
    Prefix(String),
}

impl LocalDetector {
    /// As the programs read it.
    pub(crate) fn setting(&self) -> u32 {
        match self {
            Self::Devices | Self::Bridge(_) | Self::Prefix(_) => detect::DEVICE,
            Self::Cidr => detect::CIDR,
            Self::None => detect::NONE,
        }
    }
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
        "`{0}` is no address range: expected all, primary, localhost or CIDRs such as 10.0.0.0/8,fd00::/8"
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
