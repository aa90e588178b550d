//! Objects written in words.

use proxy_model::raw;

/// The node of all tests.
pub(crate) const NODE: &str = "node-a";

/// A Service `default/<name>` from words: `ClusterIP`, `NodePort`, ... is the type; `ip=`, `external=`, `lb=`, `proxy-lb=`,
/// `port=name/TCP/80/30080`, `itp`, `etp` (Local policies), `affinity=60`, `created=2026-...`, `label=key`,
/// `ranges=`, `algorithm=`, `check=` (healthCheckNodePort).
pub(crate) fn service(name: &str, words: &str) -> raw::Service {
    let mut service = raw::Service::default();
    name.clone_into(&mut service.metadata.name);
    "default".clone_into(&mut service.metadata.namespace);
    service.metadata.uid = format!("uid-of-{name}");
    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let spec = &mut service.spec;
        let ingress = |ip_mode: Option<&str>| raw::LoadBalancerIngress {
            ip: value.to_owned(),
            ip_mode: ip_mode.map(str::to_owned),
        };
        match key {
            "ip" => spec.cluster_ips.push(value.to_owned()),
            "external" => spec.external_ips.push(value.to_owned()),
            "lb" => service.status.load_balancer.ingress.push(ingress(None)),
            "vip-lb" => service
                .status
                .load_balancer
                .ingress
                .push(ingress(Some("VIP"))),
            "proxy-lb" => service
                .status
                .load_balancer
                .ingress
                .push(ingress(Some("Proxy"))),
            "port" => spec.ports.push(port(value)),
            "itp" => "Local".clone_into(&mut spec.internal_traffic_policy),
            "etp" => "Local".clone_into(&mut spec.external_traffic_policy),
            "affinity" => {
                "ClientIP".clone_into(&mut spec.session_affinity);
                spec.session_affinity_config.client_ip.timeout_seconds = value.parse().ok();
            }
            "ranges" => spec.load_balancer_source_ranges.push(value.to_owned()),
            "check" => spec.health_check_node_port = value.parse().unwrap(),
            "algorithm" => {
                let name = "kube-shunt.io/algorithm".to_owned();
                service.metadata.annotations.insert(name, value.to_owned());
            }
            "created" => service.metadata.creation_timestamp = Some(value.to_owned()),
            "label" => drop(
                service
                    .metadata
                    .labels
                    .insert(value.to_owned(), String::new()),
            ),
            service_type => service_type.clone_into(&mut spec.service_type),
        }
    }
    if let Some(ip) = service.spec.cluster_ips.first() {
        ip.clone_into(&mut service.spec.cluster_ip);
    }
    service
}

fn port(words: &str) -> raw::ServicePort {
    let mut words = words.split('/');
    let mut next = || words.next().unwrap_or_default();
    raw::ServicePort {
        name: next().to_owned(),
        protocol: next().to_owned(),
        port: next().parse().unwrap(),
        node_port: next().parse().unwrap_or(0),
    }
}

/// A slice `default/<name>` of `default/<service>`: ports as `name/TCP/8080`, endpoints as for [`endpoint`].
pub(crate) fn slice(
    service: &str,
    name: &str,
    ports: &str,
    endpoints: &[&str],
) -> raw::EndpointSlice {
    let mut slice = raw::EndpointSlice::default();
    name.clone_into(&mut slice.metadata.name);
    "default".clone_into(&mut slice.metadata.namespace);
    slice
        .metadata
        .labels
        .insert("kubernetes.io/service-name".to_owned(), service.to_owned());
    slice.endpoints = endpoints.iter().map(|words| endpoint(words)).collect();
    let is_v6 = slice
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.addresses)
        .any(|addr| addr.contains(':'));
    let family = if is_v6 { "IPv6" } else { "IPv4" };
    family.clone_into(&mut slice.address_type);
    slice.ports = ports
        .split_whitespace()
        .map(|words| {
            let raw::ServicePort {
                name,
                protocol,
                port,
                ..
            } = port(words);
            raw::EndpointPort {
                name: Some(name),
                protocol: Some(protocol),
                port: Some(port),
            }
        })
        .collect();
    slice
}

/// An endpoint from words: its address, then `here` (on our node), `unready`, `not-serving`, `terminating` (which is not ready),
/// `zone=`, `node=` (hints).
pub(crate) fn endpoint(words: &str) -> raw::Endpoint {
    let mut words = words.split_whitespace();
    let mut endpoint = raw::Endpoint::default();
    endpoint.addresses.extend(words.next().map(str::to_owned));
    endpoint.node_name = Some("node-b".to_owned());
    for word in words {
        let hint = |name: &str| raw::Hint {
            name: name.to_owned(),
        };
        match word.split_once('=').unwrap_or((word, "")) {
            ("here", _) => endpoint.node_name = Some(NODE.to_owned()),
            ("unready", _) => endpoint.conditions.ready = Some(false),
            ("not-serving", _) => endpoint.conditions.serving = Some(false),
            ("terminating", _) => {
                endpoint.conditions.ready = Some(false);
                endpoint.conditions.terminating = Some(true);
            }
            ("ready", _) => endpoint.conditions.ready = Some(true),
            ("zone", name) => endpoint.hints.for_zones.push(hint(name)),
            ("node", name) => endpoint.hints.for_nodes.push(hint(name)),
            (word, _) => panic!("unknown word {word}"),
        }
    }
    endpoint
}

/// Our Node: words with a slash are pod ranges, others internal addresses.
pub(crate) fn node(zone: &str, words: &str) -> raw::Node {
    let mut node = raw::Node::default();
    NODE.clone_into(&mut node.metadata.name);
    node.metadata
        .labels
        .insert("topology.kubernetes.io/zone".to_owned(), zone.to_owned());
    for word in words.split_whitespace() {
        if word.contains('/') {
            node.spec.pod_cidrs.push(word.to_owned());
        } else {
            node.status.addresses.push(raw::NodeAddress {
                address_type: "InternalIP".to_owned(),
                address: word.to_owned(),
            });
        }
    }
    node
}
