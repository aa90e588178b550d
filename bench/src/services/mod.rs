//! The Services of a run: the same for every contestant, as objects of the API.
//!
//! Service number `n` (from 0) has a TCP port and ten endpoints with addresses of its own. The numbered ones have IPv4 only, so that as many
//! objects are as many Services; one in ten has a node port, and UDP beside TCP, as long as there are node ports in the usual range. Of all
//! numbered Services but some of those, endpoints are in [`LOCAL`], which the topology of a run brings to one pod on the measured node; the
//! others' are in [`REMOTE`]. Beside the numbered ones there are three with both families at every size: [`Edge`].

mod edge;

use std::net::{IpAddr, Ipv4Addr};

use integration::topology::Family;
use serde_json::{Value, json};

pub use edge::Edge;

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
/// The numbered Services' first, behind those of [`Edge`].
const REMOTE_NUMBERED: u32 = REMOTE_FIRST + 4 * STEP;
/// Addresses from one Service's endpoints to the next.
const STEP: u32 = 16;
/// Of so many numbered Services one has node ports.
const EVERY: u32 = 10;
/// The first of them: the first and the last of a size, which are measured too, have none.
const FIRST_OF_EVERY: u32 = 5;
/// First of their node ports; below are those of [`Edge`].
const NODE_PORTS: u16 = 30_200;
/// As many as the API server's usual range takes beside those.
const MOST_NODE_PORTS: u32 = 2_500;

/// The name of Service `number`. Names sort as numbers do.
pub fn name(number: u32) -> String {
    format!("many-{number:06}")
}

/// The `ClusterIP` of Service `number`.
pub fn cluster_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(CLUSTER_IPS + number)
}

/// The addresses of the first `count` endpoints of Service `number`.
pub fn endpoints(number: u32, count: u32) -> Vec<IpAddr> {
    let first = match edge(number) {
        Some(Edge::Remote) => REMOTE_NUMBERED + number / EVERY * STEP,
        _ => LOCAL_FIRST + number * STEP,
    };
    let addresses = (0..count).map(|index| Ipv4Addr::from(first + 1 + index));
    addresses.map(IpAddr::from).collect()
}

/// The ports of Service `number`: the protocol, and the node port if there is one.
pub fn ports(number: u32) -> Vec<(&'static str, Option<u16>)> {
    match node_port(number) {
        None => vec![("TCP", None)],
        some => vec![("TCP", some), ("UDP", some)],
    }
}

/// Where Service `number` has its backends, if it has node ports.
pub fn edge(number: u32) -> Option<Edge> {
    let index = node_port_index(number)?;
    let kind = index % u16::try_from(Edge::ALL.len()).ok()?;
    Edge::ALL.get(usize::from(kind)).copied()
}

/// The node port of Service `number`, for both protocols.
fn node_port(number: u32) -> Option<u16> {
    Some(NODE_PORTS + node_port_index(number)?)
}

/// How many numbered Services with node ports are before Service `number`, if it is one.
fn node_port_index(number: u32) -> Option<u16> {
    let index = number / EVERY;
    let has = number % EVERY == FIRST_OF_EVERY && index < MOST_NODE_PORTS;
    u16::try_from(index).ok().filter(|_| has)
}

/// The Service `number`.
pub fn service(number: u32) -> Value {
    let ports = ports(number).into_iter();
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name(number), "namespace": "default" },
        "spec": {
            "clusterIP": cluster_ip(number),
            "clusterIPs": [cluster_ip(number)],
            "ipFamilies": ["IPv4"],
            "ports": ports.map(|(protocol, node_port)| port(protocol, node_port)).collect::<Vec<_>>(),
        },
    });
    if let Some(edge) = edge(number) {
        service["spec"]["type"] = "NodePort".into();
        service["spec"]["externalTrafficPolicy"] = edge.policy().into();
    }
    service
}

/// Its `EndpointSlice`, with the first `count` of its endpoints.
pub fn slice(number: u32, count: u32) -> Value {
    let node = edge(number).map_or(NODE, Edge::node);
    let protocols = ports(number).into_iter().map(|(protocol, _)| protocol);
    let addresses = endpoints(number, count);
    slice_of(
        &name(number),
        Family::V4,
        node,
        &protocols.collect::<Vec<_>>(),
        addresses,
    )
}

/// One of all Services.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A numbered one; IPv4 only.
    Many(u32),
    /// One of those that are there at every size; both families.
    Edge(Edge),
}

impl Target {
    /// All of them among `services` numbered ones, in the order of names.
    pub fn all(services: u32) -> impl Iterator<Item = Self> {
        let edges = Edge::ALL.into_iter().map(Self::Edge);
        edges.chain((0..services).map(Self::Many))
    }

    /// Whose `ClusterIP` of IPv4 this is.
    pub fn of_cluster_ip(ip: Ipv4Addr) -> Option<Self> {
        let is = |edge: &Edge| edge.cluster_ip(Family::V4) == ip;
        match u32::from(ip).checked_sub(CLUSTER_IPS) {
            Some(number) => Some(Self::Many(number)),
            None => Edge::ALL.into_iter().find(is).map(Self::Edge),
        }
    }

    /// Whose node port this is.
    pub fn of_node_port(port: u16) -> Option<Self> {
        match port.checked_sub(NODE_PORTS) {
            Some(index) => Some(Self::Many(EVERY * u32::from(index) + FIRST_OF_EVERY)),
            None => Edge::ALL
                .into_iter()
                .find(|edge| edge.node_port() == port)
                .map(Self::Edge),
        }
    }

    /// Where its backends are, if it has node ports.
    pub fn edge(self) -> Option<Edge> {
        match self {
            Self::Many(number) => edge(number),
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
            Self::Many(number) => node_port(number),
            Self::Edge(edge) => Some(edge.node_port()),
        }
    }

    /// Its `ClusterIP`; a numbered one has none of IPv6.
    pub fn cluster_ip(self, family: Family) -> Option<IpAddr> {
        match (self, family) {
            (Self::Many(number), Family::V4) => Some(cluster_ip(number).into()),
            (Self::Many(_), Family::V6) => None,
            (Self::Edge(edge), _) => Some(edge.cluster_ip(family)),
        }
    }

    /// The addresses of all its endpoints; a numbered one has none of IPv6.
    pub fn endpoints(self, family: Family) -> Vec<IpAddr> {
        match (self, family) {
            (Self::Many(number), Family::V4) => endpoints(number, ENDPOINTS),
            (Self::Many(_), Family::V6) => Vec::new(),
            (Self::Edge(edge), _) => edge.endpoints(family),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The largest number of Services on the command line, and more from a feed.
    const NUMBERS: u32 = 100_000;

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
        let pods =
            [1, 2].map(|node| IpAddr::from(integration::topology::addresses::pod(node, 1).0));
        let within = |address: &IpAddr, first: u32, bits: u32| match address {
            IpAddr::V4(address) => u32::from(*address) >> bits == first >> bits,
            IpAddr::V6(_) => false,
        };
        assert!(
            !pods.iter().any(|pod| within(pod, LOCAL_FIRST, 22)),
            "pods have addresses of their own"
        );
        for target in Target::all(NUMBERS) {
            let (first, bits) = if target.is_local() {
                (LOCAL_FIRST, 22)
            } else {
                (REMOTE_FIRST, 16)
            };
            let all = target.endpoints(Family::V4);
            assert!(
                all.iter().all(|address| within(address, first, bits)),
                "{target:?} {all:?}"
            );
        }
    }

    #[test]
    fn services_with_node_ports_are_of_every_kind_and_among_the_others() {
        for services in [1_000, 10_000, NUMBERS] {
            for kind in Edge::ALL {
                let is = |number: &u32| edge(*number) == Some(kind);
                assert!(
                    (0..services).filter(is).count() >= 33,
                    "{kind:?} of {services}"
                );
            }
            assert_eq!((edge(0), edge(services - 1)), (None, None));
        }
    }

    #[test]
    fn an_object_has_what_its_number_means() {
        let [plain, remote, kept] = [4, 15, 25].map(service);
        assert_eq!(plain["spec"]["ports"].as_array().map(Vec::len), Some(1));
        assert_eq!(plain["spec"]["type"], Value::Null);
        assert_eq!(remote["spec"]["ports"][1]["nodePort"], 30_201);
        assert_eq!(kept["spec"]["externalTrafficPolicy"], "Local");
        let slice = slice(15, 3);
        let endpoints = slice["endpoints"].as_array().unwrap();
        assert_eq!(
            (endpoints.len(), slice["ports"].as_array().unwrap().len()),
            (3, 2)
        );
        assert_eq!(endpoints[2]["nodeName"], FAR_NODE);
    }

    #[test]
    fn an_address_and_a_node_port_tell_their_service() {
        for target in Target::all(60) {
            let Some(IpAddr::V4(ip)) = target.cluster_ip(Family::V4) else {
                panic!("{target:?}")
            };
            assert_eq!(Target::of_cluster_ip(ip), Some(target));
            if let Some(port) = target.node_port() {
                assert_eq!(Target::of_node_port(port), Some(target));
            }
        }
        assert_eq!(Target::of_cluster_ip(Ipv4Addr::new(10, 96, 0, 1)), None);
        assert_eq!(Target::of_node_port(30_090), None);
    }
}
