//! Random Services and slices, the same for the same seed, as objects that a real API server takes.

use std::net::IpAddr;

use anyhow::Result;
use proxy_common::sim::rng::Rng;
use serde_json::{Value, json};

use crate::control_plane::client::Client;
use crate::control_plane::objects::{SERVICES, SLICES, slice_name};
use crate::topology::{Cluster, Family, Pod, addresses};

/// The first node port; Service `n` has the `n`th.
const NODE_PORT: u16 = 30_100;
/// A port that the API server does not know and no Service has.
const UNKNOWN_PORT: u16 = 4_444;

/// Where a client can address a Service.
#[derive(Clone, Debug)]
pub struct Target {
    /// For messages.
    pub what: String,
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

/// A Service, its slices, and where it can be addressed.
#[derive(Debug)]
pub struct Case {
    /// What was chosen, for messages.
    pub summary: String,
    /// The addresses to try.
    pub targets: Vec<Target>,
    /// Whether each client keeps to one backend: which one, each proxy chooses for itself.
    pub sticky: bool,
    service: Value,
    status: Value,
    slices: Vec<Value>,
}

/// A pod behind a Service.
struct Endpoint<'a> {
    pod: &'a Pod,
    word: &'static str,
    /// Ready, serving, terminating.
    conditions: [bool; 3],
    /// Whom its hint names.
    zone: Option<&'static str>,
}

impl<'a> Endpoint<'a> {
    /// About half of the pods.
    fn random(rng: &mut Rng, cluster: &'a Cluster) -> Vec<Self> {
        let hinted = rng.one_in(3);
        let pods = cluster.pods().filter_map(|pod| {
            let (word, conditions) = *rng.pick(&CONDITIONS);
            // One in six lacks its hint, which must disable those of all.
            let zone = (hinted && !rng.one_in(6)).then(|| *rng.pick(&ZONES));
            let endpoint = Self {
                pod,
                word,
                conditions,
                zone,
            };
            rng.one_in(2).then_some(endpoint)
        });
        pods.collect()
    }
}

/// Zones of the two nodes.
const ZONES: [&str; 2] = ["zone-1", "zone-2"];
/// What an endpoint is like.
const CONDITIONS: [(&str, [bool; 3]); 5] = [
    ("ready", [true, true, false]),
    ("ready", [true, true, false]),
    ("ready", [true, true, false]),
    ("draining", [false, true, true]),
    ("unready", [false, false, false]),
];

impl Case {
    /// Service number `index` (from 1) with some of `pods` as endpoints.
    pub fn random(rng: &mut Rng, index: u8, cluster: &Cluster) -> Self {
        let name = format!("rival-{index}");
        let kind = *rng.pick(&["ClusterIP", "NodePort", "LoadBalancer"]);
        let policy = |rng: &mut Rng| *rng.pick(&["Cluster", "Cluster", "Local"]);
        let (internal, external) = (policy(rng), policy(rng));
        let node_port = NODE_PORT + u16::from(index);
        let cluster_ips = Family::BOTH.map(|family| addresses::cluster_ip(family, 100 + index));
        let externals = Family::BOTH.map(|family| addresses::external_ip(family, index));
        let balanced = Family::BOTH.map(|family| addresses::external_ip(family, 100 + index));
        let mut spec = json!({
            "type": kind,
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv4", "IPv6"],
            "clusterIP": cluster_ips[0],
            "clusterIPs": cluster_ips,
            "internalTrafficPolicy": internal,
        });
        let mut ports: Vec<Value> = ["TCP", "UDP"]
            .iter()
            .map(|protocol| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": 80 }))
            .collect();
        let mut targets = Vec::new();
        let mut add = |what: &str, ips: &[IpAddr], port: u16| {
            for ip in ips {
                targets.push(Target {
                    what: format!("{name} {what}"),
                    ip: *ip,
                    port,
                });
            }
        };
        add("ClusterIP", &cluster_ips, 80);
        add("ClusterIP, unknown port", &cluster_ips, UNKNOWN_PORT);
        let sticky = rng.one_in(4);
        if sticky {
            spec["sessionAffinity"] = "ClientIP".into();
        }
        let mut ranges = "";
        if kind != "ClusterIP" {
            for port in &mut ports {
                port["nodePort"] = node_port.into();
            }
            let nodes = Family::BOTH.map(|family| cluster.a.ip(family));
            add("NodePort", &nodes, node_port);
        }
        let has_external = rng.one_in(3);
        if has_external {
            spec["externalIPs"] = json!(externals);
            add("externalIP", &externals, 80);
        }
        if kind != "ClusterIP" || has_external {
            spec["externalTrafficPolicy"] = external.into();
        }
        let mut status = Value::Null;
        if kind == "LoadBalancer" {
            ranges = *rng.pick(&["", "client", "pods", "node"]);
            if let Some(list) = source_ranges(ranges) {
                spec["loadBalancerSourceRanges"] = json!(list);
            }
            let mode = *rng.pick(&["VIP", "VIP", "Proxy"]);
            let ingress = balanced.map(|ip| json!({ "ip": ip, "ipMode": mode }));
            status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
            // In Proxy mode the packets would leave for a load balancer that is not there.
            if mode == "VIP" {
                add("LB VIP", &balanced, 80);
            }
        }
        spec["ports"] = json!(ports);
        let chosen = Endpoint::random(rng, cluster);
        let endpoints: Vec<String> = chosen
            .iter()
            .map(
                |Endpoint {
                     pod, word, zone, ..
                 }| {
                    format!("{} {word} {}", pod.name(), zone.unwrap_or("no zone"))
                },
            )
            .collect();
        Self {
            summary: format!(
                "{name}: {kind}, internal {internal}, external {external}, sticky {sticky}, ranges {ranges:?}, endpoints {endpoints:?}"
            ),
            targets,
            sticky,
            service: json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec }),
            status,
            slices: Family::BOTH
                .map(|family| slice(&name, family, &chosen))
                .into(),
        }
    }

    /// Makes its objects.
    pub fn create(&self, client: &Client) -> Result<()> {
        client.create(SERVICES, &self.service)?;
        if self.status != Value::Null {
            let name = self.service["metadata"]["name"].as_str().unwrap_or("");
            client.patch(&format!("{SERVICES}/{name}/status"), &self.status)?;
        }
        for slice in &self.slices {
            client.create(SLICES, slice)?;
        }
        Ok(())
    }
}

fn source_ranges(who: &str) -> Option<[&'static str; 2]> {
    match who {
        "client" => Some(["203.0.113.0/24", "2001:db8:77::/64"]),
        "pods" => Some(["10.244.0.0/16", "fd00:244::/32"]),
        "node" => Some(["172.18.0.0/24", "fd00:18::/64"]),
        _ => None,
    }
}

fn slice(service: &str, family: Family, chosen: &[Endpoint<'_>]) -> Value {
    let endpoint = |endpoint: &Endpoint<'_>| {
        let [ready, serving, terminating] = endpoint.conditions;
        let mut value = json!({
            "addresses": [endpoint.pod.ip(family)],
            "nodeName": endpoint.pod.node,
            "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
        });
        if let Some(zone) = endpoint.zone {
            value["hints"] = json!({ "forZones": [{ "name": zone }] });
        }
        value
    };
    let port = |protocol: &str| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": 8080 });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name(service, family),
            "labels": { "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "test" },
        },
        "addressType": family.name(),
        "ports": [port("TCP"), port("UDP")],
        "endpoints": chosen.iter().map(endpoint).collect::<Vec<_>>(),
    })
}
