//! core/v1 Service to [`Service`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Problems, address, is_others, networks, port_number, protocol, time};
use crate::error::ObjectErrorKind;
use crate::policy::{Algorithm, Policy};
use crate::raw;
use crate::service::{Service, ServicePort};

/// API default of sessionAffinityConfig.clientIP.timeoutSeconds.
const AFFINITY_SECONDS: u32 = 10_800;
/// The API's limit for it: a day.
const MAX_AFFINITY_SECONDS: u32 = 86_400;
/// How backends are chosen; not of the API, ours.
const ALGORITHM: &str = "kube-shunt.io/algorithm";

/// The Service, or `None` if it is not ours to serve (SEMANTICS 1.2, 1.3) or nothing of it is usable.
pub(crate) fn service(
    raw: raw::Service,
    policy: &Policy,
    problems: &mut Problems,
) -> Option<Service> {
    let raw::Service {
        metadata,
        spec,
        status,
    } = raw;
    if is_others(&metadata) || is_headless(&spec) || spec.service_type == "ExternalName" {
        return None;
    }
    let cluster_ips = cluster_ips(&spec, problems);
    // SEMANTICS 2.3.
    let external_ips = if policy.ignore_external_ips {
        &[]
    } else {
        &*spec.external_ips
    };
    let external_ips = addresses(
        "spec.externalIPs",
        external_ips.iter().map(String::as_str),
        problems,
    );
    let captured = status
        .load_balancer
        .ingress
        .iter()
        .filter(|ingress| is_captured(ingress));
    let load_balancer_ips = addresses(
        "status.loadBalancer.ingress.ip",
        captured.map(|ingress| ingress.ip.as_str()),
        problems,
    );
    let ports = ports(spec.ports, problems);
    if ports.is_empty() {
        problems.add(ObjectErrorKind::NoPorts);
    }
    // SEMANTICS 2.12.
    let external = matches!(spec.service_type.as_str(), "NodePort" | "LoadBalancer")
        || !external_ips.is_empty();
    let external_local = is_local(
        "spec.externalTrafficPolicy",
        spec.external_traffic_policy,
        problems,
    ) && external;
    let checked = external_local && spec.service_type == "LoadBalancer";
    let service = Service {
        uid: metadata.uid.into(),
        created: metadata
            .creation_timestamp
            .as_deref()
            .and_then(time::seconds)
            .unwrap_or(i64::MAX),
        affinity_seconds: affinity(
            &spec.session_affinity,
            &spec.session_affinity_config,
            problems,
        ),
        internal_local: is_local(
            "spec.internalTrafficPolicy",
            spec.internal_traffic_policy,
            problems,
        ),
        external_local,
        source_ranges: networks(
            "spec.loadBalancerSourceRanges",
            &spec.load_balancer_source_ranges,
            problems,
        ),
        health_check_port: if checked {
            health_check_port(spec.health_check_node_port, problems)
        } else {
            0
        },
        algorithm: metadata
            .annotations
            .get(ALGORITHM)
            .and_then(|name| algorithm(name, problems)),
        cluster_ips,
        external_ips,
        load_balancer_ips,
        ports,
    };
    (!service.ports.is_empty() && !service.cluster_ips.is_empty()).then_some(service)
}

fn is_headless(spec: &raw::ServiceSpec) -> bool {
    spec.cluster_ip == "None"
        || spec.cluster_ips.iter().any(|ip| ip == "None")
        || spec.cluster_ip.is_empty() && spec.cluster_ips.is_empty()
}

/// The first address of each family; older objects have only `clusterIP` (SEMANTICS 2.4).
fn cluster_ips(spec: &raw::ServiceSpec, problems: &mut Problems) -> Box<[IpAddr]> {
    let texts = if spec.cluster_ips.is_empty() {
        std::slice::from_ref(&spec.cluster_ip)
    } else {
        &spec.cluster_ips
    };
    let mut ips: Vec<IpAddr> = Vec::new();
    for ip in texts
        .iter()
        .filter_map(|text| address("spec.clusterIPs", text, problems))
    {
        if !ips.iter().any(|known| known.is_ipv4() == ip.is_ipv4()) {
            ips.push(ip);
        }
    }
    ips.into()
}

fn addresses<'a>(
    field: &'static str,
    texts: impl Iterator<Item = &'a str>,
    problems: &mut Problems,
) -> Box<[IpAddr]> {
    let mut ips: Vec<IpAddr> = texts
        .filter_map(|text| address(field, text, problems))
        .collect();
    ips.sort_unstable();
    ips.dedup();
    ips.into()
}

/// SEMANTICS 2.2. An entry without IP has only a host name, which is fine.
fn is_captured(ingress: &raw::LoadBalancerIngress) -> bool {
    !ingress.ip.is_empty()
        && ingress
            .ip_mode
            .as_deref()
            .is_none_or(|mode| mode != "Proxy")
}

/// SEMANTICS 2.11: a Service that needs the port and has none is an error.
fn health_check_port(number: i64, problems: &mut Problems) -> u16 {
    port_number(number).unwrap_or_else(|| {
        problems.add(ObjectErrorKind::HealthCheckPort(number));
        0
    })
}

fn algorithm(name: &str, problems: &mut Problems) -> Option<Algorithm> {
    let known = Algorithm::named(name);
    if known.is_none() {
        problems.add(ObjectErrorKind::UnknownAlgorithm(name.to_owned()));
    }
    known
}

fn ports(raw: Vec<raw::ServicePort>, problems: &mut Problems) -> Box<[ServicePort]> {
    let mut ports: Vec<ServicePort> = Vec::with_capacity(raw.len());
    let mut names = BTreeSet::new();
    for raw::ServicePort {
        name,
        protocol: protocol_name,
        port: number,
        node_port,
    } in raw
    {
        let Some(proto) = protocol(&protocol_name) else {
            problems.add(ObjectErrorKind::UnknownProtocol {
                port: name,
                protocol: protocol_name,
            });
            continue;
        };
        let Some(port) = port_number(number) else {
            problems.add(ObjectErrorKind::PortOutOfRange { port: name, number });
            continue;
        };
        if !names.insert((name.clone(), proto)) {
            problems.add(ObjectErrorKind::DuplicatePort(name));
            continue;
        }
        let node_port = u16::try_from(node_port).unwrap_or_else(|_| {
            problems.add(ObjectErrorKind::NodePortOutOfRange {
                port: name.clone(),
                number: node_port,
            });
            0
        });
        ports.push(ServicePort {
            name: name.into(),
            proto,
            port,
            node_port,
        });
    }
    ports.into()
}

fn is_local(field: &'static str, policy: String, problems: &mut Problems) -> bool {
    match policy.as_str() {
        "Local" => true,
        "" | "Cluster" => false,
        _ => {
            problems.add(ObjectErrorKind::UnknownPolicy { field, policy });
            false
        }
    }
}

fn affinity(kind: &str, config: &raw::SessionAffinityConfig, problems: &mut Problems) -> u32 {
    match (kind, config.client_ip.timeout_seconds) {
        ("ClientIP", None) => AFFINITY_SECONDS,
        ("ClientIP", Some(seconds)) => match u32::try_from(seconds) {
            Ok(seconds) if (1..=MAX_AFFINITY_SECONDS).contains(&seconds) => seconds,
            _ => {
                problems.add(ObjectErrorKind::AffinityTimeout(seconds));
                AFFINITY_SECONDS
            }
        },
        ("" | "None", _) => 0,
        (unknown, _) => {
            problems.add(ObjectErrorKind::UnknownAffinity(unknown.to_owned()));
            0
        }
    }
}
