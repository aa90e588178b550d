//! The Services of a run: the same for every contestant, as objects of the API.
//!
//! Service number `n` (from 0) has one TCP port and ten endpoints with addresses of its own. All those addresses are in
//! [`LOCAL`], which the topology of a run brings to one pod on the measured node: every Service of them can be reached. Those have IPv4
//! only, so that as many objects are as many Services; an [`Edge`] has both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use integration::topology::Family;
use serde_json::{Value, json};

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
const LOCAL_FIRST: u32 = u32::from_be_bytes([10, 128, 0, 0]);
const REMOTE_FIRST: u32 = u32::from_be_bytes([10, 120, 0, 0]);
/// Addresses from one Service's endpoints to the next.
const STEP: u32 = 16;

/// The name of Service `number`. Names sort as numbers do.
pub fn name(number: u32) -> String {
    format!("many-{number:06}")
}

/// The number of the Service called `name`.
pub fn number(name: &str) -> Option<u32> {
    name.strip_prefix("many-")?.parse().ok()
}

/// The `ClusterIP` of Service `number`.
pub fn cluster_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(CLUSTER_IPS + number)
}

/// The address of endpoint `index` of Service `number`.
pub fn endpoint(number: u32, index: u32) -> Ipv4Addr {
    Ipv4Addr::from(LOCAL_FIRST + number * STEP + 1 + index)
}

/// The Service `number`.
pub fn service(number: u32) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name(number), "namespace": "default" },
        "spec": {
            "clusterIP": cluster_ip(number),
            "clusterIPs": [cluster_ip(number)],
            "ipFamilies": ["IPv4"],
            "ports": [port("TCP", None)],
        },
    })
}

/// Its `EndpointSlice`, with the first `count` of its endpoints.
pub fn slice(number: u32, count: u32) -> Value {
    let addresses = (0..count).map(|index| endpoint(number, index));
    let addresses = addresses.map(IpAddr::from).collect();
    slice_of(&name(number), Family::V4, NODE, &["TCP"], addresses)
}

/// The Services with node ports, which are there beside the others at every size. TCP and UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// Backends on the measured node.
    Local,
    /// Backends on the other node.
    Remote,
    /// Backends on the measured node, `externalTrafficPolicy: Local`: every proxy keeps the client's address.
    Kept,
}

impl Edge {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::Remote, Self::Kept];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "edge-local",
            Self::Remote => "edge-remote",
            Self::Kept => "edge-kept",
        }
    }

    const fn index(self) -> u16 {
        match self {
            Self::Local => 0,
            Self::Remote => 1,
            Self::Kept => 2,
        }
    }

    /// Its node port, for both protocols.
    pub const fn node_port(self) -> u16 {
        30_080 + self.index()
    }

    /// Its `ClusterIP`.
    pub fn cluster_ip(self, family: Family) -> IpAddr {
        family.pick(
            Ipv4Addr::from(CLUSTER_IPS - 16 + u32::from(self.index())),
            Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xf0 + self.index()),
        )
    }

    /// The address of its endpoint `index`.
    pub fn endpoint(self, family: Family, index: u8) -> IpAddr {
        let net6 = if self == Self::Remote { 0x120 } else { 0x128 };
        let host6 = 1 + self.index() * 16 + u16::from(index);
        family.pick(
            self.endpoint4(index),
            Ipv6Addr::new(0xfd00, net6, 0, 0, 0, 0, 0, host6),
        )
    }

    /// The addresses of all its endpoints.
    pub fn endpoints(self, family: Family) -> Vec<IpAddr> {
        let indices = 0..u8::try_from(ENDPOINTS).unwrap_or(u8::MAX);
        indices.map(|index| self.endpoint(family, index)).collect()
    }

    fn endpoint4(self, index: u8) -> Ipv4Addr {
        let first = match self {
            Self::Remote => REMOTE_FIRST,
            // The last of LOCAL, which no number reaches.
            Self::Local | Self::Kept => u32::from_be_bytes([10, 191, 255, 0]),
        };
        Ipv4Addr::from(first + 1 + u32::from(self.index()) * STEP + u32::from(index))
    }

    /// The Service.
    pub fn service(self) -> Value {
        let node_port = Some(self.node_port());
        let cluster_ips = Family::BOTH.map(|family| self.cluster_ip(family));
        let policy = if self == Self::Kept {
            "Local"
        } else {
            "Cluster"
        };
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name(), "namespace": "default" },
            "spec": {
                "type": "NodePort",
                "externalTrafficPolicy": policy,
                "clusterIP": cluster_ips[0],
                "clusterIPs": cluster_ips,
                "ipFamilyPolicy": "RequireDualStack",
                "ipFamilies": Family::BOTH.map(Family::name),
                "ports": [port("TCP", node_port), port("UDP", node_port), {
                    "name": "cross-check",
                    "protocol": "TCP",
                    "port": CROSS_CHECK,
                    "targetPort": CROSS_CHECK,
                    "nodePort": self.node_port() + 10,
                }],
            },
        })
    }

    /// Its `EndpointSlice`s, one of each family.
    pub fn slices(self) -> [Value; 2] {
        Family::BOTH.map(|family| self.slice(family))
    }

    fn slice(self, family: Family) -> Value {
        let node = if self == Self::Remote { FAR_NODE } else { NODE };
        let addresses = self.endpoints(family);
        let mut slice = slice_of(self.name(), family, node, &["TCP", "UDP"], addresses);
        slice["metadata"]["name"] =
            format!("{}-{}", self.name(), family.name().to_lowercase()).into();
        if let Some(ports) = slice["ports"].as_array_mut() {
            ports.push(json!({ "name": "cross-check", "protocol": "TCP", "port": CROSS_CHECK }));
        }
        slice
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_services_share_an_address() {
        let numbers = [0, 1, 2, 254, 255, 9_999, 99_999];
        let mut seen = BTreeSet::<IpAddr>::new();
        for number in numbers {
            assert!(seen.insert(cluster_ip(number).into()));
            assert!((0..ENDPOINTS).all(|index| seen.insert(endpoint(number, index).into())));
        }
        for edge in Edge::ALL {
            for family in Family::BOTH {
                assert!(seen.insert(edge.cluster_ip(family)));
                let endpoints = edge.endpoints(family);
                assert!(endpoints.into_iter().all(|address| seen.insert(address)));
            }
        }
    }

    #[test]
    fn endpoints_are_in_the_networks_that_are_routed_to_their_node() {
        let is_local = |address: Ipv4Addr| u32::from(address) >> 22 == LOCAL_FIRST >> 22;
        let is_remote = |address: Ipv4Addr| u32::from(address) >> 16 == REMOTE_FIRST >> 16;
        let pods = [1, 2].map(|node| integration::topology::addresses::pod(node, 1).0);
        assert!(
            !pods.into_iter().any(is_local),
            "pods have addresses of their own"
        );
        assert!(is_local(endpoint(0, 0)) && is_local(endpoint(99_999, 9)));
        assert!(is_local(Edge::Local.endpoint4(9)) && is_local(Edge::Kept.endpoint4(9)));
        assert!(is_remote(Edge::Remote.endpoint4(9)));
    }

    #[test]
    fn a_name_tells_its_number() {
        assert_eq!(number(&name(9_999)), Some(9_999));
        assert_eq!(number("edge-local"), None);
    }
}
