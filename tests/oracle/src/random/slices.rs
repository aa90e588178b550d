//! Random `EndpointSlice`s of a Service.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use super::pool::{ENDPOINTS, ZONES, careless, chance, pick, some};
use crate::json::{identity, items, text};

/// The slices of one Service, in both families whatever the Service has.
pub(super) fn random(rng: &mut Rng, service: &Value) -> Vec<Value> {
    let mut slices = Vec::new();
    for family in 0..2 {
        let mut endpoints = Endpoints::new(rng, family);
        for number in 0..rng.usize(0..=3) {
            slices.push(slice(rng, service, family, number, &mut endpoints));
        }
    }
    slices
}

fn slice(
    rng: &mut Rng,
    service: &Value,
    family: usize,
    number: usize,
    endpoints: &mut Endpoints,
) -> Value {
    let (namespace, name) = identity(service);
    let kind = ["IPv4", "IPv6"][family];
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-{}-{number}", kind.to_lowercase()), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": kind,
        "ports": ports(rng, service),
        "endpoints": (0..rng.usize(0..=3)).map(|_| endpoints.next(rng)).collect::<Vec<Value>>(),
    });
    match rng.u32(0..100) {
        0..2 => slice["metadata"]["labels"] = Value::Null,
        2..4 => slice["metadata"]["labels"]["service.kubernetes.io/headless"] = json!(""),
        4..6 => {
            slice["addressType"] = json!("FQDN");
            slice["endpoints"] = json!([{"addresses": ["pod.example.net"]}]);
        }
        _ => {}
    }
    slice
}

/// The Service's ports under numbers of this slice; some missing, some spoilt.
fn ports(rng: &mut Rng, service: &Value) -> Vec<Value> {
    let mut ports = Vec::new();
    for port in items(service, "spec.ports") {
        let mut entry = json!({
            "name": text(port, "name"), "port": rng.u16(8080..=8082), "protocol": port["protocol"],
        });
        match rng.u32(0..100) {
            0..3 => entry["name"] = Value::Null,
            3..6 => entry["port"] = Value::Null,
            6..8 => entry["port"] = json!(0),
            8..11 => entry["protocol"] = json!("SCTP"),
            11..14 => continue,
            _ => {}
        }
        ports.push(entry);
    }
    ports
}

/// The endpoints of a Service and family. One address is always the same endpoint, or the terminating twin of a running
/// one: SEMANTICS 6.2 leaves all else open.
struct Endpoints {
    family: usize,
    hints: (bool, bool),
    known: BTreeMap<usize, Value>,
}

impl Endpoints {
    fn new(rng: &mut Rng, family: usize) -> Self {
        Self {
            family,
            hints: (chance(rng, 40), chance(rng, 25)),
            known: BTreeMap::new(),
        }
    }

    fn next(&mut self, rng: &mut Rng) -> Value {
        match rng.u32(0..100) {
            0..2 => return json!({"addresses": []}),
            2..4 => return json!({"addresses": ["nonsense"], "nodeName": "node-a"}),
            _ => {}
        }
        let number = rng.usize(0..ENDPOINTS.len());
        let endpoint = self
            .known
            .entry(number)
            .or_insert_with(|| endpoint(rng, number, self.family, self.hints));
        let mut endpoint = endpoint.clone();
        let running = endpoint["conditions"]["terminating"] != true;
        if running && chance(rng, 10) {
            endpoint["conditions"] = json!({"ready": false, "serving": true, "terminating": true});
        }
        endpoint
    }
}

fn endpoint(rng: &mut Rng, number: usize, family: usize, (zones, nodes): (bool, bool)) -> Value {
    let (node, addresses) = ENDPOINTS[number];
    let mut endpoint = json!({
        "addresses": [careless(rng, addresses[family])], "conditions": conditions(rng), "zone": pick(rng, &ZONES),
    });
    if chance(rng, 92) {
        endpoint["nodeName"] = json!(node);
    }
    if chance(rng, 5) {
        let second = ["10.9.9.9", "fd00:9::9"][family];
        endpoint["addresses"] = json!([addresses[family], second]);
    }
    let names = |names: Vec<&str>| {
        names
            .into_iter()
            .map(|name| json!({"name": name}))
            .collect::<Vec<Value>>()
    };
    // Hints help only where all have them.
    if zones && chance(rng, 90) {
        endpoint["hints"]["forZones"] = json!(names(some(rng, &ZONES, 3)));
    }
    if nodes && chance(rng, 90) {
        endpoint["hints"]["forNodes"] = json!(names(some(rng, &["node-a", "node-b"], 2)));
    }
    endpoint
}

fn conditions(rng: &mut Rng) -> Value {
    match rng.u32(0..100) {
        0..45 => json!({"ready": true, "serving": true, "terminating": false}),
        45..52 => Value::Null,
        52..58 => json!({"ready": null, "serving": null, "terminating": null}),
        58..75 => json!({"ready": false, "serving": true, "terminating": true}),
        75..82 => json!({"ready": false, "serving": false, "terminating": true}),
        82..88 => json!({"ready": false, "serving": false, "terminating": false}),
        88..92 => json!({"ready": false, "serving": true, "terminating": false}),
        92..96 => json!({"ready": true, "serving": true, "terminating": true}),
        _ => json!({"ready": true, "serving": false}),
    }
}
