//! core/v1 Node and networking.k8s.io `ServiceCIDR`.

use std::net::IpAddr;

use super::{Problems, ip, networks};
use crate::node::Node;
use crate::policy::Network;
use crate::raw;

/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// What of a Node matters (SEMANTICS 1.11).
pub(crate) fn node(raw: &raw::Node, problems: &mut Problems) -> Node {
    let of = |wanted: &str| -> Vec<IpAddr> {
        let addresses = raw.status.addresses.iter();
        addresses
            .filter(|address| address.address_type == wanted)
            .filter_map(|address| ip::parse(&address.address))
            .collect()
    };
    // As kube-proxy does it: internal addresses come first.
    let mut addresses = of("InternalIP");
    addresses.extend(of("ExternalIP"));
    let zone = raw.metadata.labels.get(ZONE).map_or("", String::as_str);
    // The first of a family counts (SEMANTICS 9.4), so they stay in the order of the Node.
    let mut pod_cidrs = Vec::new();
    for cidr in &raw.spec.pod_cidrs {
        let one = std::slice::from_ref(cidr);
        pod_cidrs.extend(networks("spec.podCIDRs", one, problems));
    }
    Node {
        zone: zone.into(),
        addresses: addresses.into(),
        pod_cidrs: pod_cidrs.into(),
    }
}

/// The networks of a `ServiceCIDR` (SEMANTICS 4.11).
pub(crate) fn service_cidr(raw: &raw::ServiceCidr, problems: &mut Problems) -> Box<[Network]> {
    let all = networks("spec.cidrs", &raw.spec.cidrs, problems);
    // One without prefix would have every packet dropped that is no Service's.
    all.into_iter().filter(|(_, bits)| *bits > 0).collect()
}
