//! The Services of a run: the same for every contestant, as objects of the API.
//!
//! Service number `n` (from 0) has one TCP port and ten endpoints with addresses of its own. All those addresses are in
//! [`LOCAL`], which the topology of a run brings to one pod on the measured node: every Service of them can be reached.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Endpoints of a Service.
pub const ENDPOINTS: u32 = 10;
/// Addresses of endpoints on the measured node.
pub const LOCAL: &str = "10.128.0.0/10";
/// Addresses of endpoints on the other node.
pub const REMOTE: &str = "10.120.0.0/16";
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
    slice_of(&name(number), NODE, &["TCP"], addresses)
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
    pub fn cluster_ip(self) -> Ipv4Addr {
        Ipv4Addr::from(CLUSTER_IPS - 16 + u32::from(self.index()))
    }

    /// The address of its endpoint `index`.
    pub fn endpoint(self, index: u32) -> Ipv4Addr {
        let first = match self {
            Self::Remote => REMOTE_FIRST,
            // The last of LOCAL, which no number reaches.
            Self::Local | Self::Kept => u32::from_be_bytes([10, 191, 255, 0]),
        };
        Ipv4Addr::from(first + 1 + u32::from(self.index()) * STEP + index)
    }

    /// The Service.
    pub fn service(self) -> Value {
        let node_port = Some(self.node_port());
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
                "clusterIP": self.cluster_ip(),
                "clusterIPs": [self.cluster_ip()],
                "ipFamilies": ["IPv4"],
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

    /// Its `EndpointSlice`.
    pub fn slice(self) -> Value {
        let node = if self == Self::Remote { FAR_NODE } else { NODE };
        let addresses = (0..ENDPOINTS).map(|index| self.endpoint(index));
        let mut slice = slice_of(self.name(), node, &["TCP", "UDP"], addresses);
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
    node: &str,
    protocols: &[&str],
    addresses: impl Iterator<Item = Ipv4Addr>,
) -> Value {
    let port = |protocol: &&str| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": integration::topology::addresses::POD_PORT });
    let endpoint = |address: Ipv4Addr| {
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
        "addressType": "IPv4",
        "ports": protocols.iter().map(port).collect::<Vec<_>>(),
        "endpoints": addresses.map(endpoint).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_services_share_an_address() {
        let numbers = [0, 1, 2, 254, 255, 9_999, 99_999];
        let mut seen = BTreeSet::new();
        for number in numbers {
            assert!(seen.insert(cluster_ip(number)));
            assert!((0..ENDPOINTS).all(|index| seen.insert(endpoint(number, index))));
        }
        for edge in Edge::ALL {
            assert!(seen.insert(edge.cluster_ip()));
            assert!((0..ENDPOINTS).all(|index| seen.insert(edge.endpoint(index))));
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
        assert!(is_local(Edge::Local.endpoint(9)) && is_local(Edge::Kept.endpoint(9)));
        assert!(is_remote(Edge::Remote.endpoint(9)));
    }

    #[test]
    fn a_name_tells_its_number() {
        assert_eq!(number(&name(9_999)), Some(9_999));
        assert_eq!(number("edge-local"), None);
    }
}
