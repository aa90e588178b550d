//! API objects in the words of the tests, and where they live.

use serde_json::{Value, json};

use crate::topology::{Family, Node, Pod};

/// The namespace of all test objects.
pub const NAMESPACE: &str = "default";
/// Services.
pub const SERVICES: &str = "/api/v1/namespaces/default/services";
/// Pods.
pub const PODS: &str = "/api/v1/namespaces/default/pods";
/// Nodes.
pub const NODES: &str = "/api/v1/nodes";
/// `EndpointSlices`.
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// A node without its addresses: the API server takes those as status only.
pub fn node(node: &Node) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": node.name(), "labels": { "topology.kubernetes.io/zone": format!("zone-{}", node.number()) } },
    })
}

/// The status of a node.
pub fn node_status(node: &Node) -> Value {
    let internal = |family| json!({ "type": "InternalIP", "address": node.ip(family) });
    json!({ "status": { "addresses": [internal(Family::V4), internal(Family::V6)] } })
}

/// A pod with the label `app`, on its node.
pub fn pod(pod: &Pod, app: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": pod.name(), "labels": { "app": app } },
        "spec": {
            "nodeName": pod.node,
            "containers": [{ "name": "probe", "image": "none", "ports": [{ "containerPort": 8080 }] }],
        },
    })
}

/// The status of a pod that runs, as its kubelet would report it.
pub fn pod_status(pod: &Pod, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({ "status": {
        "phase": "Running",
        "podIP": pod.addr4,
        "podIPs": [{ "ip": pod.addr4 }, { "ip": pod.addr6 }],
        "conditions": [{ "type": "Ready", "status": ready }, { "type": "ContainersReady", "status": ready }],
    }})
}

/// A dual-stack Service that selects pods by the label `app`, TCP and UDP on port 80.
pub fn service(name: &str, app: Option<&str>, ips: [std::net::IpAddr; 2]) -> Value {
    let port = |protocol: &str| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": 80, "targetPort": 8080 });
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv4", "IPv6"],
            "clusterIP": ips[0],
            "clusterIPs": ips,
            "ports": [port("TCP"), port("UDP")],
        },
    });
    if let Some(app) = app {
        object["spec"]["selector"] = json!({ "app": app });
    }
    object
}

/// A slice of `service` that nobody but the test manages.
pub fn slice(service: &str, family: Family, pods: &[&Pod]) -> Value {
    let port = |protocol: &str| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": 8080 });
    let endpoint = |pod: &&Pod| json!({ "addresses": [pod.ip(family)], "nodeName": pod.node, "conditions": { "ready": true } });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name(service, family),
            "labels": { "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "test" },
        },
        "addressType": family.name(),
        "ports": [port("TCP"), port("UDP")],
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// The name of [`slice`]'s object.
pub fn slice_name(service: &str, family: Family) -> String {
    format!("{service}-{}", family.name().to_lowercase())
}
