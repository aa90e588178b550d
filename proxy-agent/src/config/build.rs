//! From complete documents to the types that the rest of the agent works with. Values were checked before.

use std::path::PathBuf;
use std::time::Duration;

use proxy_kernel::{Capacities, DeviceOverrides, LocalDetector, NamePattern, NodePortAddresses};
use proxy_model::Policy;
use proxy_model::policy::{Algorithm, DetectLocal, Network, Profile, SourceIp};

use super::kube_proxy::{KubeProxyConfiguration, Mode};
use super::kube_shunt::{KubeShuntConfiguration, xdp_devices};
use super::resolve::Resolved;
use super::{ConntrackConfig, WatchConfig, algorithm, go};

/// What holds for all Services.
pub(crate) fn policy(resolved: &Resolved) -> Policy {
    let Resolved {
        kube_proxy,
        kube_shunt,
        ..
    } = resolved;
    Policy {
        profile: match kube_proxy.mode() {
            Some(Mode::Iptables) => Profile::Iptables,
            _ => Profile::Nftables,
        },
        detect_local: detect_local(kube_proxy, &kube_shunt.local_detector),
        masquerade_all: kube_proxy.mode_settings().masquerade_all,
        source_ip: match kube_shunt.source_ip.as_str() {
            "kube-proxy" => SourceIp::KubeProxy,
            _ => SourceIp::Preserve,
        },
        algorithm: chosen_algorithm(kube_proxy, &kube_shunt.algorithm),
        ignore_external_ips: !kube_proxy.gate("AllowServiceExternalIPs"),
        ignore_node_hints: !kube_proxy.gate("PreferSameTrafficDistribution"),
        node_ip: kube_proxy.node_ip(),
    }
}

/// kube-proxy without a detectLocalMode means `ClusterCIDR`, which knows nobody without a clusterCIDR. There we look at devices.
fn detect_local(kube_proxy: &KubeProxyConfiguration, detector: &str) -> DetectLocal {
    let by_cidr = || DetectLocal::ClusterCidr(first_of_each_family(kube_proxy));
    match (detector, kube_proxy.detect_local_mode.as_str()) {
        ("device", _) => DetectLocal::Device,
        ("auto", "") if kube_proxy.cluster_cidr.is_empty() => DetectLocal::Device,
        (_, "NodeCIDR") => DetectLocal::NodeCidr,
        (_, "BridgeInterface" | "InterfaceNamePrefix") => DetectLocal::Interface,
        _ => by_cidr(),
    }
}

fn first_of_each_family(kube_proxy: &KubeProxyConfiguration) -> Vec<Network> {
    let mut networks: Vec<Network> = kube_proxy.cluster_cidrs().filter_map(go::network).collect();
    // Only one of each family is valid.
    networks.dedup_by_key(|(ip, _)| ip.is_ipv4());
    networks
}

fn chosen_algorithm(kube_proxy: &KubeProxyConfiguration, ours: &str) -> Algorithm {
    let of_ipvs = (kube_proxy.mode() == Some(Mode::Ipvs))
        .then(|| algorithm::of_scheduler(&kube_proxy.ipvs.scheduler));
    algorithm::of_name(ours)
        .ok()
        .or(of_ipvs.flatten())
        .unwrap_or_default()
}

/// The same choice for the programs.
pub(crate) fn detector(resolved: &Resolved) -> LocalDetector {
    let names = &resolved.kube_proxy.detect_local;
    let bridge = resolved.kube_proxy.detect_local_mode == "BridgeInterface";
    match policy(resolved).detect_local {
        DetectLocal::Device => LocalDetector::Devices,
        DetectLocal::ClusterCidr(networks) if networks.is_empty() => LocalDetector::None,
        DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr => LocalDetector::Cidr,
        DetectLocal::Interface if bridge => LocalDetector::Bridge(names.bridge_interface.clone()),
        DetectLocal::Interface => LocalDetector::Prefix(names.interface_name_prefix.clone()),
    }
}

/// SEMANTICS 3.1 and 3.3: by default all addresses, in mode nftables the primary ones. Whether all of them are also the node's
/// own loopback addresses depends on the mode; without one they are.
pub(crate) fn node_port_addresses(kube_proxy: &KubeProxyConfiguration) -> NodePortAddresses {
    let listed = &kube_proxy.node_port_addresses;
    let canonical = |word: &String| match go::network(word) {
        Some((ip, length)) => format!("{ip}/{length}"),
        None => word.clone(),
    };
    let words: Vec<String> = listed.iter().map(canonical).collect();
    let mode = kube_proxy.mode().unwrap_or(Mode::Unset);
    let addresses: NodePortAddresses = match words.as_slice() {
        [] if mode == Mode::Nftables => "primary".parse().unwrap_or_default(),
        words => words.join(",").parse().unwrap_or_default(),
    };
    let by_iptables = matches!(mode, Mode::Unset | Mode::Iptables);
    let wanted = kube_proxy.iptables.localhost_node_ports;
    NodePortAddresses {
        loopback4: by_iptables && wanted,
        loopback6: mode == Mode::Unset,
        without_loopback4: by_iptables && !wanted,
        node_ip: kube_proxy.node_ip(),
        ..addresses
    }
}

/// Sysctls of connection tracking.
pub(crate) fn conntrack(kube_proxy: &KubeProxyConfiguration) -> ConntrackConfig {
    let conntrack = &kube_proxy.conntrack;
    ConntrackConfig {
        max_per_core: conntrack.max_per_core.unsigned_abs(),
        min: conntrack.min.unsigned_abs(),
        tcp_established: conntrack.tcp_established_timeout.non_zero(),
        tcp_close_wait: conntrack.tcp_close_wait_timeout.non_zero(),
        tcp_be_liberal: conntrack.tcp_be_liberal,
        udp: conntrack.udp_timeout.non_zero(),
        udp_stream: conntrack.udp_stream_timeout.non_zero(),
    }
}

/// Map sizes.
pub(crate) fn capacities(kube_shunt: &KubeShuntConfiguration) -> Capacities {
    let maps = &kube_shunt.maps;
    Capacities {
        frontends: number(maps.frontends),
        backends: number(maps.backends),
        flows: number(maps.flows),
        embryos: number(maps.embryos),
        ..Capacities::default()
    }
}

/// The watches.
pub(crate) fn watch(kube_shunt: &KubeShuntConfiguration) -> WatchConfig {
    WatchConfig {
        page_size: number(kube_shunt.list_page_size),
        timeout_seconds: number(kube_shunt.watch_timeout_seconds),
        backoff_max: Duration::from_millis(
            kube_shunt.watch_backoff_max_milliseconds.unsigned_abs(),
        ),
    }
}

/// Devices by name.
pub(crate) fn devices(
    kube_shunt: &KubeShuntConfiguration,
) -> (proxy_kernel::XdpDevices, DeviceOverrides) {
    let patterns = |names: &[String]| -> Vec<NamePattern> {
        names.iter().filter_map(|name| name.parse().ok()).collect()
    };
    let overrides = DeviceOverrides {
        include: patterns(&kube_shunt.devices.include),
        exclude: patterns(&kube_shunt.devices.exclude),
    };
    (xdp_devices(&kube_shunt.xdp).unwrap_or_default(), overrides)
}

/// kube-proxy's: twice the period of syncs (SEMANTICS 11.2), unless the operator says how long.
pub(crate) fn health_timeout(resolved: &Resolved) -> Duration {
    match resolved.kube_shunt.health_timeout_seconds {
        0 => resolved.kube_proxy.mode_settings().sync_period.to_std() * 2,
        seconds => Duration::from_secs(seconds.unsigned_abs()),
    }
}

/// A level of klog as one of ours.
pub(crate) fn log_level(verbosity: u32) -> &'static str {
    match verbosity {
        0..=3 => "info",
        4 | 5 => "debug",
        _ => "trace",
    }
}

/// A path, unless the field is empty.
pub(crate) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// A number that was checked to be small and positive.
pub(crate) fn number(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
