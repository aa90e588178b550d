//! SEMANTICS section 22 over the raw objects, as plain as can be. Shares no code with the planner; slow, and meant to be obvious.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use proxy_model::{Policy, raw};

use crate::oracle_rules::how_to_choose;
use crate::words::NODE;

/// The objects of a cluster, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) services: BTreeMap<String, raw::Service>,
    pub(crate) slices: BTreeMap<String, raw::EndpointSlice>,
    pub(crate) zone: String,
    /// Node addresses and pod ranges, in words.
    pub(crate) node: String,
    pub(crate) cidrs: BTreeMap<String, String>,
    pub(crate) policy: Policy,
}

/// Frontend to what becomes of connections from inside, outside and the host, and to its other rules in words.
pub(crate) type Outcomes = BTreeMap<String, [String; 4]>;

#[expect(clippy::struct_excessive_bools, reason = "the API's own words")]
#[derive(Clone, Debug)]
struct Known {
    ready: bool,
    serving: bool,
    terminating: bool,
    local: bool,
    hints: raw::Hints,
}

impl World {
    pub(crate) fn outcomes(&self) -> Outcomes {
        let mut services: Vec<&raw::Service> = self.services.values().collect();
        services.sort_by_key(|service| {
            let created = service.metadata.creation_timestamp.clone();
            (created.is_none(), created, service.metadata.name.clone())
        });
        let mut outcomes = Outcomes::new();
        for service in services {
            for port in &service.spec.ports {
                for is_v6 in [false, true] {
                    for (frontend, outcome) in self.port(service, port, is_v6) {
                        outcomes.entry(frontend).or_insert(outcome);
                    }
                }
            }
        }
        outcomes
    }

    fn port(
        &self,
        service: &raw::Service,
        port: &raw::ServicePort,
        is_v6: bool,
    ) -> Vec<(String, [String; 4])> {
        let spec = &service.spec;
        let family = |ips: &[String]| -> Vec<IpAddr> {
            ips.iter()
                .map(|ip| ip.parse().unwrap())
                .filter(|ip: &IpAddr| ip.is_ipv6() == is_v6)
                .collect()
        };
        let Some(cluster_ip) = family(&spec.cluster_ips).first().copied() else {
            return Vec::new();
        };
        let lb_ips: Vec<String> = service
            .status
            .load_balancer
            .ingress
            .iter()
            .map(|ingress| ingress.ip.clone())
            .collect();
        let external_ips: &[String] = if self.policy.ignore_external_ips {
            &[]
        } else {
            &spec.external_ips
        };
        let lb_ips = family(&lb_ips);
        let external: Vec<IpAddr> = family(external_ips)
            .into_iter()
            .chain(lb_ips.iter().copied())
            .collect();

        let all = self.endpoints(&service.metadata.name, port, is_v6);
        let cluster = cluster_endpoints(&all, &self.zone, !self.policy.ignore_node_hints);
        let local = local_endpoints(&all);
        let has_endpoints = all
            .values()
            .any(|known| known.ready || known.serving && known.terminating);
        let outcome = |set: &BTreeSet<SocketAddr>| match (has_endpoints, set.is_empty()) {
            (false, _) => "reject".to_owned(),
            (true, true) => "drop".to_owned(),
            (true, false) => set
                .iter()
                .map(SocketAddr::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        };
        let (cluster, local) = (outcome(&cluster), outcome(&local));

        let internal = if spec.internal_traffic_policy == "Local" {
            &local
        } else {
            &cluster
        };
        let honoured = matches!(spec.service_type.as_str(), "NodePort" | "LoadBalancer")
            || !external_ips.is_empty();
        let outside = if spec.external_traffic_policy == "Local" && honoured {
            &local
        } else {
            &cluster
        };
        let local_policy = spec.external_traffic_policy == "Local" && honoured;
        let rules = |ip: Option<IpAddr>, is_external: bool| {
            let masquerade = self.masquerade(is_external, local_policy, is_v6);
            let ranges = ip
                .filter(|ip| lb_ips.contains(ip))
                .and_then(|_| self.ranges(spec, &lb_ips, is_v6, has_endpoints));
            let kind = (!is_external).then(|| "cluster-ip".to_owned());
            let choice = how_to_choose(service, self.policy.algorithm);
            let words = [kind, ranges, masquerade, choice];
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        let protocol = &port.protocol;
        let socket = |ip| format!("{}/{protocol}", SocketAddr::new(ip, number(port.port)));
        let [i, o, h] = [internal, internal, internal].map(Clone::clone);
        let mut frontends = vec![(
            socket(cluster_ip),
            [i, o, h, rules(Some(cluster_ip), false)],
        )];
        let [i, o, h] = [&cluster, outside, &cluster].map(Clone::clone);
        let outcome = |ip| [i.clone(), o.clone(), h.clone(), rules(ip, true)];
        if port.node_port != 0 {
            let any = if is_v6 { "[*]" } else { "*" };
            frontends.push((
                format!("{any}:{}/{protocol}", port.node_port),
                outcome(None),
            ));
        }
        for ip in external {
            frontends.push((socket(ip), outcome(Some(ip))));
        }
        frontends
    }

    fn endpoints(
        &self,
        service: &str,
        port: &raw::ServicePort,
        is_v6: bool,
    ) -> BTreeMap<SocketAddr, Known> {
        let mut all: BTreeMap<SocketAddr, Known> = BTreeMap::new();
        for slice in self.slices.values() {
            let of_service = slice
                .metadata
                .labels
                .get("kubernetes.io/service-name")
                .is_some_and(|name| name == service);
            if !of_service || (slice.address_type == "IPv6") != is_v6 {
                continue;
            }
            for slice_port in &slice.ports {
                if slice_port.name.as_ref() != Some(&port.name)
                    || slice_port.protocol.as_ref() != Some(&port.protocol)
                {
                    continue;
                }
                for endpoint in &slice.endpoints {
                    let addr = SocketAddr::new(
                        endpoint.addresses[0].parse().unwrap(),
                        number(slice_port.port.unwrap()),
                    );
                    let known = Known {
                        ready: endpoint.conditions.ready != Some(false),
                        serving: endpoint.conditions.serving != Some(false),
                        terminating: endpoint.conditions.terminating == Some(true),
                        local: endpoint.node_name.as_deref() == Some(NODE),
                        hints: endpoint.hints.clone(),
                    };
                    if !(all.contains_key(&addr) && known.terminating) {
                        all.insert(addr, known);
                    }
                }
            }
        }
        all
    }
}

fn number(port: i64) -> u16 {
    port.try_into().unwrap()
}

fn cluster_endpoints(
    all: &BTreeMap<SocketAddr, Known>,
    zone: &str,
    node_hints: bool,
) -> BTreeSet<SocketAddr> {
    let ready: Vec<(&SocketAddr, &Known)> = all.iter().filter(|(_, known)| known.ready).collect();
    if ready.is_empty() {
        let dying = all
            .iter()
            .filter(|(_, known)| known.serving && known.terminating);
        return dying.map(|(addr, _)| *addr).collect();
    }
    let names = |hints: &[raw::Hint], wanted: &str| hints.iter().any(|hint| hint.name == wanted);
    let node_mode = node_hints
        && ready
            .iter()
            .all(|(_, known)| !known.hints.for_nodes.is_empty())
        && ready
            .iter()
            .any(|(_, known)| names(&known.hints.for_nodes, NODE));
    let zone_mode = ready
        .iter()
        .all(|(_, known)| !known.hints.for_zones.is_empty())
        && ready
            .iter()
            .any(|(_, known)| names(&known.hints.for_zones, zone));
    let allowed = |known: &Known| {
        if node_mode {
            names(&known.hints.for_nodes, NODE)
        } else {
            !zone_mode || names(&known.hints.for_zones, zone)
        }
    };
    ready
        .into_iter()
        .filter(|(_, known)| allowed(known))
        .map(|(addr, _)| *addr)
        .collect()
}

fn local_endpoints(all: &BTreeMap<SocketAddr, Known>) -> BTreeSet<SocketAddr> {
    let local = |pick: fn(&Known) -> bool| -> BTreeSet<SocketAddr> {
        all.iter()
            .filter(|(_, known)| known.local && pick(known))
            .map(|(addr, _)| *addr)
            .collect()
    };
    let ready = local(|known| known.ready);
    if ready.is_empty() {
        local(|known| known.serving && known.terminating)
    } else {
        ready
    }
}
