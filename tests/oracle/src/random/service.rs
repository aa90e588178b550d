//! Random Services.

use fastrand::Rng;
use serde_json::{Value, json};

use super::pool::{
    EXTERNAL, NODE_PORTS, PORTS, PROTOS, RANGES, VIPS, careless, chance, pick, some,
};

/// The `index`th Service, created as the `age`th.
pub(super) fn random(rng: &mut Rng, index: usize, age: usize) -> Value {
    let kind = pick(
        rng,
        &["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"],
    );
    let families = pick(rng, &[&[0, 1][..], &[0, 1], &[1, 0], &[0], &[1]]);
    let mut spec = json!({"type": kind, "ports": ports(rng, kind)});
    cluster_ips(rng, &mut spec, families, index);
    if chance(rng, 35) {
        spec["externalIPs"] = json!(external_ips(rng, families, index));
    }
    for (field, percent) in [("externalTrafficPolicy", 45), ("internalTrafficPolicy", 30)] {
        if chance(rng, 80) {
            spec[field] = json!(if chance(rng, percent) {
                "Local"
            } else {
                "Cluster"
            });
        }
    }
    if chance(rng, 35) {
        spec["loadBalancerSourceRanges"] = json!(some(rng, &RANGES, 4));
    }
    if chance(rng, 25) {
        spec["sessionAffinity"] = json!("ClientIP");
        if chance(rng, 80) {
            spec["sessionAffinityConfig"] =
                json!({"clientIP": {"timeoutSeconds": rng.u32(1..=86_400)}});
        }
    }
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("s{index}"), "namespace": pick(rng, &["shop", "infra"]),
            "creationTimestamp": format!("2026-01-01T00:00:{age:02}Z"),
        },
        "spec": spec,
    });
    if kind == "LoadBalancer" || chance(rng, 5) {
        service["status"] = json!({"loadBalancer": {"ingress": ingress(rng)}});
    }
    // An algorithm chooses among the candidates, and changes none.
    if chance(rng, 25) {
        let algorithm = pick(
            rng,
            &["random", "round-robin", "maglev", "least-connections"],
        );
        service["metadata"]["annotations"]["kube-shunt.io/algorithm"] = json!(algorithm);
    }
    if chance(rng, 4) {
        let label = pick(
            rng,
            &[
                "service.kubernetes.io/service-proxy-name",
                "service.kubernetes.io/headless",
            ],
        );
        service["metadata"]["labels"][label] = json!("");
    }
    service
}

fn cluster_ips(rng: &mut Rng, spec: &mut Value, families: &[usize], index: usize) {
    let addresses: Vec<String> = families
        .iter()
        .map(|family| cluster_ip(rng, *family, index))
        .collect();
    spec["clusterIP"] = json!(addresses[0]);
    spec["clusterIPs"] = json!(addresses);
    match rng.u32(0..100) {
        0..4 => {
            spec["clusterIP"] = json!("None");
            spec["clusterIPs"] = json!(["None"]);
        }
        4..7 => spec["type"] = json!("ExternalName"),
        // An old object.
        7..12 => {
            spec["clusterIPs"] = Value::Null;
        }
        _ => {}
    }
}

fn cluster_ip(rng: &mut Rng, family: usize, index: usize) -> String {
    let address = if family == 0 {
        format!("10.96.0.{}", index + 10)
    } else {
        format!("fd00:10:96::{:x}", index + 10)
    };
    careless(rng, &address)
}

fn external_ips(rng: &mut Rng, families: &[usize], index: usize) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for pair in some(rng, &EXTERNAL, 3) {
        for (family, address) in pair.iter().enumerate() {
            if families.contains(&family) || chance(rng, 20) {
                addresses.push(careless(rng, address));
            }
        }
    }
    // The cluster IP of another Service.
    if chance(rng, 8) {
        addresses.push(format!("10.96.0.{}", index + 11));
    }
    if chance(rng, 8) {
        addresses.push("192.0.2.300".to_owned());
    }
    addresses
}

fn ingress(rng: &mut Rng) -> Vec<Value> {
    let mut entries = Vec::new();
    for pair in some(rng, &VIPS, 2) {
        for address in pair {
            let mut entry = json!({"ip": careless(rng, address)});
            match rng.u32(0..100) {
                0..15 => entry["ipMode"] = json!("Proxy"),
                15..50 => entry["ipMode"] = json!("VIP"),
                50..55 => entry = json!({"hostname": "lb.example.net"}),
                _ => {}
            }
            entries.push(entry);
        }
    }
    entries
}

fn ports(rng: &mut Rng, kind: &str) -> Vec<Value> {
    let mut keys: Vec<(u16, &str)> = PORTS
        .iter()
        .flat_map(|port| PROTOS.iter().map(|proto| (*port, *proto)))
        .collect();
    rng.shuffle(&mut keys);
    keys.truncate(rng.usize(1..=3));
    let single = keys.len() == 1;
    let mut node_ports: Vec<u16> = NODE_PORTS.to_vec();
    rng.shuffle(&mut node_ports);
    let exposed = kind == "NodePort" || kind == "LoadBalancer" && chance(rng, 70);
    keys.into_iter()
        .zip(node_ports)
        .enumerate()
        .map(|(index, ((port, proto), node_port))| {
            let mut value = json!({"name": format!("p{index}"), "port": port, "protocol": proto, "targetPort": 9999});
            if single && chance(rng, 40) {
                value["name"] = Value::Null;
            }
            if proto == "TCP" && chance(rng, 10) {
                value["protocol"] = Value::Null;
            }
            if exposed {
                value["nodePort"] = json!(node_port);
            }
            value
        })
        .collect()
}
