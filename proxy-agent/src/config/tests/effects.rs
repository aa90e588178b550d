//! What settings mean for Services: policy, detectors, addresses of `NodePort`s.

use proxy_kernel::{LocalDetector, NodePortAddresses};
use proxy_model::Policy;
use proxy_model::policy::{Algorithm, DetectLocal, Profile, SourceIp};

use super::super::explain::{ExplainConfig, explain_config};
use super::files::{OURS, THEIRS};
use super::parse;

fn theirs(fields: &str) -> ExplainConfig {
    explain_config(&format!("{THEIRS}{fields}\n"))
        .unwrap_or_else(|error| panic!("{fields}: {error}"))
}

fn both(fields: &str, ours: &str) -> ExplainConfig {
    explain_config(&format!("{THEIRS}{fields}\n---\n{OURS}{ours}\n"))
        .unwrap_or_else(|error| panic!("{fields}: {error}"))
}

#[test]
fn semantics_23_mode_chooses_the_profile() {
    for (mode, profile) in [
        ("mode: \"\"", Profile::Nftables),
        ("mode: iptables", Profile::Iptables),
        ("mode: ipvs", Profile::Nftables),
        ("mode: nftables", Profile::Nftables),
    ] {
        assert_eq!(theirs(mode).policy.profile, profile, "{mode}");
    }
    assert_eq!(explain_config("").unwrap().policy, Policy::default());
}

#[test]
fn semantics_9_4_detectors() {
    let cidrs = |list: &[&str]| {
        DetectLocal::ClusterCidr(
            list.iter()
                .map(|text| super::super::go::network(text).unwrap())
                .collect(),
        )
    };
    let v4 = "clusterCIDR: 10.244.0.0/16";
    for (fields, detect, detector) in [
        ("", DetectLocal::Device, LocalDetector::Devices),
        (v4, cidrs(&["10.244.0.0/16"]), LocalDetector::Cidr),
        (
            "clusterCIDR: 10.244.0.0/16,fd00::/56",
            cidrs(&["10.244.0.0/16", "fd00::/56"]),
            LocalDetector::Cidr,
        ),
        (
            "detectLocalMode: ClusterCIDR",
            cidrs(&[]),
            LocalDetector::None,
        ),
        (
            "detectLocalMode: NodeCIDR",
            DetectLocal::NodeCidr,
            LocalDetector::Cidr,
        ),
        (
            "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}",
            DetectLocal::Interface,
            LocalDetector::Bridge("cni0".to_owned()),
        ),
        (
            "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: cali}",
            DetectLocal::Interface,
            LocalDetector::Prefix("cali".to_owned()),
        ),
    ] {
        let got = theirs(fields);
        assert_eq!(got.policy.detect_local, detect, "{fields}");
        assert_eq!(got.detector, detector, "{fields}");
        assert_eq!(
            both(fields, "localDetector: device").detector,
            LocalDetector::Devices,
            "{fields}"
        );
    }
    assert_eq!(
        both("", "localDetector: kube-proxy").detector,
        LocalDetector::None
    );
    assert_eq!(
        both(v4, "localDetector: kube-proxy").detector,
        LocalDetector::Cidr
    );
}

#[test]
fn semantics_9_2_masquerade_all_is_that_of_the_mode() {
    for (fields, expected) in [
        ("iptables: {masqueradeAll: true}", true),
        ("mode: ipvs\niptables: {masqueradeAll: true}", true),
        ("mode: nftables\niptables: {masqueradeAll: true}", false),
        ("mode: nftables\nnftables: {masqueradeAll: true}", true),
        ("nftables: {masqueradeAll: true}", false),
    ] {
        assert_eq!(theirs(fields).policy.masquerade_all, expected, "{fields}");
    }
    assert!(
        parse(&["--masquerade-all", "--proxy-mode=nftables"])
            .unwrap()
            .policy
            .masquerade_all
    );
    assert!(
        !parse(&["--masquerade-all=false"])
            .unwrap()
            .policy
            .masquerade_all
    );
    assert_eq!(
        both("", "sourceIP: kube-proxy").policy.source_ip,
        SourceIp::KubeProxy
    );
    assert_eq!(
        both("", "sourceIP: preserve").policy.source_ip,
        SourceIp::Preserve
    );
    assert!(parse(&["--host-routing=bpf"]).unwrap().host_routing);
    assert!(!parse(&[]).unwrap().host_routing);
}

#[test]
fn schedulers_of_ipvs_have_their_algorithm() {
    for (names, algorithm) in [
        (&["\"\"", "rr", "wrr"][..], Algorithm::RoundRobin),
        (
            &["lc", "wlc", "lblc", "lblcr", "sed", "nq"],
            Algorithm::LeastConnections,
        ),
        (&["sh", "mh", "dh"], Algorithm::Maglev),
    ] {
        for name in names {
            let got = theirs(&format!("mode: ipvs\nipvs: {{scheduler: {name}}}"));
            assert_eq!(got.policy.algorithm, algorithm, "{name}");
            let hashed = got
                .warnings
                .iter()
                .any(|warning| warning.contains("ipvs.scheduler"));
            assert_eq!(hashed, *name == "dh", "{name}");
        }
    }
    assert_eq!(
        theirs("ipvs: {scheduler: lc}").policy.algorithm,
        Algorithm::Random
    );
    let ours = both("mode: ipvs\nipvs: {scheduler: lc}", "algorithm: random");
    assert_eq!(ours.policy.algorithm, Algorithm::Random);
    for (name, algorithm) in [
        ("maglev", Algorithm::Maglev),
        ("round-robin", Algorithm::RoundRobin),
        ("least-connections", Algorithm::LeastConnections),
    ] {
        assert_eq!(
            both("", &format!("algorithm: {name}")).policy.algorithm,
            algorithm
        );
    }
}

#[test]
fn feature_gates_that_count() {
    let off = theirs(
        "featureGates: {AllowServiceExternalIPs: false, PreferSameTrafficDistribution: false}",
    );
    assert!(off.policy.ignore_external_ips && off.policy.ignore_node_hints);
    assert!(
        !off.warnings
            .iter()
            .any(|warning| warning.contains("featureGates")),
        "{:?}",
        off.warnings
    );
    let config = parse(&[
        "--feature-gates=MultiCIDRServiceAllocator=false,SomethingElse=true",
        "--feature-gates=AllowServiceExternalIPs=true",
    ])
    .unwrap();
    assert!(!config.watch_service_cidrs && !config.policy.ignore_external_ips);
    let warnings = config.warnings().join("\n");
    assert!(
        warnings.contains("SomethingElse") && !warnings.contains("MultiCIDR"),
        "{warnings}"
    );
    assert!(
        parse(&["--feature-gates=Some"])
            .unwrap_err()
            .contains("NAME=true")
    );
}

#[test]
fn semantics_3_1_and_3_3_node_port_addresses() {
    let v4 = |loopback4, loopback6, addresses: NodePortAddresses| NodePortAddresses {
        loopback4,
        loopback6,
        ..addresses
    };
    let refused = |loopback6, addresses: NodePortAddresses| NodePortAddresses {
        without_loopback4: true,
        ..v4(false, loopback6, addresses)
    };
    let all = NodePortAddresses::default;
    let words = |text: &str| text.parse::<NodePortAddresses>().unwrap();
    for (fields, expected) in [
        ("", v4(true, true, all())),
        (
            "iptables: {localhostNodePorts: false}",
            refused(true, all()),
        ),
        ("mode: iptables", v4(true, false, all())),
        (
            "mode: iptables\niptables: {localhostNodePorts: false}",
            refused(false, all()),
        ),
        (
            "mode: iptables\niptables: {localhostNodePorts: false}\nnodePortAddresses: [localhost]",
            refused(false, words("localhost")),
        ),
        (
            "mode: nftables\niptables: {localhostNodePorts: false}\nnodePortAddresses: [localhost]",
            v4(false, false, words("localhost")),
        ),
        ("mode: ipvs", v4(false, false, all())),
        ("mode: nftables", v4(false, false, words("primary"))),
        (
            "mode: nftables\nnodePortAddresses: [all]",
            v4(false, false, all()),
        ),
        (
            "nodePortAddresses: [primary, localhost]",
            v4(true, true, words("primary,localhost")),
        ),
        (
            "nodePortAddresses: [010.0.0.0/8, \"fd00::/8\"]",
            v4(true, true, words("10.0.0.0/8,fd00::/8")),
        ),
        (
            "bindAddress: 192.0.2.7\nnodePortAddresses: [primary]",
            NodePortAddresses {
                node_ip: Some("192.0.2.7".parse().unwrap()),
                ..words("primary")
            },
        ),
    ] {
        assert_eq!(theirs(fields).node_port_addresses, expected, "{fields}");
    }
}
