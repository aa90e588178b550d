//! What random objects are made of.

use std::net::IpAddr;

use fastrand::Rng;

/// The name of this node.
pub(super) const NODE: &str = "node-a";
/// Zones; this node's is the first.
pub(super) const ZONES: [&str; 3] = ["eu-1a", "eu-1b", "eu-1c"];
/// Service ports.
pub(super) const PORTS: [u16; 4] = [53, 80, 443, 30_080];
/// Node ports; the first is a service port too.
pub(super) const NODE_PORTS: [u16; 5] = [30_080, 30_081, 30_082, 30_083, 30_084];
/// Protocols.
pub(super) const PROTOS: [&str; 3] = ["TCP", "UDP", "SCTP"];
/// External addresses by number and family; the last is the node's own.
pub(super) const EXTERNAL: [[&str; 2]; 4] = [
    ["192.0.2.10", "2001:db8:e::a"],
    ["192.0.2.11", "2001:db8:e::b"],
    ["198.51.100.10", "2001:db8:1b::a"],
    ["192.168.1.1", "fd00:192::1"],
];
/// Addresses of balancers.
pub(super) const VIPS: [[&str; 2]; 3] = [
    ["198.51.100.10", "2001:db8:1b::a"],
    ["198.51.100.11", "2001:db8:1b::b"],
    ["192.0.2.10", "2001:db8:e::a"],
];
/// Endpoints: the node that each one's address belongs to, then the addresses. The last lives in the node's own network.
pub(super) const ENDPOINTS: [(&str, [&str; 2]); 8] = [
    (NODE, ["10.1.0.5", "fd00:1::5"]),
    (NODE, ["10.1.0.6", "fd00:1::6"]),
    ("node-b", ["10.1.1.5", "fd00:1:1::5"]),
    ("node-b", ["10.1.1.6", "fd00:1:1::6"]),
    ("node-b", ["10.1.1.7", "fd00:1:1::7"]),
    ("node-c", ["10.1.2.5", "fd00:1:2::5"]),
    ("node-c", ["10.1.2.6", "fd00:1:2::6"]),
    (NODE, ["192.168.1.1", "fd00:192::1"]),
];
/// Source ranges, some of them spoilt or oddly written.
pub(super) const RANGES: [&str; 16] = [
    "203.0.113.0/24",
    " 203.000.113.0/025",
    "2001:db8::/64",
    "192.168.1.0/24",
    "fd00:192::/64 ",
    "10.1.0.0/16",
    "fd00:1::/32",
    "198.51.100.0/24",
    "2001:db8:2::/48",
    "0.0.0.0/0",
    "::/0",
    "10.1.0.5/32",
    "nonsense",
    "172.16.5.1/32",
    "192.168.1.1/32",
    "fd00:192::1/128",
];

/// True in `percent` of a hundred.
pub(super) fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(0..100) < percent
}

/// One of them.
pub(super) fn pick<'a, T: ?Sized>(rng: &mut Rng, items: &[&'a T]) -> &'a T {
    items[rng.usize(0..items.len())]
}

/// A few of them, none twice.
pub(super) fn some<T: Clone>(rng: &mut Rng, items: &[T], most: usize) -> Vec<T> {
    let count = rng.usize(0..=most);
    let mut chosen = items.to_vec();
    rng.shuffle(&mut chosen);
    chosen.truncate(count);
    chosen
}

/// The address as somebody careless writes it: the same with leading zeros, if it is of IPv4.
pub(super) fn careless(rng: &mut Rng, address: &str) -> String {
    if address.contains(':') || !chance(rng, 6) {
        return address.to_owned();
    }
    let octets: Vec<String> = address
        .split('.')
        .map(|octet| format!("{octet:0>3}"))
        .collect();
    octets.join(".")
}

/// An address of this pool's own making.
pub(super) fn v4(text: &str) -> IpAddr {
    crate::net::address(text).unwrap_or(IpAddr::from([0; 4]))
}

/// The same of IPv6.
pub(super) fn v6(text: &str) -> IpAddr {
    crate::net::address(text).unwrap_or(IpAddr::from([0; 16]))
}
