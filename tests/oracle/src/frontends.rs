//! Which service port owns an address and port (SEMANTICS 2.1, 2.13, 3.5, 22.2).

use std::net::{IpAddr, SocketAddr};

use crate::cluster::{Cluster, Service, ServicePort};
use crate::config::{Config, Profile};
use crate::flow::{Flow, Proto};
use crate::node::Node;

/// A frontend and the service port behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match<'a> {
    pub(crate) service: &'a Service,
    pub(crate) port: &'a ServicePort,
    /// A cluster IP: the internal policy rules it, else the external one.
    pub(crate) internal: bool,
    /// A load balancer's address: source ranges apply.
    pub(crate) vip: bool,
    /// Only refusals are served here: a `NodePort` outside `nodePortAddresses` in iptables mode (SEMANTICS 3.6).
    pub(crate) refusals_only: bool,
}

/// The frontend that a connection is for.
pub(crate) fn find<'a>(
    cluster: &'a Cluster,
    config: &Config,
    node: &Node,
    flow: &Flow,
) -> Option<Match<'a>> {
    let ip = flow.dst.ip();
    if let Some((service, port)) = oldest(cluster, ip.is_ipv4(), |service, port| {
        port.proto == flow.proto && port.port == flow.dst.port() && exact(service, ip, config)
    }) {
        return Some(Match {
            service,
            port,
            internal: service.cluster_ips.contains(&ip),
            vip: service.vips.contains(&ip),
            refusals_only: false,
        });
    }
    let accepted = config.serves_node_ports(node, ip);
    if !(accepted || node.owns(ip) && config.profile == Profile::Iptables) {
        return None;
    }
    let (service, port) = node_port(cluster, flow.dst, flow.proto)?;
    Some(Match {
        service,
        port,
        internal: false,
        vip: false,
        refusals_only: !accepted,
    })
}

/// The address is a cluster IP of some Service (SEMANTICS 4.10).
pub(crate) fn is_cluster_ip(cluster: &Cluster, ip: IpAddr) -> bool {
    cluster
        .services
        .iter()
        .any(|service| service.cluster_ip(ip.is_ipv4()) == Some(ip))
}

/// The address is an external one of some Service: neither rule of 4.10 covers it.
pub(crate) fn is_external(cluster: &Cluster, config: &Config, ip: IpAddr) -> bool {
    let of_family = |service: &&Service| service.cluster_ip(ip.is_ipv4()).is_some();
    cluster
        .services
        .iter()
        .filter(of_family)
        .any(|service| exact(service, ip, config))
}

fn exact(service: &Service, ip: IpAddr, config: &Config) -> bool {
    service.cluster_ip(ip.is_ipv4()) == Some(ip)
        || service.external_ips.contains(&ip) && !config.no_external_ips
        || service.vips.contains(&ip)
}

fn node_port(cluster: &Cluster, dst: SocketAddr, proto: Proto) -> Option<(&Service, &ServicePort)> {
    oldest(cluster, dst.is_ipv4(), |_, port| {
        port.proto == proto && port.node_port == Some(dst.port())
    })
}

/// The owner among those who claim a frontend: the oldest Service, then the first by name. 1.4: of this family only.
fn oldest(
    cluster: &Cluster,
    v4: bool,
    claims: impl Fn(&Service, &ServicePort) -> bool,
) -> Option<(&Service, &ServicePort)> {
    cluster
        .services
        .iter()
        .filter(|service| service.cluster_ip(v4).is_some())
        .flat_map(|service| service.ports.iter().map(move |port| (service, port)))
        .filter(|(service, port)| claims(service, port))
        .min_by_key(|(service, _)| (&service.created, &service.identity))
}
