//! Who has which address. The same in every cluster: each has namespaces of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The address of this family.
    pub fn pick(self, v4: Ipv4Addr, v6: Ipv6Addr) -> IpAddr {
        match self {
            Self::V4 => v4.into(),
            Self::V6 => v6.into(),
        }
    }

    /// As `EndpointSlices` write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The loopback address.
    pub const fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }
}

/// Port of the servers in pods.
pub const POD_PORT: u16 = 8080;

/// The router, on the nodes' network.
pub const ROUTER4: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
/// The router, on the nodes' network.
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, 1);
/// The outside client.
pub const CLIENT4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The outside client.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x10);
/// The router, on the client's network.
pub const CLIENT_GATEWAY4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The router, on the client's network.
pub const CLIENT_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1);

/// `ClusterIPs`, as routes write them.
pub const SERVICES4: &str = "10.96.0.0/16";
/// `ClusterIPs`, as routes write them.
pub const SERVICES6: &str = "fd00:10:96::/112";
/// External and load-balancer addresses, as routes write them.
pub const EXTERNAL4: &str = "198.51.100.0/24";
/// External and load-balancer addresses, as routes write them.
pub const EXTERNAL6: &str = "2001:db8:100::/64";

/// What a pod sees as the client when it reaches itself through a Service.
pub fn hairpin(family: Family) -> IpAddr {
    family.pick(
        Ipv4Addr::new(169, 254, 77, 1),
        Ipv6Addr::new(0xfd6b, 0x7368, 0, 0, 0, 0, 0, 1),
    )
}

/// The `ClusterIP` number `index`.
pub fn cluster_ip(family: Family, index: u8) -> IpAddr {
    family.pick(
        Ipv4Addr::new(10, 96, 0, index),
        Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, index.into()),
    )
}

/// The external address number `index`; on no device.
pub fn external_ip(family: Family, index: u8) -> IpAddr {
    family.pick(
        Ipv4Addr::new(198, 51, 100, index),
        Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, index.into()),
    )
}

/// Addresses of node number `node` (1 or 2).
pub const fn node(node: u8) -> (Ipv4Addr, Ipv6Addr) {
    (
        Ipv4Addr::new(172, 18, 0, node + 1),
        Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, node as u16 + 1),
    )
}

/// Addresses of pod number `pod` on node number `node`. Pod 0 is the bridge.
pub const fn pod(node: u8, pod: u8) -> (Ipv4Addr, Ipv6Addr) {
    let host = if pod == 0 { 1 } else { 9 + pod };
    (
        Ipv4Addr::new(10, 244, node, host),
        Ipv6Addr::new(0xfd00, 0x244, node as u16, 0, 0, 0, 0, host as u16),
    )
}

/// Pod networks of node number `node`, as routes write them.
pub fn pod_networks(node: u8) -> (String, String) {
    (
        format!("10.244.{node}.0/24"),
        format!("fd00:244:{node}::/64"),
    )
}
