//! Every value that must be refused, with the field, the value and what is allowed (SEMANTICS 15).

use super::super::explain::explain_config;
use super::files::{OURS, THEIRS};

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn semantics_15_refused_values_are_named_with_what_is_allowed() {
    let cases: &[(&str, &str, &str, &str)] = &[
        (
            "mode: userspace",
            "mode",
            "userspace",
            "iptables, ipvs, nftables",
        ),
        (
            "iptables: {masqueradeBit: 32}",
            "iptables.masqueradeBit",
            "32",
            "0 to 31",
        ),
        (
            "iptables: {masqueradeBit: -1}",
            "iptables.masqueradeBit",
            "-1",
            "0 to 31",
        ),
        (
            "mode: nftables\nnftables: {masqueradeBit: 32}",
            "nftables.masqueradeBit",
            "32",
            "0 to 31",
        ),
        (
            "iptables: {syncPeriod: -1s}",
            "iptables.syncPeriod",
            "-1s",
            "greater than 0",
        ),
        (
            "iptables: {minSyncPeriod: -1s}",
            "iptables.minSyncPeriod",
            "-1s",
            "not be negative",
        ),
        (
            "iptables: {syncPeriod: 5s, minSyncPeriod: 6s}",
            "iptables.minSyncPeriod",
            "6s",
            "iptables.syncPeriod, which is 5s",
        ),
        (
            "mode: ipvs\nipvs: {syncPeriod: -2s}",
            "ipvs.syncPeriod",
            "-2s",
            "greater than 0",
        ),
        (
            "mode: ipvs\nipvs: {tcpTimeout: -2s}",
            "ipvs.tcpTimeout",
            "-2s",
            "not be negative",
        ),
        (
            "mode: ipvs\nipvs: {tcpFinTimeout: -2s}",
            "ipvs.tcpFinTimeout",
            "-2s",
            "not be negative",
        ),
        (
            "mode: ipvs\nipvs: {udpTimeout: -2s}",
            "ipvs.udpTimeout",
            "-2s",
            "not be negative",
        ),
        (
            "mode: ipvs\nipvs: {excludeCIDRs: [10.0.0.0/8, ten]}",
            "ipvs.excludeCIDRs[1]",
            "ten",
            "a CIDR",
        ),
        (
            "mode: ipvs\nipvs: {scheduler: fastest}",
            "ipvs.scheduler",
            "fastest",
            "rr, wrr, lc",
        ),
        (
            "mode: nftables\nnftables: {syncPeriod: -1s}",
            "nftables.syncPeriod",
            "-1s",
            "greater than 0",
        ),
        (
            "configSyncPeriod: -1s",
            "configSyncPeriod",
            "-1s",
            "greater than 0",
        ),
        ("bindAddress: eth0", "bindAddress", "eth0", "an IP address"),
        (
            "healthzBindAddress: \"10256\"",
            "healthzBindAddress",
            "10256",
            "IP:PORT",
        ),
        (
            "healthzBindAddress: 10.0.0.1:0",
            "healthzBindAddress",
            "10.0.0.1:0",
            "IP:PORT",
        ),
        (
            "metricsBindAddress: localhost:10249",
            "metricsBindAddress",
            "localhost:10249",
            "IP:PORT",
        ),
        (
            "clientConnection: {burst: -1}",
            "clientConnection.burst",
            "-1",
            "not be negative",
        ),
        (
            "logging: {format: xml}",
            "logging.format",
            "xml",
            "text or json",
        ),
        (
            "showHiddenMetricsForVersion: new",
            "showHiddenMetricsForVersion",
            "new",
            "1.35",
        ),
        (
            "nodePortAddresses: [primary, ten]",
            "nodePortAddresses[1]",
            "ten",
            "all, primary, localhost or a CIDR",
        ),
        ("oomScoreAdj: 1001", "oomScoreAdj", "1001", "-1000 to 1000"),
        (
            "conntrack: {maxPerCore: -1}",
            "conntrack.maxPerCore",
            "-1",
            "not be negative",
        ),
        (
            "conntrack: {min: -1}",
            "conntrack.min",
            "-1",
            "not be negative",
        ),
        (
            "conntrack: {tcpEstablishedTimeout: -1s}",
            "conntrack.tcpEstablishedTimeout",
            "-1s",
            "not be negative",
        ),
        (
            "conntrack: {tcpCloseWaitTimeout: -1s}",
            "conntrack.tcpCloseWaitTimeout",
            "-1s",
            "not be negative",
        ),
        (
            "conntrack: {udpTimeout: -1s}",
            "conntrack.udpTimeout",
            "-1s",
            "not be negative",
        ),
        (
            "conntrack: {udpStreamTimeout: -1s}",
            "conntrack.udpStreamTimeout",
            "-1s",
            "not be negative",
        ),
        (
            "detectLocalMode: Guess",
            "detectLocalMode",
            "Guess",
            "ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix",
        ),
        (
            "detectLocalMode: BridgeInterface",
            "detectLocal.bridgeInterface",
            "",
            "not be empty",
        ),
        (
            "detectLocalMode: InterfaceNamePrefix",
            "detectLocal.interfaceNamePrefix",
            "",
            "not be empty",
        ),
        (
            "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: \"a b\"}",
            "detectLocal.bridgeInterface",
            "a b",
            "15 bytes",
        ),
        ("clusterCIDR: ten", "clusterCIDR", "ten", "a CIDR"),
        (
            "clusterCIDR: 10.0.0.0/8,11.0.0.0/8",
            "clusterCIDR",
            "10.0.0.0/8,11.0.0.0/8",
            "one of each IP family",
        ),
        (
            "clusterCIDR: 10.0.0.0/8,fd00::/8,fd01::/16",
            "clusterCIDR",
            "fd01",
            "one of each IP family",
        ),
    ];
    let ours: &[(&str, &str, &str, &str)] = &[
        (
            "apiServers: [https://ok, node:6443]",
            "apiServers[1]",
            "node:6443",
            "https://192.0.2.10:6443",
        ),
        ("listPageSize: 0", "listPageSize", "0", "1 to 10000"),
        (
            "watchTimeoutSeconds: 5",
            "watchTimeoutSeconds",
            "5",
            "10 to 3600",
        ),
        (
            "watchBackoffMaxMilliseconds: 1",
            "watchBackoffMaxMilliseconds",
            "1",
            "100 to 60000",
        ),
        ("sourceIP: keep", "sourceIP", "keep", "preserve, kube-proxy"),
        ("hostRouting: peer", "hostRouting", "peer", "stack, bpf"),
        (
            "algorithm: rr",
            "algorithm",
            "rr",
            "random, round-robin, maglev or least-connections",
        ),
        (
            "localDetector: cidr",
            "localDetector",
            "cidr",
            "auto, device, kube-proxy",
        ),
        ("xdp: \"a b\"", "xdp", "a b", "none, auto"),
        (
            "devices: {include: [\"a b\"]}",
            "devices.include[0]",
            "a b",
            "eth0 or cali*",
        ),
        (
            "devices: {exclude: [eth0, \"\"]}",
            "devices.exclude[1]",
            "",
            "eth0 or cali*",
        ),
        ("maps: {frontends: 1}", "maps.frontends", "1", "64 to"),
        (
            "maps: {backends: 99999999}",
            "maps.backends",
            "99999999",
            "64 to",
        ),
        ("maps: {flows: 63}", "maps.flows", "63", "64 to"),
        ("maps: {embryos: -5}", "maps.embryos", "-5", "64 to"),
        (
            "healthTimeoutSeconds: 4",
            "healthTimeoutSeconds",
            "4",
            "5 to 3600",
        ),
        (
            "syncBatchChanges: 0",
            "syncBatchChanges",
            "0",
            "1 to 1000000",
        ),
    ];
    let all = cases
        .iter()
        .map(|case| (THEIRS, case))
        .chain(ours.iter().map(|case| (OURS, case)));
    for (head, (text, field, value, allowed)) in all {
        let message = explain_config(&format!("{head}{text}\n"))
            .map(drop)
            .expect_err(text)
            .to_string();
        assert_eq!(message.lines().count(), 1, "{text}: {message}");
        for part in [&format!(": {field}: "), *value, *allowed] {
            assert!(
                message.contains(part),
                "{text}: {part:?} is missing in: {message}"
            );
        }
    }
    let several = explain_config(&format!(
        "{THEIRS}mode: none\noomScoreAdj: 2000\n---\n{OURS}sourceIP: none\n"
    ))
    .expect_err("three errors");
    assert_eq!(several.to_string().lines().count(), 3, "{several}");
}
