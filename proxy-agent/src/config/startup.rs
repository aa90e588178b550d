//! kube-proxy's start-up warnings (SEMANTICS 15): settings that are allowed and rarely meant.

use std::net::IpAddr;

use tokio::sync::watch;

use super::kube_proxy::{KubeProxyConfiguration, Mode};
use super::{Config, go};
use crate::objects::NodeFacts;
use crate::tasks::Shutdown;

/// Checks the settings against the node once it is known. Ends with an error where kube-proxy does.
pub async fn check(
    config: Config,
    mut node: watch::Receiver<Option<NodeFacts>>,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    let known = tokio::select! {
        () = shutdown.requested() => return Ok(()),
        known = node.wait_for(Option::is_some) => known.ok().and_then(|facts| facts.clone()),
    };
    if let Some(NodeFacts {
        addresses,
        pod_cidrs,
        ..
    }) = known
    {
        let primary = config.policy.node_ip.or_else(|| addresses.first().copied());
        let view = NodeView {
            primary_ipv4: primary.is_none_or(|ip| ip.is_ipv4()),
            dual_stack: has_ipv6(),
            pod_cidrs,
        };
        let warnings = families(&config.resolved.kube_proxy, &view).map_err(anyhow::Error::msg)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
    }
    shutdown.requested().await;
    Ok(())
}

/// Whether IPv6 works on this host; IPv4 always does (SEMANTICS 13.3).
fn has_ipv6() -> bool {
    let off = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    std::path::Path::new("/proc/net/if_inet6").exists() && off.is_ok_and(|off| off.trim() != "1")
}

/// What is known of the node when the checks run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeView {
    /// The primary IP family is IPv4.
    pub primary_ipv4: bool,
    /// Both families work on this host.
    pub dual_stack: bool,
    /// The Node's `spec.podCIDRs`.
    pub pod_cidrs: Vec<String>,
}

/// Warnings that need no node.
pub(crate) fn warnings(config: &KubeProxyConfiguration) -> Vec<String> {
    let unset = config.node_port_addresses.is_empty() && config.mode() != Some(Mode::Nftables);
    let text = "nodePortAddresses is not set: NodePorts are served on all local addresses; consider primary";
    unset.then(|| text.to_owned()).into_iter().collect()
}

/// Warnings about families. `Err` is what kube-proxy ends with.
pub(crate) fn families(
    config: &KubeProxyConfiguration,
    node: &NodeView,
) -> Result<Vec<String>, String> {
    let NodeView {
        primary_ipv4,
        dual_stack,
        pod_cidrs,
    } = node;
    let (primary, other) = if *primary_ipv4 {
        ("IPv4", "IPv6")
    } else {
        ("IPv6", "IPv4")
    };
    let kind = format!("{primary}-{}", if *dual_stack { "primary" } else { "only" });
    let mut warnings = Vec::new();
    let cluster: Vec<String> = config.cluster_cidrs().map(str::to_owned).collect();
    warnings.extend(node_ports(config, &cluster, *primary_ipv4, pod_cidrs));
    let wrong = |name: &str| format!("the node is {kind}, but {name} has only {other} addresses");
    if all_of(&cluster, !primary_ipv4) {
        let by_cluster = matches!(config.detect_local_mode.as_str(), "" | "ClusterCIDR");
        if by_cluster && !dual_stack {
            return Err(wrong("clusterCIDR"));
        }
        warnings.push(wrong("clusterCIDR"));
    }
    if all_of(pod_cidrs, !primary_ipv4) {
        if config.detect_local_mode == "NodeCIDR" {
            return Err(wrong("the Node's spec.podCIDRs"));
        }
        warnings.push(wrong("the Node's spec.podCIDRs"));
    }
    for (name, address) in [
        ("healthzBindAddress", &config.healthz_bind_address),
        ("metricsBindAddress", &config.metrics_bind_address),
    ] {
        let ip = go::socket_address(address, 1).map(|address| address.ip());
        let foreign = ip.is_some_and(|ip| ip.is_ipv4() != *primary_ipv4 && !ip.is_unspecified());
        if foreign && !dual_stack {
            warnings.push(format!(
                "the node is {kind}, but {name} is an {other} address"
            ));
        }
    }
    Ok(warnings)
}

/// A family that nodePortAddresses leaves out is served on all its addresses (SEMANTICS 3.1).
fn node_ports(
    config: &KubeProxyConfiguration,
    cluster: &[String],
    primary_ipv4: bool,
    pod_cidrs: &[String],
) -> Option<String> {
    let ports = &config.node_port_addresses;
    let families: Option<Vec<bool>> = ports
        .iter()
        .map(|text| go::network(text).map(|(ip, _)| ip.is_ipv4()))
        .collect();
    let families = families.filter(|families| !families.is_empty())?;
    let name = |ipv4: bool| if ipv4 { "IPv4" } else { "IPv6" };
    let (primary, other) = (name(primary_ipv4), name(!primary_ipv4));
    let dual = [cluster, pod_cidrs, &config.ipvs.exclude_cidrs, ports]
        .iter()
        .any(|networks| both(networks));
    if !families.contains(&primary_ipv4) {
        return Some(format!(
            "nodePortAddresses has only {other} networks: NodePorts are served on all local {primary} addresses"
        ));
    }
    let one_only = dual && !families.contains(&!primary_ipv4);
    one_only.then(|| format!("nodePortAddresses has only {primary} networks: NodePorts are served on all local {other} addresses"))
}

fn family(network: &str) -> Option<IpAddr> {
    go::network(network).map(|(ip, _)| ip)
}

fn all_of(networks: &[String], ipv4: bool) -> bool {
    !networks.is_empty()
        && networks
            .iter()
            .all(|network| family(network).is_some_and(|ip| ip.is_ipv4() == ipv4))
}

fn both(networks: &[String]) -> bool {
    let has = |ipv4: bool| {
        networks
            .iter()
            .filter_map(|network| family(network))
            .any(|ip| ip.is_ipv4() == ipv4)
    };
    has(true) && has(false)
}
