//! Services, their endpoints and the `ServiceCIDR`s, as far as a proxy sees them (SEMANTICS 1, 2).

use std::net::IpAddr;

use serde_json::Value;

use crate::flow::Proto;
use crate::json::{at, identity, items, label, port, text, texts};
use crate::net::{Net, address};

/// The objects that a proxy sees; what it must ignore as a whole is left out.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub(crate) services: Vec<Service>,
    pub(crate) slices: Vec<Slice>,
    pub(crate) service_nets: Vec<Net>,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Namespace and name.
    pub(crate) identity: (String, String),
    /// RFC 3339 in UTC: sorts as text. Without one a Service counts as the youngest.
    pub(crate) created: String,
    pub(crate) cluster_ips: Vec<IpAddr>,
    pub(crate) external_ips: Vec<IpAddr>,
    pub(crate) vips: Vec<IpAddr>,
    pub(crate) ranges: Vec<Net>,
    pub(crate) internal_local: bool,
    /// Seconds that a client stays with its endpoint (SEMANTICS 2.7).
    pub(crate) affinity: Option<u64>,
    /// As written; [`Service::external_local`] says if it is honoured.
    wants_external_local: bool,
    kind: String,
    pub(crate) ports: Vec<ServicePort>,
}

#[derive(Clone, Debug)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) proto: Proto,
    pub(crate) port: u16,
    pub(crate) node_port: Option<u16>,
}

#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// Namespace and name of the Service it belongs to.
    pub(crate) service: (String, String),
    pub(crate) v4: bool,
    pub(crate) ports: Vec<(String, Proto, u16)>,
    pub(crate) endpoints: Vec<Value>,
}

impl Cluster {
    /// Takes in the objects of the kinds it knows.
    pub fn parse(objects: &[Value]) -> Self {
        let of = |kind: &'static str| {
            objects
                .iter()
                .filter(move |object| text(object, "kind") == kind)
        };
        Self {
            services: of("Service").filter_map(Service::parse).collect(),
            slices: of("EndpointSlice").filter_map(Slice::parse).collect(),
            service_nets: of("ServiceCIDR")
                .flat_map(|object| texts(object, "spec.cidrs"))
                .filter_map(Net::parse)
                .collect(),
        }
    }
}

/// Somebody else's, or headless (SEMANTICS 1.2).
fn foreign(object: &Value) -> bool {
    label(object, "service.kubernetes.io/service-proxy-name").is_some()
        || label(object, "service.kubernetes.io/headless").is_some()
}

impl Service {
    fn parse(object: &Value) -> Option<Self> {
        let first = text(object, "spec.clusterIP");
        let kind = text(object, "spec.type");
        // 1.3
        if foreign(object) || first.is_empty() || first == "None" || kind == "ExternalName" {
            return None;
        }
        // 2.4
        let mut cluster_ips: Vec<IpAddr> = texts(object, "spec.clusterIPs")
            .filter_map(address)
            .collect();
        if items(object, "spec.clusterIPs").is_empty() {
            cluster_ips.extend(address(first));
        }
        let created = text(object, "metadata.creationTimestamp");
        Some(Self {
            identity: identity(object),
            created: if created.is_empty() { "~" } else { created }.to_owned(),
            cluster_ips,
            external_ips: texts(object, "spec.externalIPs")
                .filter_map(address)
                .collect(),
            // 2.2: an entry with ipMode Proxy is not there at all.
            vips: items(object, "status.loadBalancer.ingress")
                .iter()
                .filter(|entry| text(entry, "ipMode") != "Proxy")
                .filter_map(|entry| address(text(entry, "ip")))
                .collect(),
            ranges: texts(object, "spec.loadBalancerSourceRanges")
                .filter_map(Net::parse)
                .collect(),
            internal_local: text(object, "spec.internalTrafficPolicy") == "Local",
            affinity: (text(object, "spec.sessionAffinity") == "ClientIP").then(|| {
                let seconds = at(object, "spec.sessionAffinityConfig.clientIP.timeoutSeconds");
                seconds.as_u64().unwrap_or(10_800)
            }),
            wants_external_local: text(object, "spec.externalTrafficPolicy") == "Local",
            kind: kind.to_owned(),
            ports: items(object, "spec.ports")
                .iter()
                .filter_map(ServicePort::parse)
                .collect(),
        })
    }

    /// The cluster IP of a family; without one the family does not know the Service (SEMANTICS 1.4).
    pub(crate) fn cluster_ip(&self, v4: bool) -> Option<IpAddr> {
        self.cluster_ips
            .iter()
            .copied()
            .find(|address| address.is_ipv4() == v4)
    }

    /// externalTrafficPolicy Local, honoured for externally accessible Services only (SEMANTICS 2.12).
    pub(crate) fn external_local(&self, no_external_ips: bool) -> bool {
        let accessible = match self.kind.as_str() {
            "NodePort" | "LoadBalancer" => true,
            _ => !self.external_ips.is_empty() && !no_external_ips,
        };
        self.wants_external_local && accessible
    }
}

impl ServicePort {
    fn parse(value: &Value) -> Option<Self> {
        Some(Self {
            name: text(value, "name").to_owned(),
            proto: Proto::parse(text(value, "protocol"))?,
            port: port(at(value, "port"))?,
            node_port: port(at(value, "nodePort")),
        })
    }
}

impl Slice {
    fn parse(object: &Value) -> Option<Self> {
        // 1.5
        let owner =
            label(object, "kubernetes.io/service-name").filter(|owner| !owner.is_empty())?;
        let v4 = match text(object, "addressType") {
            "IPv4" => true,
            "IPv6" => false,
            _ => return None,
        };
        if foreign(object) {
            return None;
        }
        // 1.6: no name is another thing than an empty one.
        let ports = items(object, "ports").iter().filter_map(|entry| {
            let name = at(entry, "name").as_str()?;
            Some((
                name.to_owned(),
                Proto::parse(text(entry, "protocol"))?,
                port(at(entry, "port"))?,
            ))
        });
        Some(Self {
            service: (identity(object).0, owner.to_owned()),
            v4,
            ports: ports.collect(),
            endpoints: items(object, "endpoints").to_vec(),
        })
    }
}
