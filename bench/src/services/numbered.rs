//! The numbered Services: as many of each family as a run has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use integration::topology::Family;
use serde_json::{Value, json};

use super::{CLUSTER_IPS, Edge, NODE, REMOTE_FIRST, STEP, port, slice_of};

/// First of the `ClusterIP`s of IPv6; below are those of [`Edge`].
const CLUSTER_IPS6: u128 = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0x1000).to_bits();
const LOCAL_FIRST: u32 = u32::from_be_bytes([10, 128, 0, 0]);
const LOCAL_FIRST6: u128 = Ipv6Addr::new(0xfd00, 0x128, 0, 0, 0, 1, 0, 0).to_bits();
/// Behind those of [`Edge`].
const REMOTE_NUMBERED: u32 = REMOTE_FIRST + 4 * STEP;
const REMOTE_FIRST6: u128 = Ipv6Addr::new(0xfd00, 0x120, 0, 0, 0, 1, 0, 0).to_bits();
/// Of so many numbered Services one has node ports.
const EVERY: u32 = 10;
/// The first of them: the first and the last of a size, which are measured too, have none.
const FIRST_OF_EVERY: u32 = 5;
/// First of their node ports, of either family; below are those of [`Edge`].
const NODE_PORTS: [u16; 2] = [30_200, 30_200 + MOST_NODE_PORTS];
/// Of each family as many as the API server's usual range takes beside those.
const MOST_NODE_PORTS: u16 = 1_250;

/// A Service with one family, a TCP port and ten endpoints with addresses of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbered {
    /// Its family.
    pub family: Family,
    /// From 0.
    pub number: u32,
}

impl Numbered {
    /// Number `number` of IPv4.
    pub const fn v4(number: u32) -> Self {
        Self {
            family: Family::V4,
            number,
        }
    }

    /// Number `number` of IPv6.
    pub const fn v6(number: u32) -> Self {
        Self {
            family: Family::V6,
            number,
        }
    }

    /// Its name. Names sort as numbers do, those of IPv6 behind the others.
    pub fn name(self) -> String {
        let family = match self.family {
            Family::V4 => "",
            Family::V6 => "6",
        };
        format!("many{family}-{:06}", self.number)
    }

    /// Its `ClusterIP`.
    pub fn cluster_ip(self) -> IpAddr {
        self.family.pick(
            Ipv4Addr::from(CLUSTER_IPS + self.number),
            Ipv6Addr::from(CLUSTER_IPS6 + u128::from(self.number)),
        )
    }

    /// Whose `ClusterIP` this is.
    pub(super) fn of_cluster_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => u32::from(ip).checked_sub(CLUSTER_IPS).map(Self::v4),
            IpAddr::V6(ip) => {
                let number = u128::from(ip).checked_sub(CLUSTER_IPS6)?;
                u32::try_from(number).ok().map(Self::v6)
            }
        }
    }

    /// The addresses of its first `count` endpoints.
    pub fn endpoints(self, count: u32) -> Vec<IpAddr> {
        let (first, first6) = match self.edge() {
            Some(Edge::Remote) => (REMOTE_NUMBERED + self.number / EVERY * STEP, REMOTE_FIRST6),
            _ => (LOCAL_FIRST + self.number * STEP, LOCAL_FIRST6),
        };
        let first6 = first6 + u128::from(self.number * STEP);
        let address = |index| {
            self.family.pick(
                Ipv4Addr::from(first + index),
                Ipv6Addr::from(first6 + u128::from(index)),
            )
        };
        (1..=count).map(address).collect()
    }

    /// Its ports: the protocol, and the node port if there is one.
    pub fn ports(self) -> Vec<(&'static str, Option<u16>)> {
        match self.node_port() {
            None => vec![("TCP", None)],
            some => vec![("TCP", some), ("UDP", some)],
        }
    }

    /// Where it has its backends, if it has node ports.
    pub fn edge(self) -> Option<Edge> {
        let index = self.node_port_index()?;
        let kind = index % u16::try_from(Edge::ALL.len()).ok()?;
        Edge::ALL.get(usize::from(kind)).copied()
    }

    /// Its node port, for both protocols.
    pub(super) fn node_port(self) -> Option<u16> {
        let [v4, v6] = NODE_PORTS;
        let first = match self.family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        Some(first + self.node_port_index()?)
    }

    /// Whose node port this is.
    pub(super) fn of_node_port(port: u16) -> Option<Self> {
        let index = port.checked_sub(NODE_PORTS[0])?;
        let of: fn(u32) -> Self = if index < MOST_NODE_PORTS {
            Self::v4
        } else {
            Self::v6
        };
        Some(of(
            EVERY * u32::from(index % MOST_NODE_PORTS) + FIRST_OF_EVERY
        ))
    }

    /// How many of its family with node ports are before it, if it has one.
    fn node_port_index(self) -> Option<u16> {
        let index = u16::try_from(self.number / EVERY).ok()?;
        let has = self.number % EVERY == FIRST_OF_EVERY && index < MOST_NODE_PORTS;
        has.then_some(index)
    }

    /// The Service.
    pub fn service(self) -> Value {
        let ports = self.ports().into_iter();
        let mut service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name(), "namespace": "default" },
            "spec": {
                "clusterIP": self.cluster_ip(),
                "clusterIPs": [self.cluster_ip()],
                "ipFamilies": [self.family.name()],
                "ports": ports.map(|(protocol, node_port)| port(protocol, node_port)).collect::<Vec<_>>(),
            },
        });
        if let Some(edge) = self.edge() {
            service["spec"]["type"] = "NodePort".into();
            service["spec"]["externalTrafficPolicy"] = edge.policy().into();
        }
        service
    }

    /// Its `EndpointSlice`, with the first `count` of its endpoints.
    pub fn slice(self, count: u32) -> Value {
        let protocols = self.ports().into_iter().map(|(protocol, _)| protocol);
        slice_of(
            &self.name(),
            self.family,
            self.edge().map_or(NODE, Edge::node),
            &protocols.collect::<Vec<_>>(),
            self.endpoints(count),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FAR_NODE, NUMBERS};
    use super::*;

    #[test]
    fn services_with_node_ports_are_of_every_kind_and_among_the_others() {
        for services in [1_000, 10_000, NUMBERS] {
            for of in [Numbered::v4, Numbered::v6] {
                for kind in Edge::ALL {
                    let is = |number: &u32| of(*number).edge() == Some(kind);
                    assert!(
                        (0..services).filter(is).count() >= 33,
                        "{kind:?} of {services}"
                    );
                }
                assert_eq!((of(0).edge(), of(services - 1).edge()), (None, None));
            }
        }
    }

    #[test]
    fn an_object_has_what_its_number_means() {
        let [plain, remote, kept] = [4, 15, 25].map(|number| Numbered::v4(number).service());
        assert_eq!(plain["spec"]["ports"].as_array().map(Vec::len), Some(1));
        assert_eq!(plain["spec"]["type"], Value::Null);
        assert_eq!(remote["spec"]["ports"][1]["nodePort"], 30_201);
        assert_eq!(kept["spec"]["externalTrafficPolicy"], "Local");
        let slice = Numbered::v4(15).slice(3);
        let endpoints = slice["endpoints"].as_array().unwrap();
        assert_eq!(
            (endpoints.len(), slice["ports"].as_array().unwrap().len()),
            (3, 2)
        );
        assert_eq!(endpoints[2]["nodeName"], FAR_NODE);
    }

    #[test]
    fn an_object_has_its_family() {
        let six = Numbered::v6(15);
        let (service, slice) = (six.service(), six.slice(1));
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv6"]));
        assert_eq!(service["spec"]["clusterIP"], "fd00:10:96::100f");
        assert_eq!(service["spec"]["ports"][0]["nodePort"], 31_451);
        assert_eq!(slice["addressType"], "IPv6");
        assert_eq!(slice["endpoints"][0]["addresses"][0], "fd00:120::1:0:f1");
        assert!(Numbered::v4(999_999).name() < six.name());
    }
}
