//! What addresses are, networks of Services, gates and algorithms, by their numbers in SEMANTICS.

use proxy_model::policy::{Algorithm, Policy};
use proxy_model::{Change, Kind};

use crate::cases::{LB_ETP, WEB};
use crate::rig::Rig;
use crate::semantics_policies::{NODE, iptables, rig};
use crate::words::{endpoint, service, slice};

#[test]
fn semantics_4_10_what_addresses_are() {
    let words = "LoadBalancer ip=10.96.0.1 ip=fd00:96::1 port=http/TCP/80/30080 external=192.0.2.7 lb=198.51.100.9";
    let text = |rig: &Rig| -> Vec<String> {
        let known = rig.addresses().into_iter();
        known
            .map(|(addr, text)| format!("{addr} {}", text.trim()))
            .collect()
    };
    let rig_nft = rig(Policy::default(), words, &["10.0.0.1"]);
    assert_eq!(
        text(&rig_nft),
        [
            "10.96.0.1 virtual reject echo",
            "192.0.2.7 virtual echo",
            "198.51.100.9 virtual echo",
            "fd00:96::1 virtual reject"
        ]
    );
    let rig_ipt = rig(iptables(), words, &["10.0.0.1"]);
    assert_eq!(
        text(&rig_ipt),
        [
            "10.96.0.1 virtual echo",
            "192.0.2.7 virtual echo",
            "198.51.100.9 virtual echo",
            "fd00:96::1 virtual"
        ]
    );
}

#[test]
fn semantics_4_10_addresses_follow_their_frontends() {
    let mut rig = rig(
        Policy::default(),
        "ip=10.96.0.1 port=http/TCP/80 external=10.96.0.2",
        &["10.0.0.1"],
    );
    let text = |rig: &Rig, addr: &str| rig.addresses().get(&addr.parse().unwrap()).cloned();
    rig.service(service("other", "ip=10.96.0.2 port=https/TCP/443"))
        .settle();
    assert_eq!(
        text(&rig, "10.96.0.2").as_deref(),
        Some("virtual reject echo "),
        "one's cluster IP, another's external IP"
    );
    rig.slice(slice("web", "web-1", "http/TCP/8080", &[]))
        .settle();
    assert_eq!(
        text(&rig, "10.96.0.2").as_deref(),
        Some("virtual reject "),
        "nothing lives there"
    );
    rig.delete(Kind::Service, "other").settle();
    assert_eq!(text(&rig, "10.96.0.2").as_deref(), Some("virtual "));
    rig.delete(Kind::Service, "web").settle();
    assert!(rig.addresses().is_empty());
}

#[test]
fn address_that_the_kernel_refused_is_told_again() {
    let mut rig = rig(Policy::default(), WEB, &["10.0.0.1"]);
    let addr = "10.96.0.1".parse().unwrap();
    rig.maps.addrs4.clear();
    rig.planner.failed_addrs(&[addr]);
    assert_eq!(rig.planner.retry_at(), Some(1_000));
    rig.settle();
    assert!(rig.addresses().contains_key(&addr));
    assert_eq!(rig.planner.retry_at(), None);
    rig.delete(Kind::Service, "web").settle();
    rig.maps.addrs4.insert(
        std::net::Ipv4Addr::new(10, 96, 0, 1).into(),
        proxy_common::flags::AddrFlags::VIRTUAL,
    );
    rig.planner.failed_addrs(&[addr]);
    rig.settle();
    assert!(rig.addresses().is_empty());
}

#[test]
fn semantics_4_11_service_cidrs_follow_their_objects() {
    let mut rig = Rig::new();
    rig.service_cidr("a", "10.96.0.0/16 fd00:96::/108")
        .service_cidr("b", "10.96.0.0/16 10.97.0.0/16")
        .settle();
    let both = ["10.96.0.0/16".to_owned(), "10.97.0.0/16".to_owned()];
    assert_eq!(rig.cidrs(false).1, both);
    assert_eq!(rig.cidrs(true).1, ["fd00:96::/108"]);
    rig.delete(Kind::ServiceCidr, "a").settle();
    assert_eq!(
        (rig.cidrs(false).1, rig.cidrs(true).1),
        (both.to_vec(), vec![])
    );
    rig.planner.apply(Change::RelistStart(Kind::ServiceCidr));
    rig.planner.apply(Change::RelistEnd(Kind::ServiceCidr));
    rig.settle();
    assert!(rig.cidrs(false).1.is_empty());
    let mut rig = Rig::with_policy(iptables());
    assert_eq!(
        rig.service_cidr("a", "10.96.0.0/16").settle(),
        [],
        "iptables mode lets them pass"
    );
}

#[test]
fn bad_service_cidrs_are_reported() {
    let mut rig = Rig::new();
    rig.service_cidr("bad", "10.96.0.0 0.0.0.0/0 ::/0").settle();
    assert_eq!(rig.error_labels(), ["invalid_network"]);
    assert!(
        rig.cidrs(false).1.is_empty(),
        "one without prefix would drop everything"
    );
    let many: Vec<String> = (0..16)
        .map(|number| format!("10.{number}.0.0/16"))
        .collect();
    rig.service_cidr("many", &many.join(" ")).settle();
    assert_eq!(rig.error_labels(), ["service_cidr_room"]);
    assert_eq!(rig.cidrs(false).1.len(), 15);
    rig.service_cidr("many", "10.0.0.0/16").settle();
    assert_eq!((rig.error_labels(), rig.cidrs(false).1.len()), (vec![], 1));
}

#[test]
fn semantics_2_3_external_ips_can_be_switched_off() {
    let off = Policy {
        ignore_external_ips: true,
        ..Policy::default()
    };
    let words = "ip=10.96.0.1 port=http/TCP/80 external=192.0.2.7 lb=198.51.100.9 etp";
    let rig = rig(off, words, &["10.0.0.1"]);
    assert_eq!(rig.everyone("192.0.2.7:80"), "none");
    assert_eq!(
        rig.everyone("198.51.100.9:80"),
        "10.0.0.1:8080",
        "2.12: without external IPs the policy is not honoured"
    );
}

#[test]
fn semantics_5_2_node_hints_can_be_switched_off() {
    let endpoints = &[
        "10.0.0.1 node=node-a zone=zone-1",
        "10.0.0.2 node=node-b zone=zone-1",
    ];
    let outcome = |ignore_node_hints| {
        let policy = Policy {
            ignore_node_hints,
            ..Policy::default()
        };
        rig(policy, WEB, endpoints).everyone("10.96.0.1:80")
    };
    assert_eq!(outcome(false), "10.0.0.1:8080");
    assert_eq!(outcome(true), "10.0.0.1:8080 10.0.0.2:8080");
}

#[test]
fn algorithms_by_annotation_and_default() {
    let by_default = Policy {
        algorithm: Algorithm::LeastConnections,
        ..Policy::default()
    };
    for (policy, words, expected) in [
        (Policy::default(), "", "cluster-ip"),
        (Policy::default(), "algorithm=random", "cluster-ip"),
        (
            Policy::default(),
            "algorithm=round-robin",
            "cluster-ip round-robin",
        ),
        (
            Policy::default(),
            "algorithm=least-connections",
            "cluster-ip least-connections",
        ),
        (
            Policy::default(),
            "algorithm=maglev affinity=60",
            "cluster-ip affinity=60 maglev",
        ),
        (by_default.clone(), "", "cluster-ip least-connections"),
        (by_default.clone(), "algorithm=random", "cluster-ip"),
        (
            by_default,
            "algorithm=Maglev",
            "cluster-ip least-connections",
        ),
    ] {
        let mut rig = rig(policy, &format!("{WEB} {words}"), &["10.0.0.1"]);
        assert_eq!(rig.rules("10.96.0.1:80"), expected, "{words}");
        let bad = if words == "algorithm=Maglev" {
            vec!["unknown_algorithm"]
        } else {
            vec![]
        };
        assert_eq!(rig.error_labels(), bad);
    }
}

#[test]
fn semantics_21_8_external_ip_on_the_ssh_port_is_obeyed_and_warned_of_once() {
    let words = "ip=10.96.0.1 port=ssh/TCP/22 external=10.1.2.3";
    let mut rig = Rig::new();
    rig.service(service("web", words))
        .slice(slice("web", "web-1", "ssh/TCP/22", &["10.0.0.1"]));
    rig.settle();
    assert_eq!(
        rig.error_labels(),
        [""; 0],
        "the node's addresses are not known yet"
    );
    rig.node("", NODE).settle();
    assert_eq!(rig.error_labels(), ["captures_ssh"]);
    assert_eq!(rig.everyone("10.1.2.3:22"), "10.0.0.1:22");
    rig.node("zone-2", NODE)
        .service(service("web", &format!("{words} affinity=9")))
        .settle();
    assert_eq!(rig.error_labels(), [""; 0]);
    rig.service(service(
        "web",
        "ip=10.96.0.1 port=web/TCP/80 external=10.1.2.3",
    ))
    .settle();
    assert_eq!(rig.planner.stats().bad_objects, 0);
}

#[test]
fn semantics_8_6_sets_of_backends_are_written_and_follow_them() {
    let sets = |rig: &Rig| -> Vec<(u32, u16, u16)> {
        rig.maps
            .states
            .iter()
            .map(|(id, state)| (*id, state.state, state.sets))
            .collect()
    };
    let mut rig = rig(Policy::default(), LB_ETP, &["10.0.0.1 here", "10.0.0.2"]);
    assert_eq!(
        sets(&rig),
        [(1, 1, 3), (2, 1, 1)],
        "cluster and local; cluster"
    );
    rig.slice(slice(
        "web",
        "web-1",
        "http/TCP/8080",
        &["10.0.0.1 here terminating", "10.0.0.2"],
    ))
    .settle();
    assert_eq!(
        sets(&rig),
        [(1, 1, 2), (2, 1, 1)],
        "it only serves clients of this node's policy"
    );
    rig.slice(slice(
        "web",
        "web-1",
        "http/TCP/8080",
        &["10.0.0.1 terminating", "10.0.0.2 here"],
    ))
    .settle();
    assert_eq!(sets(&rig), [(1, 2, 0), (2, 1, 3)], "it drains");
    assert_eq!(
        endpoint("10.0.0.1 terminating").conditions.ready,
        Some(false)
    );
}
