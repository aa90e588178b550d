//! Random configurations; the mode and the detector are always spelt out where there is a configuration at all.

use fastrand::Rng;
use serde_json::{Value, json};

use super::pool::{chance, pick};

const NODE_PORT_ADDRESSES: [&[&str]; 7] = [
    &["primary"],
    &["all"],
    &["0.0.0.0/0", "172.16.0.0/12"],
    &["172.16.0.0/12"],
    &["172.16.0.0/12", "fd00:172::/32"],
    &["primary", "localhost"],
    &["192.0.2.0/24", "2001:db8:9::/48"],
];

const DETECTORS: [(&str, &str); 6] = [
    ("ClusterCIDR", "10.1.0.0/16,fd00:1::/32"),
    ("ClusterCIDR", "10.1.0.0/16"),
    ("ClusterCIDR", "fd00:1::/64,10.1.0.0/24"),
    ("NodeCIDR", ""),
    ("BridgeInterface", ""),
    ("InterfaceNamePrefix", ""),
];

/// No document, one, or two.
pub(super) fn random(rng: &mut Rng) -> Vec<Value> {
    let mut documents = Vec::new();
    if chance(rng, 70) {
        documents.push(kube_proxy(rng));
    }
    if chance(rng, 50) {
        let source_ip = pick(rng, &["kube-proxy", "preserve"]);
        documents.push(json!({
            "apiVersion": "kubeshunt.io/v1alpha1", "kind": "KubeShuntConfiguration", "sourceIP": source_ip,
        }));
    }
    documents
}

fn kube_proxy(rng: &mut Rng) -> Value {
    let mode = pick(rng, &["nftables", "iptables"]);
    let (detector, cluster_cidr) = DETECTORS[rng.usize(0..DETECTORS.len())];
    let mut document = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": mode,
        "detectLocalMode": detector, "clusterCIDR": cluster_cidr,
        "detectLocal": {"bridgeInterface": "cni0", "interfaceNamePrefix": "veth"},
    });
    if chance(rng, 25) {
        document[mode]["masqueradeAll"] = json!(true);
    }
    if chance(rng, 50) {
        document["nodePortAddresses"] =
            json!(NODE_PORT_ADDRESSES[rng.usize(0..NODE_PORT_ADDRESSES.len())]);
    }
    if chance(rng, 10) {
        document["iptables"]["localhostNodePorts"] = json!(false);
    }
    if chance(rng, 10) {
        document["featureGates"]["AllowServiceExternalIPs"] = json!(false);
    }
    if chance(rng, 10) {
        document["featureGates"]["PreferSameTrafficDistribution"] = json!(false);
    }
    document
}
