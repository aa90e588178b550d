//! The endpoints of a service port, and which of them count (SEMANTICS 1.7 to 1.9, 5, 6).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::cluster::{Cluster, Service, ServicePort};
use crate::json::{at, items, text};
use crate::net::address;
use crate::node::Node;

#[expect(
    clippy::struct_excessive_bools,
    reason = "the conditions of the API are independent"
)]
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    ready: bool,
    serving: bool,
    terminating: bool,
    pub(crate) local: bool,
    zones: Vec<String>,
    nodes: Vec<String>,
}

/// The endpoints of one service port by "ip:port".
pub(crate) type Endpoints = BTreeMap<SocketAddr, Endpoint>;

/// What a service port offers to the two traffic policies.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    pub(crate) cluster: Vec<SocketAddr>,
    pub(crate) local: Vec<SocketAddr>,
    pub(crate) any: bool,
}

/// All endpoints of a service port in one family, from all its slices.
pub(crate) fn collect(
    cluster: &Cluster,
    node: &Node,
    service: &Service,
    port: &ServicePort,
    v4: bool,
) -> Endpoints {
    let mut found = Endpoints::new();
    for slice in cluster
        .slices
        .iter()
        .filter(|slice| slice.service == service.identity && slice.v4 == v4)
    {
        // 1.12: by name and protocol, never by number.
        for (_, _, number) in slice
            .ports
            .iter()
            .filter(|(name, proto, _)| *name == port.name && *proto == port.proto)
        {
            for value in &slice.endpoints {
                let Some(ip) = first_address(value, v4) else {
                    continue;
                };
                let endpoint = Endpoint::parse(value, node);
                let key = SocketAddr::new(ip, *number);
                // 6.2: a terminating one never replaces another.
                if !(endpoint.terminating && found.contains_key(&key)) {
                    found.insert(key, endpoint);
                }
            }
        }
    }
    found
}

/// Only the first address counts (SEMANTICS 1.7), and one of another family is none (1.5).
fn first_address(endpoint: &Value, v4: bool) -> Option<IpAddr> {
    let first = items(endpoint, "addresses").first()?.as_str()?;
    address(first).filter(|ip| ip.is_ipv4() == v4)
}

impl Endpoint {
    fn parse(value: &Value, node: &Node) -> Self {
        let condition = |path: &str, absent: bool| at(value, path).as_bool().unwrap_or(absent);
        let hints = |path: &str| {
            items(value, path)
                .iter()
                .map(|hint| text(hint, "name").to_owned())
                .collect()
        };
        let node_name = text(value, "nodeName");
        Self {
            ready: condition("conditions.ready", true),
            serving: condition("conditions.serving", true),
            terminating: condition("conditions.terminating", false),
            local: !node.name.is_empty() && node_name == node.name,
            zones: hints("hints.forZones"),
            nodes: hints("hints.forNodes"),
        }
    }

    fn fallback(&self) -> bool {
        self.serving && self.terminating
    }
}

/// Section 5. `uses_cluster` and `uses_local` are those of 4.1.
pub(crate) fn categorise(
    endpoints: &Endpoints,
    node: &Node,
    node_hints: bool,
    uses_cluster: bool,
    uses_local: bool,
) -> Sets {
    let pick = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
        endpoints
            .iter()
            .filter(|(_, endpoint)| wanted(endpoint))
            .map(|(address, _)| *address)
            .collect()
    };
    let or_else = |first: Vec<SocketAddr>, wanted: &dyn Fn(&Endpoint) -> bool| {
        if first.is_empty() {
            pick(wanted)
        } else {
            first
        }
    };
    let mut sets = Sets::default();
    if uses_cluster {
        let allowed = topology(endpoints, node, node_hints);
        sets.cluster = or_else(
            pick(&|endpoint| endpoint.ready && allowed(endpoint)),
            &Endpoint::fallback,
        );
        sets.any |= !sets.cluster.is_empty();
    }
    if uses_local {
        sets.local = or_else(
            pick(&|endpoint| endpoint.local && endpoint.ready),
            &|endpoint| endpoint.local && endpoint.fallback(),
        );
        sets.any |= endpoints
            .values()
            .any(|endpoint| endpoint.ready || endpoint.fallback());
    }
    sets
}

/// 5.2: the hints that are followed, if every ready endpoint has them and some of them mean this node.
fn topology<'a>(
    endpoints: &Endpoints,
    node: &'a Node,
    node_hints: bool,
) -> Box<dyn Fn(&Endpoint) -> bool + 'a> {
    let ready = || endpoints.values().filter(|endpoint| endpoint.ready);
    let complete = |hints: fn(&Endpoint) -> &Vec<String>, mine: &str| {
        ready().all(|endpoint| !hints(endpoint).is_empty())
            && ready().any(|endpoint| hints(endpoint).iter().any(|hint| hint == mine))
    };
    if node_hints && complete(|endpoint| &endpoint.nodes, &node.name) {
        Box::new(|endpoint| endpoint.nodes.contains(&node.name))
    } else if complete(|endpoint| &endpoint.zones, &node.zone) {
        Box::new(|endpoint| endpoint.zones.contains(&node.zone))
    } else {
        Box::new(|_| true)
    }
}
