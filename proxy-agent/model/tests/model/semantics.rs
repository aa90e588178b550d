//! kube-proxy's rules, by their numbers in SEMANTICS.

use proxy_common::value::{Class, backend_state};
use proxy_model::{Change, Kind, Object, ObjectRef, raw};

use crate::rig::Rig;
use crate::words::{NODE, service, slice};

/// A Service and its slice, and what becomes of connections: frontend, class, outcome.
struct Case {
    rule: &'static str,
    service: &'static str,
    endpoints: &'static [&'static str],
    expected: &'static [(&'static str, Option<Class>, &'static str)],
}

const IN: Option<Class> = Some(Class::Inside);
const OUT: Option<Class> = Some(Class::Outside);
const HOST: Option<Class> = Some(Class::Host);
const ALL: Option<Class> = None;

fn check(cases: &[Case]) {
    for Case {
        rule,
        service: words,
        endpoints,
        expected,
    } in cases
    {
        let mut rig = Rig::new();
        rig.zone("zone-1").service(service("web", words));
        rig.slice(slice("web", "web-1", "http/TCP/8080", endpoints))
            .settle();
        for (frontend, class, outcome) in *expected {
            let actual = class.map_or_else(
                || rig.everyone(frontend),
                |class| rig.outcome(frontend, class),
            );
            assert_eq!(actual, *outcome, "{rule}: {frontend} {class:?}");
        }
    }
}

const WEB: &str = "ip=10.96.0.1 port=http/TCP/80";
const LB: &str =
    "LoadBalancer ip=10.96.0.1 port=http/TCP/80/30080 external=192.0.2.7 lb=198.51.100.9";
const LB_ETP: &str =
    "LoadBalancer ip=10.96.0.1 port=http/TCP/80/30080 external=192.0.2.7 lb=198.51.100.9 etp";

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

#[test]
fn semantics_4_traffic_policies() {
    const BOTH: &str = "10.0.0.1:8080 10.0.0.2:8080";
    const HERE: &str = "10.0.0.2:8080";
    check(&[
        Case {
            rule: "4.3, 4.4: Cluster",
            service: LB,
            endpoints: &["10.0.0.1", "10.0.0.2 here"],
            expected: &[
                ("10.96.0.1:80", ALL, BOTH),
                ("*:30080", ALL, BOTH),
                ("198.51.100.9:80", ALL, BOTH),
            ],
        },
        Case {
            rule: "4.4: eTP Local, 4.5",
            service: LB_ETP,
            endpoints: &["10.0.0.1", "10.0.0.2 here"],
            expected: &[
                ("10.96.0.1:80", ALL, BOTH),
                ("*:30080", IN, BOTH),
                ("*:30080", HOST, BOTH),
                ("*:30080", OUT, HERE),
                ("192.0.2.7:80", IN, BOTH),
                ("192.0.2.7:80", OUT, HERE),
                ("198.51.100.9:80", HOST, BOTH),
                ("198.51.100.9:80", OUT, HERE),
            ],
        },
        Case {
            rule: "4.4: the short circuit exists without local endpoints",
            service: LB_ETP,
            endpoints: &["10.0.0.1"],
            expected: &[
                ("*:30080", OUT, "drop"),
                ("*:30080", IN, "10.0.0.1:8080"),
                ("*:30080", HOST, "10.0.0.1:8080"),
            ],
        },
        Case {
            rule: "4.3: iTP Local holds for every source, 4.5: and not for external frontends",
            service: "NodePort ip=10.96.0.1 port=http/TCP/80/30080 itp",
            endpoints: &["10.0.0.1", "10.0.0.2 here"],
            expected: &[("10.96.0.1:80", ALL, HERE), ("*:30080", ALL, BOTH)],
        },
        Case {
            rule: "21.9",
            service: "LoadBalancer ip=10.96.0.1 port=http/TCP/80 lb=198.51.100.9 itp etp",
            endpoints: &["10.0.0.1"],
            expected: &[
                ("10.96.0.1:80", ALL, "drop"),
                ("198.51.100.9:80", OUT, "drop"),
                ("198.51.100.9:80", IN, "10.0.0.1:8080"),
                ("198.51.100.9:80", HOST, "10.0.0.1:8080"),
            ],
        },
    ]);
}

#[test]
fn semantics_5_2_topology_hints() {
    let case = |rule, endpoints, outcome: &'static str| {
        let expected: &[_] = Box::leak(Box::new([("10.96.0.1:80", ALL, outcome)]));
        Case {
            rule,
            service: WEB,
            endpoints,
            expected,
        }
    };
    check(&[
        case(
            "zone",
            &["10.0.0.1 zone=zone-1", "10.0.0.2 zone=zone-2"],
            "10.0.0.1:8080",
        ),
        case(
            "several zones",
            &["10.0.0.1 zone=zone-2 zone=zone-1", "10.0.0.2 zone=zone-2"],
            "10.0.0.1:8080",
        ),
        case(
            "one without hint",
            &["10.0.0.1 zone=zone-1", "10.0.0.2"],
            "10.0.0.1:8080 10.0.0.2:8080",
        ),
        case(
            "none for us",
            &["10.0.0.1 zone=zone-3", "10.0.0.2 zone=zone-2"],
            "10.0.0.1:8080 10.0.0.2:8080",
        ),
        case(
            "unready without hint",
            &[
                "10.0.0.1 zone=zone-1",
                "10.0.0.2 zone=zone-2",
                "10.0.0.3 unready",
            ],
            "10.0.0.1:8080",
        ),
        case(
            "the only one for us is unready",
            &["10.0.0.1 zone=zone-1 unready", "10.0.0.2 zone=zone-2"],
            "10.0.0.2:8080",
        ),
        case(
            "node before zone",
            &[
                "10.0.0.1 node=node-a zone=zone-2",
                "10.0.0.2 node=node-b zone=zone-1",
            ],
            "10.0.0.1:8080",
        ),
        case(
            "no node hint for us: zone",
            &[
                "10.0.0.1 node=node-c zone=zone-2",
                "10.0.0.2 node=node-b zone=zone-1",
            ],
            "10.0.0.2:8080",
        ),
        case(
            "node hint on some only",
            &["10.0.0.1 node=node-a", "10.0.0.2"],
            "10.0.0.1:8080 10.0.0.2:8080",
        ),
        Case {
            rule: "5.4: hints are not for local sets",
            service: "ip=10.96.0.1 port=http/TCP/80 itp",
            endpoints: &["10.0.0.1 here zone=zone-2", "10.0.0.2 zone=zone-1"],
            expected: &[("10.96.0.1:80", ALL, "10.0.0.1:8080")],
        },
    ]);
}

#[test]
fn semantics_5_3_to_5_5_readiness_and_termination() {
    check(&[
        Case {
            rule: "5.3: ready before terminating",
            service: WEB,
            endpoints: &["10.0.0.1", "10.0.0.2 terminating"],
            expected: &[("10.96.0.1:80", ALL, "10.0.0.1:8080")],
        },
        Case {
            rule: "5.3, 16.2: all terminating",
            service: WEB,
            endpoints: &[
                "10.0.0.1 terminating zone=zone-2",
                "10.0.0.2 terminating not-serving",
                "10.0.0.3 unready",
            ],
            expected: &[("10.96.0.1:80", ALL, "10.0.0.1:8080")],
        },
        Case {
            rule: "5.5: unready and not terminating is unusable",
            service: LB_ETP,
            endpoints: &["10.0.0.1 unready", "10.0.0.2 terminating not-serving"],
            expected: &[("10.96.0.1:80", ALL, "reject"), ("*:30080", ALL, "reject")],
        },
        Case {
            rule: "5.4: local uses terminating while cluster uses ready remote ones",
            service: LB_ETP,
            endpoints: &["10.0.0.1", "10.0.0.2 here terminating"],
            expected: &[
                ("*:30080", OUT, "10.0.0.2:8080"),
                ("*:30080", IN, "10.0.0.1:8080"),
            ],
        },
        Case {
            rule: "5.4: local prefers ready",
            service: LB_ETP,
            endpoints: &["10.0.0.1 here", "10.0.0.2 here terminating"],
            expected: &[("*:30080", OUT, "10.0.0.1:8080")],
        },
        Case {
            rule: "5.5: a remote terminating endpoint is an endpoint",
            service: "ip=10.96.0.1 port=http/TCP/80 itp",
            endpoints: &["10.0.0.1 terminating"],
            expected: &[("10.96.0.1:80", ALL, "drop")],
        },
        Case {
            rule: "21.16: ready and terminating counts as ready",
            service: WEB,
            endpoints: &["10.0.0.1 terminating ready", "10.0.0.2"],
            expected: &[("10.96.0.1:80", ALL, "10.0.0.1:8080 10.0.0.2:8080")],
        },
        Case {
            rule: "21.17: ready is tested first",
            service: WEB,
            endpoints: &["10.0.0.1 not-serving"],
            expected: &[("10.96.0.1:80", ALL, "10.0.0.1:8080")],
        },
    ]);
}

#[test]
fn semantics_5_7_zone_change_reaches_every_service() {
    let mut rig = Rig::new();
    rig.service(service("web", WEB));
    rig.slice(slice(
        "web",
        "web-1",
        "http/TCP/8080",
        &["10.0.0.1 zone=zone-1", "10.0.0.2 zone=zone-2"],
    ))
    .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080 10.0.0.2:8080");
    rig.zone("zone-2").settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.2:8080");
    let node = |name: &str| ObjectRef {
        kind: Kind::Node,
        namespace: String::new(),
        name: name.to_owned(),
    };
    rig.planner.apply(Change::Delete(node("node-b")));
    assert!(rig.settle().is_empty());
    rig.planner.apply(Change::Delete(node(NODE)));
    rig.settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080 10.0.0.2:8080");
}

#[test]
fn semantics_6_1_slices_are_merged_and_6_2_the_running_one_wins() {
    for order in [["web-1", "web-2"], ["web-2", "web-1"]] {
        let mut rig = Rig::new();
        rig.service(service("web", WEB));
        rig.slice(slice(
            "web",
            order[0],
            "http/TCP/8080",
            &["10.0.0.1 terminating", "10.0.0.2"],
        ));
        rig.slice(slice(
            "web",
            order[1],
            "http/TCP/8080",
            &["10.0.0.1", "10.0.0.3", "10.0.0.3"],
        ))
        .settle();
        assert_eq!(
            rig.everyone("10.96.0.1:80"),
            "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080"
        );
    }
}

#[test]
fn semantics_6_3_equal_updates_plan_nothing_and_moves_lose_nothing() {
    let mut rig = Rig::new();
    rig.service(service("web", WEB))
        .slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]))
        .settle();
    rig.service(service("web", WEB))
        .slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]));
    assert!(rig.settle().is_empty());
    assert_eq!(
        (
            rig.planner.stats().service_changes_total,
            rig.planner.stats().endpoint_changes_total
        ),
        (1, 1)
    );
    rig.delete(Kind::EndpointSlice, "no-such-slice");
    assert_eq!(rig.planner.stats().endpoint_changes_total, 1);
    rig.delete(Kind::EndpointSlice, "web-1").slice(slice(
        "web",
        "web-2",
        "http/TCP/8080",
        &["10.0.0.1"],
    ));
    assert_eq!(rig.planner.stats().endpoint_changes_pending, 2);
    assert!(
        rig.settle().is_empty(),
        "the same backend, in the same slots"
    );
    assert_eq!(rig.planner.stats().endpoint_changes_pending, 0);
}

#[test]
fn semantics_7_no_endpoints_reject_and_policy_drops() {
    check(&[
        Case {
            rule: "7.1",
            service: "LoadBalancer ip=10.96.0.1 port=http/TCP/80/30080 lb=198.51.100.9 external=192.0.2.7 itp etp",
            endpoints: &[],
            expected: &[
                ("10.96.0.1:80", ALL, "reject"),
                ("*:30080", ALL, "reject"),
                ("198.51.100.9:80", ALL, "reject"),
                ("192.0.2.7:80", ALL, "reject"),
            ],
        },
        Case {
            rule: "7.2",
            service: LB_ETP,
            endpoints: &["10.0.0.1"],
            expected: &[
                ("*:30080", OUT, "drop"),
                ("10.96.0.1:80", ALL, "10.0.0.1:8080"),
            ],
        },
    ]);
}

#[test]
fn semantics_7_7_no_local_endpoints_are_counted_by_policy() {
    let mut rig = Rig::new();
    let both = "LoadBalancer ip=10.96.0.1 port=http/TCP/80/30080 itp etp";
    rig.service(service("web", both)).settle();
    let counts = |rig: &Rig| {
        (
            rig.planner.stats().v4.no_local_internal,
            rig.planner.stats().v4.no_local_external,
        )
    };
    assert_eq!(counts(&rig), (0, 0), "no endpoints at all");
    rig.slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]))
        .settle();
    assert_eq!(counts(&rig), (1, 1));
    rig.service(service(
        "web",
        "LoadBalancer ip=10.96.0.1 port=http/TCP/80/30080 etp",
    ))
    .settle();
    assert_eq!(counts(&rig), (0, 1));
    rig.slice(slice(
        "web",
        "web-1",
        "http/TCP/8080",
        &["10.0.0.1", "10.0.0.2 here"],
    ))
    .settle();
    assert_eq!(counts(&rig), (0, 0));
    rig.slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]))
        .settle();
    rig.delete(Kind::Service, "web").settle();
    assert_eq!(counts(&rig), (0, 0));
}

#[test]
fn semantics_10_4_and_16_1_serving_backends_drain() {
    let mut rig = Rig::new();
    rig.service(service("dns", "ip=10.96.0.10 port=dns/UDP/53"));
    let state = |rig: &Rig, id: u32| rig.maps.states[&id].state;
    let set = |rig: &mut Rig, endpoints: &[&str]| {
        rig.slice(slice("dns", "dns-1", "dns/UDP/53", endpoints))
            .settle();
    };
    set(&mut rig, &["10.0.0.1", "10.0.0.2"]);
    let id = rig.backend_ids().values().next().unwrap().0;
    assert_eq!(state(&rig, id), backend_state::ACTIVE);
    set(&mut rig, &["10.0.0.1 terminating", "10.0.0.2"]);
    assert_eq!(rig.everyone("10.96.0.10:53/UDP"), "10.0.0.2:53");
    assert_eq!(state(&rig, id), backend_state::DRAINING);
    assert_eq!(rig.planner.stats().v4.draining, 1);
    set(&mut rig, &["10.0.0.1 terminating", "10.0.0.2 terminating"]);
    assert_eq!(state(&rig, id), backend_state::ACTIVE, "16.2");
    set(&mut rig, &["10.0.0.1 terminating", "10.0.0.2"]);
    set(&mut rig, &["10.0.0.1 terminating not-serving", "10.0.0.2"]);
    assert_eq!(state(&rig, id), backend_state::GONE);
    assert_eq!(rig.planner.stats().v4.draining, 0);
    set(&mut rig, &["10.0.0.1 terminating", "10.0.0.2"]);
    assert_eq!(
        rig.backend_ids().len(),
        1,
        "a backend that was gone has no flows to drain"
    );
    set(&mut rig, &["10.0.0.2"]);
    set(&mut rig, &["10.0.0.2 unready"]);
    assert_eq!(rig.everyone("10.96.0.10:53/UDP"), "reject");
    assert_eq!(rig.planner.stats().v4.draining, 1, "unready, but serving");
}

#[test]
fn semantics_21_2_renamed_port_is_a_new_service_port() {
    let mut rig = Rig::new();
    rig.service(service("web", WEB))
        .slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]))
        .settle();
    let before = rig.service_ids();
    rig.service(service("web", "ip=10.96.0.1 port=web/TCP/80"))
        .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "reject");
    rig.slice(slice("web", "web-1", "web/TCP/8080", &["10.0.0.1"]))
        .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
    assert!(
        rig.service_ids()
            .values()
            .all(|id| !before.values().any(|old| old == id))
    );
}

#[test]
fn semantics_21_14_slices_wait_for_their_service() {
    let mut rig = Rig::new();
    rig.slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]))
        .settle();
    rig.service(service("web", WEB)).settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
    rig.delete(Kind::Service, "web").settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "none");
    rig.service(service("web", WEB)).settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
    rig.delete(Kind::EndpointSlice, "web-1").settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "reject");
}

#[test]
fn semantics_21_20_slice_port_without_protocol_is_tcp() {
    let mut slice = slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]);
    slice.ports[0].protocol = None;
    let mut rig = Rig::new();
    rig.service(service("web", WEB)).slice(slice).settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
}

#[test]
fn local_backends_are_marked_and_sets_are_shared() {
    let mut rig = Rig::new();
    rig.service(service("web", LB_ETP));
    rig.slice(slice(
        "web",
        "web-1",
        "http/TCP/8080",
        &["10.0.0.1", "10.0.0.2 here"],
    ))
    .settle();
    let local: Vec<bool> = rig
        .maps
        .backends4
        .values()
        .map(|backend| backend.flags.0 != 0)
        .collect();
    assert_eq!(
        local,
        [false, true, true],
        "two in the cluster set, one in the local set"
    );
    rig.slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.2 here"]))
        .settle_later();
    rig.settle_later();
    assert_eq!(rig.planner.stats().v4.slots, 1, "equal sets are one slice");
    assert_eq!(rig.maps.frontends4.len(), 4);
}

#[test]
fn relist_replaces_what_is_known() {
    let mut rig = Rig::new();
    rig.service(service("a", WEB))
        .service(service("b", "ip=10.96.0.2 port=http/TCP/80"));
    rig.slice(slice("a", "a-1", "http/TCP/8080", &["10.0.0.1"]));
    rig.slice(slice("b", "b-1", "http/TCP/8080", &["10.0.0.2"]))
        .settle();
    for kind in [Kind::Service, Kind::EndpointSlice] {
        rig.planner.apply(Change::RelistStart(kind));
    }
    assert!(
        rig.settle().is_empty(),
        "nothing happens before the list is complete"
    );
    rig.service(service("b", "ip=10.96.0.2 port=http/TCP/80"))
        .slice(slice("a", "a-1", "http/TCP/8080", &["10.0.0.1"]));
    for kind in [Kind::Service, Kind::EndpointSlice] {
        rig.planner.apply(Change::RelistEnd(kind));
    }
    rig.settle();
    assert_eq!(
        (rig.everyone("10.96.0.1:80"), rig.everyone("10.96.0.2:80")),
        ("none".to_owned(), "reject".to_owned())
    );
    assert_eq!(
        (
            rig.planner.stats().services,
            rig.planner.stats().endpoint_slices
        ),
        (1, 1)
    );
    let node = Change::Upsert(Object::Node(raw::Node::default()));
    rig.planner.apply(node);
}
