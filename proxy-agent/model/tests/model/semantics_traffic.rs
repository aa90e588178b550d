//! kube-proxy's rules about policies and endpoints, by their numbers in SEMANTICS (sections 4, 5 and 7).

use crate::cases::{ALL, Case, HOST, IN, LB, LB_ETP, OUT, WEB, check};

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
