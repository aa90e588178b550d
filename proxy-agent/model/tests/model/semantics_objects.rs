//! kube-proxy's rules about objects and frontends, by their numbers in SEMANTICS (sections 1 and 2).

use proxy_model::raw;

use crate::cases::{ALL, Case, LB, OUT, WEB, check};
use crate::rig::Rig;
use crate::words::{NODE, service, slice};

#[test]
fn semantics_1_services_that_are_not_ours_get_nothing() {
    let mut cases = Vec::new();
    for service in [
        "ip=10.96.0.1 port=http/TCP/80 label=service.kubernetes.io/service-proxy-name",
        "ip=10.96.0.1 port=http/TCP/80 label=service.kubernetes.io/headless",
        "ip=None port=http/TCP/80",
        "port=http/TCP/80",
        "ExternalName ip=10.96.0.1 port=http/TCP/80",
        "NodePort ip=None port=http/TCP/80/30080 external=192.0.2.7",
    ] {
        let expected = &[
            ("10.96.0.1:80", ALL, "none"),
            ("*:30080", ALL, "none"),
            ("192.0.2.7:80", ALL, "none"),
        ];
        cases.push(Case {
            rule: "1.2, 1.3",
            service,
            endpoints: &["10.0.0.1"],
            expected,
        });
    }
    check(&cases);
}

#[test]
fn semantics_1_2_label_on_a_live_service_is_a_delete() {
    let mut rig = Rig::new();
    rig.service(service("web", WEB))
        .slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]))
        .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
    let labelled = service(
        "web",
        &format!("{WEB} label=service.kubernetes.io/service-proxy-name"),
    );
    rig.service(labelled).settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "none");
    rig.service(service("web", WEB)).settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
}

#[test]
fn semantics_1_4_family_without_cluster_ip_is_skipped() {
    let words =
        "NodePort ip=10.96.0.1 port=http/TCP/80/30080 external=2001:db8::7 external=192.0.2.7";
    let mut rig = Rig::new();
    rig.service(service("web", words))
        .slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]));
    rig.slice(slice("web", "web-2", "http/TCP/8080", &["fd00::1"]))
        .settle();
    for (frontend, outcome) in [
        ("10.96.0.1:80", "10.0.0.1:8080"),
        ("192.0.2.7:80", "10.0.0.1:8080"),
        ("*:30080", "10.0.0.1:8080"),
        ("[2001:db8::7]:80", "none"),
        ("[*]:30080", "none"),
    ] {
        assert_eq!(rig.everyone(frontend), outcome, "{frontend}");
    }
    rig.service(service("web", &format!("{words} ip=fd00:96::1")))
        .settle();
    for frontend in ["[fd00:96::1]:80", "[2001:db8::7]:80", "[*]:30080"] {
        assert_eq!(rig.everyone(frontend), "[fd00::1]:8080", "{frontend}");
    }
}

#[test]
fn semantics_1_5_slices_that_are_not_ours_are_ignored() {
    let mut rig = Rig::new();
    rig.service(service("web", WEB));
    let good = slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]);
    let (mut no_service, mut fqdn, mut headless, mut others) =
        (good.clone(), good.clone(), good.clone(), good.clone());
    no_service.metadata.labels.clear();
    "FQDN".clone_into(&mut fqdn.address_type);
    headless
        .metadata
        .labels
        .insert("service.kubernetes.io/headless".to_owned(), String::new());
    others.metadata.labels.insert(
        "service.kubernetes.io/service-proxy-name".to_owned(),
        "mine".to_owned(),
    );
    for (bad, label) in [
        (no_service, "no_service_name"),
        (fqdn, "address_type"),
        (headless, ""),
        (others, ""),
    ] {
        rig.slice(good.clone()).settle();
        assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
        rig.slice(bad).settle();
        assert_eq!(rig.everyone("10.96.0.1:80"), "reject");
        assert_eq!(rig.error_labels().concat(), label);
    }
}

#[test]
fn semantics_1_6_slice_ports_need_name_and_number() {
    let mut rig = Rig::new();
    rig.service(service("web", "ip=10.96.0.1 port=/TCP/80 port=all/TCP/81"));
    let mut slice = slice(
        "web",
        "web-1",
        "/TCP/8080 all/TCP/0 all/TCP/8081",
        &["10.0.0.1"],
    );
    slice.ports.push(raw::EndpointPort {
        name: None,
        protocol: None,
        port: Some(80),
    });
    slice.ports[2].port = None;
    rig.slice(slice).settle();
    assert_eq!(
        rig.everyone("10.96.0.1:80"),
        "10.0.0.1:8080",
        "an empty name is a name"
    );
    assert_eq!(rig.everyone("10.96.0.1:81"), "reject");
    assert_eq!(rig.error_labels(), ["no_port_number", "unnamed_port"]);
}

#[test]
fn semantics_1_7_first_address_counts_and_is_canonical() {
    let mut slice = slice(
        "web",
        "web-1",
        "http/TCP/8080",
        &["10.0.0.010", "10.0.0.10", "10.0.0.11"],
    );
    slice.endpoints[2]
        .addresses
        .insert(0, "010.0.0.12".to_owned());
    slice.endpoints.push(raw::Endpoint::default());
    let mut rig = Rig::new();
    rig.service(service("web", WEB)).slice(slice).settle();
    assert_eq!(
        rig.everyone("10.96.0.1:80"),
        "10.0.0.10:8080 10.0.0.12:8080"
    );
    assert_eq!(rig.error_labels(), ["no_address"]);
}

#[test]
fn semantics_1_9_local_is_the_node_name_and_nothing_else() {
    let mut rig = Rig::new();
    rig.service(service("web", &format!("{WEB} itp")));
    let mut slice = slice(
        "web",
        "web-1",
        "http/TCP/8080",
        &["10.0.0.1 here", "10.0.0.2", "10.0.0.3 here"],
    );
    slice.endpoints[2].node_name = None;
    rig.slice(slice.clone()).settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
    slice.endpoints[0].node_name = Some(NODE.to_uppercase());
    rig.slice(slice).settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "drop", "21.15");
}

#[test]
fn semantics_1_12_ports_match_by_name_and_protocol() {
    let mut rig = Rig::new();
    rig.service(service(
        "dns",
        "ip=10.96.0.10 port=dns/UDP/53 port=dns/TCP/53 port=metrics/TCP/9153",
    ));
    rig.slice(slice(
        "dns",
        "dns-1",
        "dns/UDP/1053 dns/TCP/1054",
        &["10.0.0.1"],
    ));
    rig.slice(slice(
        "dns",
        "dns-2",
        "dns/UDP/2053 web/TCP/9153",
        &["10.0.0.2"],
    ))
    .settle();
    assert_eq!(
        rig.everyone("10.96.0.10:53/UDP"),
        "10.0.0.1:1053 10.0.0.2:2053"
    );
    assert_eq!(rig.everyone("10.96.0.10:53/TCP"), "10.0.0.1:1054");
    assert_eq!(rig.everyone("10.96.0.10:9153/TCP"), "reject");
}

#[test]
fn semantics_2_1_frontends_of_all_kinds() {
    const ONE: &str = "10.0.0.1:8080";
    let frontends = &[
        ("10.96.0.1:80", ALL, ONE),
        ("192.0.2.7:80", ALL, ONE),
        ("198.51.100.9:80", ALL, ONE),
        ("*:30080", ALL, ONE),
    ];
    check(&[
        Case {
            rule: "2.1",
            service: LB,
            endpoints: &["10.0.0.1"],
            expected: frontends,
        },
        Case {
            rule: "2.1: external IPs of any type, load-balancer IPs without looking at the type",
            service: "ip=10.96.0.1 port=http/TCP/80 external=192.0.2.7 lb=198.51.100.9",
            endpoints: &["10.0.0.1"],
            expected: &[
                ("192.0.2.7:80", ALL, ONE),
                ("198.51.100.9:80", ALL, ONE),
                ("*:80", ALL, "none"),
            ],
        },
        Case {
            rule: "2.2",
            service: "LoadBalancer ip=10.96.0.1 port=http/TCP/80 vip-lb=198.51.100.1 proxy-lb=198.51.100.2",
            endpoints: &["10.0.0.1"],
            expected: &[
                ("198.51.100.1:80", ALL, ONE),
                ("198.51.100.2:80", ALL, "none"),
            ],
        },
        Case {
            rule: "2.8",
            service: "ip=172.30.0.041 port=http/TCP/80 external=192.168.099.022",
            endpoints: &["10.0.0.1"],
            expected: &[("172.30.0.41:80", ALL, ONE), ("192.168.99.22:80", ALL, ONE)],
        },
        Case {
            rule: "2.10",
            service: "LoadBalancer ip=10.96.0.1 port=http/TCP/80/0 lb=198.51.100.1",
            endpoints: &["10.0.0.1"],
            expected: &[("198.51.100.1:80", ALL, ONE), ("*:0", ALL, "none")],
        },
    ]);
}

#[test]
fn semantics_2_4_older_objects_have_only_one_cluster_ip() {
    let mut old = service("web", WEB);
    old.spec.cluster_ips.clear();
    let mut rig = Rig::new();
    rig.service(old)
        .slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]))
        .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
}

#[test]
fn semantics_2_6_protocols_are_independent() {
    let mut rig = Rig::new();
    let words =
        "NodePort ip=10.96.0.1 port=a/TCP/80/30080 port=b/UDP/80/30080 port=c/SCTP/80/30080";
    rig.service(service("web", words));
    rig.slice(slice(
        "web",
        "web-1",
        "a/TCP/1 b/UDP/2 c/SCTP/3",
        &["10.0.0.1"],
    ))
    .settle();
    for (proto, outcome) in [
        ("TCP", "10.0.0.1:1"),
        ("UDP", "10.0.0.1:2"),
        ("SCTP", "10.0.0.1:3"),
    ] {
        assert_eq!(rig.everyone(&format!("10.96.0.1:80/{proto}")), outcome);
        assert_eq!(rig.everyone(&format!("*:30080/{proto}")), outcome);
    }
}

#[test]
fn semantics_2_7_session_affinity() {
    let affinity = |service: raw::Service| {
        let mut rig = Rig::new();
        rig.service(service).settle();
        let seconds = rig
            .maps
            .frontends4
            .values()
            .map(|frontend| frontend.affinity_seconds)
            .max();
        (seconds.unwrap(), rig.error_labels())
    };
    let mut unset = service("web", &format!("{WEB} affinity=60"));
    assert_eq!(affinity(unset.clone()), (60, vec![]));
    unset.spec.session_affinity_config.client_ip.timeout_seconds = None;
    assert_eq!(affinity(unset.clone()), (10_800, vec![]));
    unset.spec.session_affinity_config.client_ip.timeout_seconds = Some(-1);
    assert_eq!(affinity(unset.clone()), (10_800, vec!["affinity_timeout"]));
    "None".clone_into(&mut unset.spec.session_affinity);
    assert_eq!(affinity(unset.clone()), (0, vec![]));
    "Cookie".clone_into(&mut unset.spec.session_affinity);
    assert_eq!(affinity(unset), (0, vec!["unknown_affinity"]));
}

#[test]
fn semantics_2_12_external_local_needs_an_external_service() {
    check(&[
        Case {
            rule: "type ClusterIP with only a load-balancer IP",
            service: "ip=10.96.0.1 port=http/TCP/80 lb=198.51.100.1 etp",
            endpoints: &["10.0.0.1", "10.0.0.2 here"],
            expected: &[("198.51.100.1:80", ALL, "10.0.0.1:8080 10.0.0.2:8080")],
        },
        Case {
            rule: "type ClusterIP with external IPs",
            service: "ip=10.96.0.1 port=http/TCP/80 external=198.51.100.1 etp",
            endpoints: &["10.0.0.1", "10.0.0.2 here"],
            expected: &[("198.51.100.1:80", OUT, "10.0.0.2:8080")],
        },
    ]);
}
