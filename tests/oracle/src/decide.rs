//! Section 22: what happens to one new connection.

use std::net::{IpAddr, SocketAddr};

use crate::cluster::Cluster;
use crate::config::{Config, Detect, Profile};
use crate::endpoints::{Endpoints, Sets, categorise, collect};
use crate::flow::{Flow, From};
use crate::frontends::{Match, find, is_cluster_ip, is_external};
use crate::net::Net;
use crate::node::Node;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent to one of the backends.
    Dnat,
    /// Refused, and the client is told.
    Reject,
    /// Refused in silence.
    Drop,
    /// None of a Service proxy's business.
    Pass,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A frontend with endpoints for this client.
    Served,
    /// The source is in none of the ranges (SEMANTICS 4.7).
    OutOfRange,
    /// No endpoint anywhere (7.1).
    NoEndpoints,
    /// Endpoints, but none on this node (7.2).
    NoLocalEndpoints,
    /// Another port of a cluster IP (4.10).
    UnknownPort,
    /// No Service's address, in a `ServiceCIDR` (4.10).
    UnallocatedAddress,
    /// No frontend.
    NoService,
}

/// The answer, in the words of `kube-shunt explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What happens.
    pub verdict: Verdict,
    /// "namespace/name:port" of the service port that matched; an unnamed port has no colon.
    pub service: Option<String>,
    /// "ip:port/proto" that matched.
    pub frontend: Option<String>,
    /// Every endpoint that a new connection could be sent to, sorted as text.
    pub backends: Vec<String>,
    /// The source is changed for some of the backends.
    pub masquerade: bool,
    /// "socket" for the host's own connections, else "tc".
    pub hook: &'static str,
    /// For how many seconds the client stays with its backend (SEMANTICS 2.7); none without affinity.
    pub affinity: Option<u64>,
    /// Why.
    pub reason: Reason,
}

/// Whom the policies take a client for (SEMANTICS 4.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    LocalPod,
    Host,
    Other,
}

/// Decides about one new connection.
pub fn decide(cluster: &Cluster, config: &Config, node: &Node, flow: &Flow) -> Answer {
    let from = flow.from.unwrap_or_else(|| begins(config, node, flow.src));
    let hook = if from == From::Host { "socket" } else { "tc" };
    let Some((found, endpoints, sets)) = matched(cluster, config, node, flow) else {
        let (verdict, reason) = unmatched(cluster, config, flow.dst.ip());
        return Answer {
            verdict,
            service: None,
            frontend: None,
            backends: Vec::new(),
            masquerade: false,
            hook,
            affinity: None,
            reason,
        };
    };
    let class = class(config, flow, from);
    let (verdict, reason, backends) = serve(config, node, flow, &found, &sets, class);
    let masquerade = verdict == Verdict::Dnat
        && masquerade(config, flow, from, class, &found, &backends, &endpoints);
    let (namespace, name) = &found.service.identity;
    let colon = if found.port.name.is_empty() { "" } else { ":" };
    let mut backends: Vec<String> = backends.iter().map(ToString::to_string).collect();
    backends.sort();
    Answer {
        verdict,
        service: Some(format!("{namespace}/{name}{colon}{}", found.port.name)),
        frontend: Some(format!("{}/{}", flow.dst, flow.proto)),
        backends,
        masquerade,
        hook,
        affinity: found.service.affinity,
        reason,
    }
}

/// Where a flow begins that does not say so: by its source. A detector of devices cannot be asked about an address; the
/// networks of the node's pods say it then.
fn begins(config: &Config, node: &Node, src: IpAddr) -> From {
    let pod = match &config.detect {
        Detect::Device => node.pod_nets.iter().any(|net| net.contains(src)),
        Detect::Source(source) => source.knows(src),
    };
    match pod {
        _ if node.owns(src) => From::Host,
        true => From::Pod,
        false => From::Outside,
    }
}

/// Step 2, and the endpoints of what it finds.
fn matched<'a>(
    cluster: &'a Cluster,
    config: &Config,
    node: &Node,
    flow: &Flow,
) -> Option<(Match<'a>, Endpoints, Sets)> {
    let found = find(cluster, config, node, flow)?;
    let v4 = flow.dst.is_ipv4();
    let (service, port) = (found.service, found.port);
    let endpoints = collect(cluster, node, service, port, v4);
    // 4.1
    let has = |addresses: &[IpAddr]| addresses.iter().any(|address| address.is_ipv4() == v4);
    let external = port.node_port.is_some()
        || has(&service.vips)
        || has(&service.external_ips) && !config.no_external_ips;
    let uses_cluster = !service.internal_local || external;
    let uses_local =
        service.internal_local || service.external_local(config.no_external_ips) && external;
    let sets = categorise(
        &endpoints,
        node,
        !config.no_node_hints,
        uses_cluster,
        uses_local,
    );
    let silent = found.refusals_only && sets.any;
    (!silent).then_some((found, endpoints, sets))
}

/// Steps 1 and 3 to 6.
fn serve(
    config: &Config,
    node: &Node,
    flow: &Flow,
    found: &Match<'_>,
    sets: &Sets,
    class: Class,
) -> (Verdict, Reason, Vec<SocketAddr>) {
    let ranges_hold = config.profile == Profile::Nftables || sets.any;
    if found.vip && ranges_hold && !in_ranges(config, node, flow, found) {
        return (Verdict::Drop, Reason::OutOfRange, Vec::new());
    }
    if !sets.any {
        return (Verdict::Reject, Reason::NoEndpoints, Vec::new());
    }
    let local = if found.internal {
        found.service.internal_local
    } else {
        // 4.4: pods of this node and the node itself reach the whole cluster.
        found.service.external_local(config.no_external_ips) && class == Class::Other
    };
    let set = if local { &sets.local } else { &sets.cluster };
    if set.is_empty() {
        return (Verdict::Drop, Reason::NoLocalEndpoints, Vec::new());
    }
    (Verdict::Dnat, Reason::Served, set.clone())
}

/// 4.7: the source is in a range of its family, if there are any.
fn in_ranges(config: &Config, node: &Node, flow: &Flow, found: &Match<'_>) -> bool {
    let ranges: Vec<&Net> = found
        .service
        .ranges
        .iter()
        .filter(|range| range.v4() == flow.src.is_ipv4())
        .collect();
    let allowed = |address: IpAddr| ranges.iter().any(|range| range.contains(address));
    // The node is allowed: so is a client with a virtual address of the Service, which the node uses as its source.
    let node_allowed = config.primary(node, flow.src).is_some_and(allowed);
    ranges.is_empty() || allowed(flow.src) || node_allowed && found.service.vips.contains(&flow.src)
}

/// Step 8.
fn unmatched(cluster: &Cluster, config: &Config, dst: IpAddr) -> (Verdict, Reason) {
    if config.profile == Profile::Iptables {
        (Verdict::Pass, Reason::NoService)
    } else if is_cluster_ip(cluster, dst) {
        (Verdict::Reject, Reason::UnknownPort)
    } else if cluster.service_nets.iter().any(|net| net.contains(dst))
        && !is_external(cluster, config, dst)
    {
        (Verdict::Drop, Reason::UnallocatedAddress)
    } else {
        (Verdict::Pass, Reason::NoService)
    }
}

fn class(config: &Config, flow: &Flow, from: From) -> Class {
    let pod = match &config.detect {
        Detect::Device => from == From::Pod,
        Detect::Source(source) => source.knows(flow.src),
    };
    match from {
        From::Host => Class::Host,
        _ if pod => Class::LocalPod,
        _ => Class::Other,
    }
}

/// Section 9.2, or kube-shunt's own rule: only where answers would not return otherwise.
fn masquerade(
    config: &Config,
    flow: &Flow,
    from: From,
    class: Class,
    found: &Match<'_>,
    backends: &[SocketAddr],
    endpoints: &Endpoints,
) -> bool {
    let hairpin = backends.iter().any(|backend| backend.ip() == flow.src);
    let everybody = found.internal && config.masquerade_all;
    if hairpin || everybody {
        return true;
    }
    if !config.like_kube_proxy {
        let elsewhere = |backend| {
            endpoints
                .get(backend)
                .is_some_and(|endpoint| !endpoint.local)
        };
        return from == From::Outside && backends.iter().any(elsewhere);
    }
    let detects = match &config.detect {
        Detect::Device => true,
        Detect::Source(source) => source.works(flow.src),
    };
    if found.internal {
        detects && class != Class::LocalPod
    } else if found.service.external_local(config.no_external_ips) {
        class == Class::Host
    } else {
        true
    }
}
