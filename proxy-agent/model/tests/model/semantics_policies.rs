//! Who may connect, who is masqueraded, what addresses are: by profile and detector, by their numbers in SEMANTICS.

use proxy_model::Kind;
use proxy_model::policy::{DetectLocal, Policy, Profile, SourceIp};

use crate::cases::{LB, LB_ETP, WEB};
use crate::rig::Rig;
use crate::words::{service, slice};

/// Our node's internal addresses.
pub(crate) const NODE: &str = "10.1.2.3 fd00:1::3";

/// A Service with these endpoints, planned by this policy.
pub(crate) fn rig(policy: Policy, words: &str, endpoints: &[&str]) -> Rig {
    let mut rig = Rig::with_policy(policy);
    rig.node("zone-1", NODE).service(service("web", words));
    rig.slice(slice("web", "web-1", "http/TCP/8080", endpoints));
    rig.settle();
    rig
}

/// The profile of that mode.
pub(crate) fn iptables() -> Policy {
    Policy {
        profile: Profile::Iptables,
        ..Policy::default()
    }
}

#[test]
fn semantics_4_7_source_ranges_of_load_balancer_ips() {
    let lb = "LoadBalancer ip=10.96.0.1 port=http/TCP/80/30080 external=192.0.2.7 lb=198.51.100.9";
    for (rule, ranges, expected) in [
        ("only one family's", "ranges=fd00::/16", ""),
        (
            "node outside",
            "ranges=192.0.2.0/24",
            "ranges=192.0.2.0/24 host-denied",
        ),
        (
            "node inside",
            "ranges=10.0.0.0/8",
            "ranges=10.0.0.0/8,198.51.100.9/32",
        ),
        (
            "2.8",
            "ranges=010.01.0.0/08 ranges=nonsense",
            "ranges=10.0.0.0/8,198.51.100.9/32",
        ),
        (
            "everybody",
            "ranges=0.0.0.0/0",
            "ranges=0.0.0.0/0,198.51.100.9/32",
        ),
        ("2.8, none is left", "ranges=10.0.0.0/33", ""),
    ] {
        let rig = rig(Policy::default(), &format!("{lb} {ranges}"), &["10.0.0.1"]);
        assert_eq!(rig.rules("198.51.100.9:80"), expected, "{rule}");
        for other in ["192.0.2.7:80", "*:30080"] {
            assert_eq!(rig.rules(other), "", "{rule}: {other}");
        }
        assert_eq!(rig.rules("10.96.0.1:80"), "cluster-ip", "{rule}");
    }
}

#[test]
fn semantics_4_7_and_22_1_ranges_follow_the_address() {
    let both = "LoadBalancer ip=10.96.0.1 port=http/TCP/80 external=198.51.100.9 lb=198.51.100.9 ranges=192.0.2.0/24";
    let rig = rig(Policy::default(), both, &["10.0.0.1"]);
    assert_eq!(
        rig.rules("198.51.100.9:80"),
        "ranges=192.0.2.0/24 host-denied"
    );
}

#[test]
fn semantics_4_7_without_endpoints_iptables_has_no_firewall() {
    let words = "LoadBalancer ip=10.96.0.1 port=http/TCP/80 lb=198.51.100.9 ranges=192.0.2.0/24";
    let drops = "ranges=192.0.2.0/24 host-denied";
    for (policy, endpoints, expected) in [
        (iptables(), &[][..], ""),
        (iptables(), &["10.0.0.1"][..], drops),
        (Policy::default(), &[][..], drops),
    ] {
        let rig = rig(policy, words, endpoints);
        assert_eq!(rig.rules("198.51.100.9:80"), expected);
    }
}

#[test]
fn semantics_13_4_the_node_ip_decides_and_may_change() {
    let words = "LoadBalancer ip=10.96.0.1 port=http/TCP/80 lb=198.51.100.9 ranges=10.0.0.0/8";
    let mut rig = rig(Policy::default(), words, &["10.0.0.1"]);
    let admitted = "ranges=10.0.0.0/8,198.51.100.9/32";
    assert_eq!(rig.rules("198.51.100.9:80"), admitted);
    rig.node("zone-1", "192.0.2.1 10.1.2.3").settle();
    let denied = "ranges=10.0.0.0/8 host-denied";
    assert_eq!(
        rig.rules("198.51.100.9:80"),
        denied,
        "the first address counts"
    );
    rig.delete(Kind::Node, "node-a").settle();
    assert_eq!(
        rig.rules("198.51.100.9:80"),
        denied,
        "the last one known counts"
    );
    let node_ip = Some("10.9.9.9".parse().unwrap());
    let bound = Policy {
        node_ip,
        ..Policy::default()
    };
    let mut rig = Rig::with_policy(bound);
    rig.node("", "192.0.2.1")
        .service(service("web", words))
        .settle();
    assert_eq!(
        rig.rules("198.51.100.9:80"),
        admitted,
        "bindAddress counts more"
    );
}

#[test]
fn source_ranges_of_many_ports_are_one_set_and_go_after_their_grace_period() {
    let words =
        "LoadBalancer ip=10.96.0.1 port=a/TCP/80 port=b/TCP/81 lb=198.51.100.9 lb=198.51.100.10";
    let mut rig = Rig::new();
    rig.service(service("web", &format!("{words} ranges=192.0.2.0/24")))
        .settle();
    assert_eq!(rig.maps.ranges4.len(), 1);
    rig.service(service("web", words)).settle();
    assert_eq!(rig.rules("198.51.100.9:80"), "");
    assert_eq!(
        rig.maps.ranges4.len(),
        1,
        "a program may just have read the frontend"
    );
    assert_eq!(rig.planner.retry_at(), Some(1_000));
    rig.settle_later();
    assert_eq!((rig.maps.ranges4.len(), rig.planner.retry_at()), (0, None));
}

#[test]
fn semantics_9_2_who_is_masqueraded() {
    let exact = |detect_local, masquerade_all| Policy {
        source_ip: SourceIp::KubeProxy,
        detect_local,
        masquerade_all,
        ..Policy::default()
    };
    let all = Policy {
        masquerade_all: true,
        ..Policy::default()
    };
    let cidr = || DetectLocal::ClusterCidr(vec![("10.200.0.0".parse().unwrap(), 16)]);
    let only6 = || DetectLocal::ClusterCidr(vec![("fd00::".parse().unwrap(), 16)]);
    let (none, everybody, others) = (
        "cluster-ip",
        "cluster-ip masquerade=ioh",
        "cluster-ip masquerade=oh",
    );
    for (rule, policy, cluster_ip, etp_cluster, etp_local) in [
        ("preserve", Policy::default(), none, "", ""),
        ("preserve, masqueradeAll", all, everybody, "", ""),
        (
            "devices",
            exact(DetectLocal::Device, false),
            others,
            "masquerade=ioh",
            "masquerade=h",
        ),
        (
            "names",
            exact(DetectLocal::Interface, false),
            others,
            "masquerade=ioh",
            "masquerade=h",
        ),
        (
            "CIDR",
            exact(cidr(), false),
            others,
            "masquerade=ioh",
            "masquerade=h",
        ),
        (
            "masqueradeAll",
            exact(cidr(), true),
            everybody,
            "masquerade=ioh",
            "masquerade=h",
        ),
        (
            "9.4: no data for the family",
            exact(only6(), false),
            none,
            "masquerade=ioh",
            "masquerade=h",
        ),
        (
            "9.4: no podCIDRs",
            exact(DetectLocal::NodeCidr, false),
            none,
            "masquerade=ioh",
            "masquerade=h",
        ),
    ] {
        for (words, external) in [(LB, etp_cluster), (LB_ETP, etp_local)] {
            let rig = rig(policy.clone(), words, &["10.0.0.1"]);
            assert_eq!(rig.rules("10.96.0.1:80"), cluster_ip, "{rule}: {words}");
            for frontend in ["*:30080", "192.0.2.7:80", "198.51.100.9:80"] {
                assert_eq!(rig.rules(frontend), external, "{rule}: {words}: {frontend}");
            }
        }
    }
}

#[test]
fn semantics_9_4_ranges_of_local_pods() {
    let cluster = DetectLocal::ClusterCidr(vec![
        ("10.200.7.7".parse().unwrap(), 16),
        ("10.201.0.0".parse().unwrap(), 16),
        ("fd00:7::".parse().unwrap(), 48),
    ]);
    let local = |detect_local: DetectLocal, node: &str| {
        let mut rig = Rig::with_policy(Policy {
            detect_local,
            ..Policy::default()
        });
        rig.node("", node).settle();
        [rig.cidrs(false).0, rig.cidrs(true).0]
    };
    let text =
        |v4: &str, v6: &str| [v4, v6].map(|text| (!text.is_empty()).then(|| text.to_owned()));
    let node = "10.244.3.0/24 fd00:3::/64 10.245.0.0/24";
    assert_eq!(local(cluster, node), text("10.200.0.0/16", "fd00:7::/48"));
    assert_eq!(
        local(DetectLocal::NodeCidr, node),
        text("10.244.3.0/24", "fd00:3::/64")
    );
    assert_eq!(local(DetectLocal::NodeCidr, ""), text("", ""));
    assert_eq!(local(DetectLocal::Device, node), text("", ""));
}

#[test]
fn semantics_9_4_node_cidrs_may_come_late() {
    let mut rig = Rig::with_policy(Policy {
        detect_local: DetectLocal::NodeCidr,
        source_ip: SourceIp::KubeProxy,
        ..Policy::default()
    });
    rig.service(service("web", WEB)).settle();
    assert_eq!(rig.rules("10.96.0.1:80"), "cluster-ip");
    rig.node("", "10.244.3.0/24").settle();
    assert_eq!(rig.rules("10.96.0.1:80"), "cluster-ip masquerade=oh");
    assert_eq!(rig.cidrs(false).0.as_deref(), Some("10.244.3.0/24"));
}
