//! Services with node ports: where their backends are, and those that are there at every size.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use integration::topology::Family;
use serde_json::{Value, json};

use super::{
    CLUSTER_IPS, CROSS_CHECK, ENDPOINTS, FAR_NODE, NODE, REMOTE_FIRST, STEP, port, slice_of,
};

/// Where Services with node ports have their backends; of each kind there is one at every size, with both families. TCP and UDP.
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
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Local, Self::Remote, Self::Kept];

    /// The node with the backends.
    pub const fn node(self) -> &'static str {
        match self {
            Self::Local | Self::Kept => NODE,
            Self::Remote => FAR_NODE,
        }
    }

    /// Its `externalTrafficPolicy`.
    pub const fn policy(self) -> &'static str {
        match self {
            Self::Local | Self::Remote => "Cluster",
            Self::Kept => "Local",
        }
    }

    /// The name of the one that is always there.
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
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name(), "namespace": "default" },
            "spec": {
                "type": "NodePort",
                "externalTrafficPolicy": self.policy(),
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
        let addresses = self.endpoints(family);
        let mut slice = slice_of(self.name(), family, self.node(), &["TCP", "UDP"], addresses);
        slice["metadata"]["name"] =
            format!("{}-{}", self.name(), family.name().to_lowercase()).into();
        if let Some(ports) = slice["ports"].as_array_mut() {
            ports.push(json!({ "name": "cross-check", "protocol": "TCP", "port": CROSS_CHECK }));
        }
        slice
    }
}
