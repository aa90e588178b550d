//! The Services of a run: the same for every contestant, as objects of the API.
//!
//! Service number `n` (from 0) of a family has a TCP port and ten endpoints with addresses of its own. The numbered ones have one family, so
//! that as many objects are as many Services; one in ten has a node port, and UDP beside TCP, as long as there are node ports in the usual
//! range. Of all numbered Services but some of those, endpoints are in [`LOCAL`], which the topology of a run brings to one pod on the
//! measured node; the others' are in [`REMOTE`]. Those of IPv6 are there while traffic is measured, those of IPv4 all the time. Beside the
//! numbered ones there are three with both families at every size: [`Edge`].

mod edge;
mod numbered;

use std::net::IpAddr;
use std::ops::Range;

use integration::topology::Family;
use serde_json::{Value, json};

pub use edge::Edge;
pub use numbered::Numbered;

/// Endpoints of a Service.
pub const ENDPOINTS: u32 = 10;
/// Addresses of endpoints on the measured node.
pub const LOCAL: [&str; 2] = ["10.128.0.0/10", "fd00:128::/64"];
/// Addresses of endpoints on the other node.
pub const REMOTE: [&str; 2] = ["10.120.0.0/16", "fd00:120::/64"];
/// The Services' port.
pub const PORT: u16 = 80;
/// Port of a public tool's server, which [`Edge`]s have beside theirs.
pub const CROSS_CHECK: u16 = 5_201;
/// The node whose proxy is measured.
pub const NODE: &str = "node-b";
/// The other node.
pub const FAR_NODE: &str = "node-a";

/// First of the `ClusterIPs`; below are those of [`Edge`].
const CLUSTER_IPS: u32 = u32::from_be_bytes([10, 96, 1, 0]);
const REMOTE_FIRST: u32 = u32::from_be_bytes([10, 120, 0, 0]);
/// Addresses from one Service's endpoints to the next.
const STEP: u32 = 16;

/// `numbers` in parts of `size`.
pub fn parts(numbers: Range<u32>, size: u32) -> impl Iterator<Item = Range<u32>> {
    let Range { start, end } = numbers;
    let part = move |first: u32| first..end.min(first + size);
    (start..end).step_by(size as usize).map(part)
}

/// One of all Services.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A numbered one.
    Many(Numbered),
    /// One of those that are there at every size.
    Edge(Edge),
}

impl Target {
    /// All of them among `services` numbered ones of each family, in the order of names.
    pub fn all(services: u32) -> impl Iterator<Item = Self> {
        let edges = Edge::ALL.into_iter().map(Self::Edge);
        let numbered = [Numbered::v4, Numbered::v6]
            .into_iter()
            .flat_map(move |of| (0..services).map(of));
        edges.chain(numbered.map(Self::Many))
    }

    /// Whose `ClusterIP` this is.
    pub fn of_cluster_ip(ip: IpAddr) -> Option<Self> {
        let is = |edge: &Edge| {
            Family::BOTH
                .iter()
                .any(|&family| edge.cluster_ip(family) == ip)
        };
        let edge = Edge::ALL.into_iter().find(is).map(Self::Edge);
        edge.or_else(|| Numbered::of_cluster_ip(ip).map(Self::Many))
    }

    /// Whose node port this is.
    pub fn of_node_port(port: u16) -> Option<Self> {
        let is = |edge: &Edge| edge.node_port() == port;
        let edge = Edge::ALL.into_iter().find(is).map(Self::Edge);
        edge.or_else(|| Numbered::of_node_port(port).map(Self::Many))
    }

    /// Where its backends are, if it has node ports.
    pub fn edge(self) -> Option<Edge> {
        match self {
            Self::Many(numbered) => numbered.edge(),
            Self::Edge(edge) => Some(edge),
        }
    }

    /// Whether its backends are on the measured node.
    pub fn is_local(self) -> bool {
        self.edge() != Some(Edge::Remote)
    }

    /// Its node port, for both protocols.
    pub fn node_port(self) -> Option<u16> {
        match self {
            Self::Many(numbered) => numbered.node_port(),
            Self::Edge(edge) => Some(edge.node_port()),
        }
    }

    /// Its `ClusterIP` of `family`, if it has that.
    pub fn cluster_ip(self, family: Family) -> Option<IpAddr> {
        match self {
            Self::Many(numbered) => (numbered.family == family).then(|| numbered.cluster_ip()),
            Self::Edge(edge) => Some(edge.cluster_ip(family)),
        }
    }

    /// The addresses of all its endpoints of `family`.
    pub fn endpoints(self, family: Family) -> Vec<IpAddr> {
        match self {
            Self::Many(numbered) if numbered.family == family => numbered.endpoints(ENDPOINTS),
            Self::Many(_) => Vec::new(),
            Self::Edge(edge) => edge.endpoints(family),
        }
    }
}

fn port(protocol: &str, node_port: Option<u16>) -> Value {
    let mut port = json!({
        "name": protocol.to_lowercase(),
        "protocol": protocol,
        "port": PORT,
        "targetPort": integration::topology::addresses::POD_PORT,
    });
    if let Some(node_port) = node_port {
        port["nodePort"] = node_port.into();
    }
    port
}

fn slice_of(
    service: &str,
    family: Family,
    node: &str,
    protocols: &[&str],
    addresses: Vec<IpAddr>,
) -> Value {
    let port = |protocol: &&str| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": integration::topology::addresses::POD_PORT });
    let endpoint = |address: IpAddr| {
        json!({
            "addresses": [address],
            "nodeName": node,
            "conditions": { "ready": true, "serving": true, "terminating": false },
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": service,
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "bench" },
        },
        "addressType": family.name(),
        "ports": protocols.iter().map(port).collect::<Vec<_>>(),
        "endpoints": addresses.into_iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// The largest number of Services on the command line, and more from a feed.
#[cfg(test)]
const NUMBERS: u32 = 100_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_services_share_an_address_or_a_port() {
        let mut addresses = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for target in Target::all(NUMBERS) {
            for family in Family::BOTH {
                let own = target
                    .endpoints(family)
                    .into_iter()
                    .chain(target.cluster_ip(family));
                for address in own {
                    assert!(addresses.insert(address), "{target:?} {address}");
                }
            }
            if let Some(port) = target.node_port() {
                assert!(ports.insert(port), "{target:?} {port}");
                assert!((30_000..=32_767).contains(&port), "{target:?} {port}");
            }
        }
        assert_eq!(ports.len(), 2_503, "all that there are");
    }

    #[test]
    fn endpoints_are_in_the_networks_that_are_routed_to_their_node() {
        let networks = |both: [&str; 2]| both.map(network);
        let (local, remote) = (networks(LOCAL), networks(REMOTE));
        let pods = [1, 2].map(|node| {
            let (v4, v6) = integration::topology::addresses::pod(node, 1);
            [IpAddr::from(v4), IpAddr::from(v6)]
        });
        for pod in pods.iter().flatten() {
            let is_there = local.iter().chain(&remote).any(|net| within(*pod, *net));
            assert!(!is_there, "pods have addresses of their own: {pod}");
        }
        for target in Target::all(NUMBERS) {
            let networks = if target.is_local() { local } else { remote };
            for (family, network) in Family::BOTH.into_iter().zip(networks) {
                let all = target.endpoints(family);
                assert!(
                    all.iter().all(|address| within(*address, network)),
                    "{target:?} {all:?}"
                );
            }
        }
    }

    /// An address of a network, and how many of its bits count.
    type Network = (IpAddr, u32);

    fn network(text: &str) -> Network {
        let (address, bits) = text.split_once('/').unwrap();
        (address.parse().unwrap(), bits.parse().unwrap())
    }

    fn within(address: IpAddr, (network, bits): Network) -> bool {
        match (address, network) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits
            }
            _ => false,
        }
    }

    #[test]
    fn an_address_and_a_node_port_tell_their_service() {
        for target in Target::all(60) {
            for ip in Family::BOTH
                .into_iter()
                .filter_map(|family| target.cluster_ip(family))
            {
                assert_eq!(Target::of_cluster_ip(ip), Some(target));
            }
            if let Some(port) = target.node_port() {
                assert_eq!(Target::of_node_port(port), Some(target));
            }
        }
        for ip in ["10.96.0.1", "fd00:10:96::1"] {
            assert_eq!(Target::of_cluster_ip(ip.parse().unwrap()), None);
        }
        assert_eq!(Target::of_node_port(30_090), None);
    }
}
