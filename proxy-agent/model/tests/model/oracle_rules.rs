//! The oracle's part about who may connect, who is masqueraded, and what addresses are (SEMANTICS 4.7, 4.10, 9.2, 9.4).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use proxy_model::policy::{Algorithm, DetectLocal, Profile, SourceIp};
use proxy_model::raw;

use crate::oracle::World;

/// The bits of an address, from the front, and how many there are.
fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    }
}

fn network(text: &str) -> (IpAddr, u32) {
    let (ip, length) = text.split_once('/').unwrap();
    (ip.parse().unwrap(), length.parse().unwrap())
}

fn holds(range: &str, ip: IpAddr) -> bool {
    let (of, length) = network(range);
    let rest = |ip| bits(ip).0.checked_shr(128 - length).unwrap_or(0);
    of.is_ipv6() == ip.is_ipv6() && rest(of) == rest(ip)
}

impl World {
    fn node_ip(&self, is_v6: bool) -> IpAddr {
        let of_node = self
            .node
            .split_whitespace()
            .filter_map(|word| word.parse().ok());
        let mut known = self.policy.node_ip.into_iter().chain(of_node);
        let unknown = if is_v6 { "::1" } else { "127.0.0.1" };
        known
            .find(|ip: &IpAddr| ip.is_ipv6() == is_v6)
            .unwrap_or_else(|| unknown.parse().unwrap())
    }

    pub(crate) fn ranges(
        &self,
        spec: &raw::ServiceSpec,
        lb_ips: &[IpAddr],
        is_v6: bool,
        has_endpoints: bool,
    ) -> Option<String> {
        let of_family = |range: &&String| network(range).0.is_ipv6() == is_v6;
        let mut ranges: Vec<String> = spec
            .load_balancer_source_ranges
            .iter()
            .filter(of_family)
            .cloned()
            .collect();
        if ranges.is_empty() || self.policy.profile == Profile::Iptables && !has_endpoints {
            return None;
        }
        let here = ranges.iter().any(|range| holds(range, self.node_ip(is_v6)));
        if here {
            ranges.extend(lb_ips.iter().map(|ip| format!("{ip}/{}", bits(*ip).1)));
        }
        ranges.sort();
        ranges.dedup();
        let host = if here { "" } else { " host-denied" };
        Some(format!("ranges={}{host}", ranges.join(",")))
    }

    pub(crate) fn masquerade(&self, external: bool, local: bool, is_v6: bool) -> Option<String> {
        let exact = self.policy.source_ip == SourceIp::KubeProxy;
        let detects = match &self.policy.detect_local {
            DetectLocal::Device | DetectLocal::Interface => true,
            DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr => {
                self.local_range(is_v6).is_some()
            }
        };
        let who = match (external, local) {
            (false, _) if self.policy.masquerade_all => "ioh",
            (false, _) if exact && detects => "oh",
            (true, false) if exact => "ioh",
            (true, true) if exact => "h",
            _ => return None,
        };
        Some(format!("masquerade={who}"))
    }

    fn local_range(&self, is_v6: bool) -> Option<String> {
        let mut ranges: Vec<String> = match &self.policy.detect_local {
            DetectLocal::ClusterCidr(ranges) => ranges
                .iter()
                .map(|(ip, length)| format!("{ip}/{length}"))
                .collect(),
            DetectLocal::NodeCidr => self
                .node
                .split_whitespace()
                .filter(|word| word.contains('/'))
                .map(str::to_owned)
                .collect(),
            DetectLocal::Device | DetectLocal::Interface => Vec::new(),
        };
        ranges.retain(|range| network(range).0.is_ipv6() == is_v6);
        ranges.into_iter().next()
    }

    /// What CIDRS should hold: the local range, then the `ServiceCIDR`s.
    pub(crate) fn cidrs(&self, is_v6: bool) -> (Option<String>, Vec<String>) {
        let services = self
            .cidrs
            .values()
            .flat_map(|words| words.split_whitespace());
        let mut services: Vec<String> = services
            .filter(|_| self.policy.profile == Profile::Nftables)
            .filter(|range| network(range).0.is_ipv6() == is_v6)
            .map(str::to_owned)
            .collect();
        services.sort();
        services.dedup();
        (self.local_range(is_v6), services)
    }

    /// What ADDRS should say.
    pub(crate) fn addresses(&self) -> BTreeMap<IpAddr, String> {
        let mut known: BTreeMap<IpAddr, (bool, bool)> = BTreeMap::new();
        for (frontend, outcome) in self.outcomes() {
            let (socket, _) = frontend.rsplit_once('/').unwrap();
            if let Ok(socket) = socket.parse::<SocketAddr>() {
                let (live, cluster_ip) = known.entry(socket.ip()).or_default();
                *live |= outcome[1] != "reject";
                *cluster_ip |= outcome[3].starts_with("cluster-ip");
            }
        }
        let nftables = self.policy.profile == Profile::Nftables;
        known
            .into_iter()
            .map(|(ip, (live, cluster_ip))| {
                let reject = if nftables && cluster_ip {
                    "reject "
                } else {
                    ""
                };
                let echo = if live { "echo " } else { "" };
                (ip, format!("virtual {reject}{echo}"))
            })
            .collect()
    }
}

/// Affinity and algorithm, in words.
pub(crate) fn how_to_choose(service: &raw::Service, default: Algorithm) -> Option<String> {
    let spec = &service.spec;
    let affinity = (spec.session_affinity == "ClientIP").then(|| {
        let timeout = spec.session_affinity_config.client_ip.timeout_seconds;
        format!("affinity={}", timeout.unwrap_or(10_800))
    });
    let named = service.metadata.annotations.get("kube-shunt.io/algorithm");
    let default = match default {
        Algorithm::Random => "random",
        Algorithm::RoundRobin => "round-robin",
        Algorithm::Maglev => "maglev",
        Algorithm::LeastConnections => "least-connections",
    };
    let algorithm = named.map_or(default, String::as_str);
    let algorithm = (algorithm != "random").then(|| algorithm.to_owned());
    let words: Vec<String> = [affinity, algorithm].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(" "))
}
