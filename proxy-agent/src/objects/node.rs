//! The Node object: a part for the planner (labels, podCIDRs), and a part for the agent (addresses, whether it is to stay).

use std::net::IpAddr;

use proxy_model::{Object, raw};
use serde::Deserialize;

use super::{Parsed, WireMeta};

/// What the agent itself wants to know of its Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// `InternalIPs`, or `ExternalIPs` where it has no internal ones.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<String>,
    /// It is being deleted, or the autoscaler will (SEMANTICS 11.2).
    pub leaving: bool,
}

/// core/v1 Node on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireNode {
    metadata: WireMeta,
    #[serde(default)]
    spec: Option<Spec>,
    #[serde(default)]
    status: Option<raw::NodeStatus>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
    taints: Option<Vec<Taint>>,
}

#[derive(Deserialize)]
struct Taint {
    #[serde(default)]
    key: Option<String>,
}

/// The autoscaler's announcement that it will remove the node.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

impl From<WireNode> for Parsed {
    fn from(wire: WireNode) -> Self {
        let WireNode {
            metadata,
            spec,
            status,
        } = wire;
        let Spec { pod_cidrs, taints } = spec.unwrap_or_default();
        let tainted = taints
            .unwrap_or_default()
            .iter()
            .any(|taint| taint.key.as_deref() == Some(TO_BE_DELETED));
        let leaving = metadata.deleting() || tainted;
        let status = status.unwrap_or_default();
        let (metadata, resource_version) = metadata.cluster_wide();
        let facts = NodeFacts {
            name: metadata.name.clone(),
            addresses: addresses(&status),
            pod_cidrs: pod_cidrs.clone().unwrap_or_default(),
            leaving,
        };
        let spec = raw::NodeSpec {
            pod_cidrs: pod_cidrs.unwrap_or_default(),
        };
        Self {
            object: Object::Node(raw::Node {
                metadata,
                spec,
                status,
            }),
            resource_version,
            node: Some(facts),
        }
    }
}

/// As kube-proxy does it: internal addresses, else external ones; what is no address is left out.
fn addresses(status: &raw::NodeStatus) -> Vec<IpAddr> {
    let of = |wanted: &str| -> Vec<IpAddr> {
        let typed = status
            .addresses
            .iter()
            .filter(|address| address.address_type == wanted);
        typed
            .filter_map(|address| address.address.trim().parse().ok())
            .collect()
    };
    let internal = of("InternalIP");
    if internal.is_empty() {
        of("ExternalIP")
    } else {
        internal
    }
}
