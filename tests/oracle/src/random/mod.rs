//! Random clusters and questions, the same for the same seed.
//!
//! A case stays within what SEMANTICS defines: it never leaves the winner open (two running endpoints of one address that
//! differ, two Services of one age), and it holds no object that the API would refuse, but for what kube-proxy must bear
//! (SEMANTICS 1 and 2.8). Pools are small on purpose: addresses, ports and names meet.

mod config;
mod flows;
mod pool;
mod service;
mod shrink;
mod slices;

use std::net::IpAddr;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::{Cluster, Config, Node};
use pool::chance;

/// A node and its cluster.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of the node.
    pub node: String,
    /// The addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// Its Node object.
    pub node_object: Value,
    /// The configuration documents.
    pub config: Vec<Value>,
    /// Services, `EndpointSlice`s, `ServiceCIDR`s.
    pub objects: Vec<Value>,
}

impl Case {
    /// The case of a seed.
    pub fn random(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let (addresses, node_object) = node(rng);
        let mut objects = Vec::new();
        let count = rng.usize(1..=6);
        // Ages in random order, no two alike.
        let mut ages: Vec<usize> = (0..count).collect();
        rng.shuffle(&mut ages);
        for (index, age) in ages.into_iter().enumerate() {
            let service = service::random(rng, index, age);
            objects.extend(slices::random(rng, &service));
            objects.push(service);
        }
        if chance(rng, 50) {
            let cidrs = pool::pick(
                rng,
                &[
                    &["10.96.0.0/16", "fd00:10:96::/112"][..],
                    &["10.96.0.0/16"],
                    &["fd00:10:96::/112"],
                ],
            );
            objects.push(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs},
            }));
        }
        rng.shuffle(&mut objects);
        Self {
            node: pool::NODE.to_owned(),
            addresses,
            node_object,
            config: config::random(rng),
            objects,
        }
    }

    /// What the oracle judges by.
    pub fn world(&self) -> (Cluster, Config, Node) {
        let node = Node::new(&self.node, self.addresses.clone(), &self.node_object);
        let config = Config::parse(&self.config, &node);
        (Cluster::parse(&self.objects), config, node)
    }
}

/// The node's addresses and its object.
fn node(rng: &mut Rng) -> (Vec<IpAddr>, Value) {
    let mut addresses = vec![pool::v4("192.168.1.1"), pool::v6("fd00:192::1")];
    if chance(rng, 50) {
        addresses.extend([pool::v4("172.16.5.1"), pool::v6("fd00:172::1")]);
    }
    // A balancer's address may be bound on the node.
    if chance(rng, 25) {
        addresses.extend([pool::v4("198.51.100.10"), pool::v6("2001:db8:1b::a")]);
    }
    let mut labels = json!({"kubernetes.io/hostname": pool::NODE});
    if chance(rng, 80) {
        labels["topology.kubernetes.io/zone"] = json!(pool::ZONES[0]);
    }
    let object = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": pool::NODE, "labels": labels},
        "spec": {"podCIDRs": ["10.1.0.0/24", "fd00:1::/64"]},
        "status": {"addresses": [
            {"type": "Hostname", "address": pool::NODE},
            {"type": "InternalIP", "address": "192.168.1.1"},
            {"type": "InternalIP", "address": "fd00:192::1"},
        ]},
    });
    (addresses, object)
}
