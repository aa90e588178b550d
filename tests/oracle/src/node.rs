//! The node whose answers are asked for.

use std::net::IpAddr;

use serde_json::Value;

use crate::json;
use crate::json::{label, text, texts};
use crate::net::{Net, address};

/// This node: its object, and what its interfaces carry.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The name that endpoints are compared with (SEMANTICS 1.9).
    pub name: String,
    /// The addresses of its interfaces, without loopback.
    pub addresses: Vec<IpAddr>,
    /// `topology.kubernetes.io/zone`; empty without one.
    pub(crate) zone: String,
    /// The first address of each family of the Node object: IPv4, IPv6.
    pub(crate) primary: [Option<IpAddr>; 2],
    /// `spec.podCIDRs`.
    pub(crate) pod_nets: Vec<Net>,
}

impl Node {
    /// The node of that name with these interface addresses, described by its Node object (`Null`: there is none).
    pub fn new(name: &str, addresses: Vec<IpAddr>, object: &Value) -> Self {
        let reported: Vec<IpAddr> = ["InternalIP", "ExternalIP"]
            .into_iter()
            .flat_map(|kind| {
                json::items(object, "status.addresses")
                    .iter()
                    .filter(move |entry| text(entry, "type") == kind)
                    .filter_map(|entry| address(text(entry, "address")))
            })
            .collect();
        let first = |v4: bool| {
            reported
                .iter()
                .copied()
                .find(|address| address.is_ipv4() == v4)
        };
        let mut pod_nets: Vec<Net> = texts(object, "spec.podCIDRs")
            .filter_map(Net::parse)
            .collect();
        if pod_nets.is_empty() {
            pod_nets.extend(Net::parse(text(object, "spec.podCIDR")));
        }
        Self {
            name: name.to_owned(),
            addresses,
            zone: label(object, "topology.kubernetes.io/zone")
                .unwrap_or_default()
                .to_owned(),
            primary: [first(true), first(false)],
            pod_nets,
        }
    }

    /// The primary address of the family of `like`.
    pub(crate) fn primary(&self, like: IpAddr) -> Option<IpAddr> {
        self.primary[usize::from(like.is_ipv6())]
    }

    /// An address of this host, loopback included.
    pub(crate) fn owns(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.contains(&address)
    }
}
