//! What kube-proxy refuses, refused with the field, the value and what is allowed. The document is complete by now.

use std::fmt;

use super::super::algorithm;
use super::super::error::FieldError;
use super::super::go::{self, Duration};
use super::{KubeProxyConfiguration, Mode};

/// All that is wrong, in the order of the document.
pub(crate) fn validate(config: &KubeProxyConfiguration) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |good: bool, field: &str, value: &dyn fmt::Display, allowed: &str| {
        if !good {
            errors.push(FieldError::new(field, value, allowed));
        }
    };
    connection(config, &mut check);
    mode(config, &mut check);
    detection(config, &mut check);
    for (index, text) in config.node_port_addresses.iter().enumerate() {
        check(
            matches!(text.as_str(), "all" | "primary" | "localhost") || go::network(text).is_some(),
            &format!("nodePortAddresses[{index}]"),
            text,
            "must be all, primary, localhost or a CIDR such as 10.0.0.0/8 or fd00::/8",
        );
    }
    let score = config.oom_score_adj;
    check(
        (-1_000..=1_000).contains(&score),
        "oomScoreAdj",
        &score,
        "must be within -1000 to 1000",
    );
    conntrack(config, &mut check);
    let period = config.config_sync_period;
    check(positive(period), "configSyncPeriod", &period, GREATER);
    errors
}

/// A check: whether it is good, the field, its value, what is allowed.
type Check<'a> = dyn FnMut(bool, &str, &dyn fmt::Display, &str) + 'a;

const GREATER: &str = "must be greater than 0s";
const NOT_NEGATIVE: &str = "must not be negative";

fn positive(duration: Duration) -> bool {
    !duration.is_zero() && !duration.is_negative()
}

fn connection(config: &KubeProxyConfiguration, check: &mut Check<'_>) {
    let burst = config.client_connection.burst;
    check(burst >= 0, "clientConnection.burst", &burst, NOT_NEGATIVE);
    let format = &config.logging.format;
    check(
        matches!(format.as_str(), "text" | "json"),
        "logging.format",
        format,
        "must be text or json",
    );
    let ip = &config.bind_address;
    check(
        proxy_model::parse_ip(ip).is_some(),
        "bindAddress",
        ip,
        "must be an IP address",
    );
    for (field, address) in [
        ("healthzBindAddress", &config.healthz_bind_address),
        ("metricsBindAddress", &config.metrics_bind_address),
    ] {
        check(
            go::socket_address(address, 1).is_some(),
            field,
            address,
            "must be IP:PORT as in 0.0.0.0:10256 or [::1]:10249, or an IP",
        );
    }
    let version = &config.show_hidden_metrics_for_version;
    let minor = version
        .split_once('.')
        .is_some_and(|(major, minor)| major.parse::<u16>().is_ok() && minor.parse::<u16>().is_ok());
    check(
        version.is_empty() || minor,
        "showHiddenMetricsForVersion",
        version,
        "must be a minor version such as 1.35",
    );
}

fn mode(config: &KubeProxyConfiguration, check: &mut Check<'_>) {
    let KubeProxyConfiguration {
        iptables,
        ipvs,
        nftables,
        ..
    } = config;
    let mode = config.mode();
    check(
        mode.is_some(),
        "mode",
        &config.mode,
        "must be iptables, ipvs, nftables or empty",
    );
    let in_use = match mode {
        Some(Mode::Ipvs) => "ipvs",
        Some(Mode::Nftables) => "nftables",
        _ => "iptables",
    };
    for (section, bit) in [
        ("iptables", iptables.masquerade_bit),
        ("nftables", nftables.masquerade_bit),
    ] {
        // kube-proxy looks at iptables' in every mode.
        let counts = section == "iptables" || section == in_use;
        check(
            !counts || (0..=31).contains(&bit),
            &format!("{section}.masqueradeBit"),
            &bit,
            "must be within 0 to 31",
        );
    }
    let settings = config.mode_settings();
    let (period, least) = (settings.sync_period, settings.min_sync_period);
    check(
        positive(period),
        &format!("{in_use}.syncPeriod"),
        &period,
        GREATER,
    );
    check(
        !least.is_negative(),
        &format!("{in_use}.minSyncPeriod"),
        &least,
        NOT_NEGATIVE,
    );
    check(
        !positive(period) || least <= period,
        &format!("{in_use}.minSyncPeriod"),
        &least,
        &format!("must not be greater than {in_use}.syncPeriod, which is {period}"),
    );
    if mode == Some(Mode::Ipvs) {
        for (field, timeout) in [
            ("ipvs.tcpTimeout", ipvs.tcp_timeout),
            ("ipvs.tcpFinTimeout", ipvs.tcp_fin_timeout),
            ("ipvs.udpTimeout", ipvs.udp_timeout),
        ] {
            check(!timeout.is_negative(), field, &timeout, NOT_NEGATIVE);
        }
        for (index, cidr) in ipvs.exclude_cidrs.iter().enumerate() {
            check(
                go::network(cidr).is_some(),
                &format!("ipvs.excludeCIDRs[{index}]"),
                cidr,
                "must be a CIDR such as 10.0.0.0/8",
            );
        }
        let scheduler = &ipvs.scheduler;
        check(
            algorithm::of_scheduler(scheduler).is_some(),
            "ipvs.scheduler",
            scheduler,
            algorithm::SCHEDULERS,
        );
    }
}

fn detection(config: &KubeProxyConfiguration, check: &mut Check<'_>) {
    let (mode, names) = (config.detect_local_mode.as_str(), &config.detect_local);
    let modes = [
        "",
        "ClusterCIDR",
        "NodeCIDR",
        "BridgeInterface",
        "InterfaceNamePrefix",
    ];
    check(
        modes.contains(&mode),
        "detectLocalMode",
        &mode,
        "must be ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix or empty",
    );
    for (wanted_by, field, name) in [
        (
            "BridgeInterface",
            "detectLocal.bridgeInterface",
            &names.bridge_interface,
        ),
        (
            "InterfaceNamePrefix",
            "detectLocal.interfaceNamePrefix",
            &names.interface_name_prefix,
        ),
    ] {
        let needed = format!("must not be empty with detectLocalMode {wanted_by}");
        check(mode != wanted_by || !name.is_empty(), field, name, &needed);
        let device =
            name.len() <= 15 && !name.contains(['/', ':']) && !name.contains(char::is_whitespace);
        check(
            mode != wanted_by || device,
            field,
            name,
            "must be (the start of) a device's name: at most 15 bytes without '/', ':' and white space",
        );
    }
    if !matches!(mode, "" | "ClusterCIDR") {
        return;
    }
    let networks: Vec<_> = config.cluster_cidrs().map(go::network).collect();
    let whole = &config.cluster_cidr;
    check(
        networks.iter().all(Option::is_some),
        "clusterCIDR",
        whole,
        "must be a CIDR such as 10.244.0.0/16, or two with a comma",
    );
    let families: Vec<_> = networks
        .iter()
        .flatten()
        .map(|(ip, _)| ip.is_ipv4())
        .collect();
    let one_each = match *families.as_slice() {
        [] | [_] => true,
        [first, second] => first != second,
        _ => false,
    };
    check(
        one_each,
        "clusterCIDR",
        whole,
        "must be one CIDR, or one of each IP family",
    );
}

fn conntrack(config: &KubeProxyConfiguration, check: &mut Check<'_>) {
    let conntrack = &config.conntrack;
    for (field, entries) in [
        ("conntrack.maxPerCore", conntrack.max_per_core),
        ("conntrack.min", conntrack.min),
    ] {
        check(entries >= 0, field, &entries, NOT_NEGATIVE);
    }
    for (field, timeout) in [
        (
            "conntrack.tcpEstablishedTimeout",
            conntrack.tcp_established_timeout,
        ),
        (
            "conntrack.tcpCloseWaitTimeout",
            conntrack.tcp_close_wait_timeout,
        ),
        ("conntrack.udpTimeout", conntrack.udp_timeout),
        ("conntrack.udpStreamTimeout", conntrack.udp_stream_timeout),
    ] {
        check(!timeout.is_negative(), field, &timeout, NOT_NEGATIVE);
    }
}
