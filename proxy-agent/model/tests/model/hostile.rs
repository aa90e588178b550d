//! Objects that are valid, and meant to hurt.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proxy_model::Kind;

use crate::rig::Rig;
use crate::words::{service, slice};

#[test]
fn semantics_21_4_ten_thousand_ports_in_one_service() {
    let (mut words, mut ports) = ("ip=10.96.0.1".to_owned(), String::new());
    for number in 0..10_000 {
        write!(words, " port=p{number}/TCP/{}", number + 1).unwrap();
        write!(ports, "p{number}/TCP/{} ", number + 20_000).unwrap();
    }
    let mut rig = Rig::with_room(20_000, 100_000);
    let start = Instant::now();
    rig.service(service("web", &words));
    rig.slice(slice("web", "web-1", &ports, &["10.0.0.1", "10.0.0.2"]));
    let ops = rig.planner.plan(0);
    rig.maps.apply(&ops);
    assert_eq!(
        rig.everyone("10.96.0.1:10000"),
        "10.0.0.1:29999 10.0.0.2:29999"
    );
    rig.service(service("web", &format!("{words} affinity=60")));
    rig.slice(slice("web", "web-1", &ports, &["10.0.0.1", "10.0.0.3"]));
    let ops = rig.planner.plan(1_000);
    rig.maps.apply(&ops);
    assert_eq!(rig.everyone("10.96.0.1:1"), "10.0.0.1:20000 10.0.0.3:20000");
    assert_eq!(rig.maps.check(), Ok(()));
    // Quadratic work would take a minute.
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn semantics_5_2_hints_that_match_nothing_are_no_hints() {
    let all = "10.0.0.1:8080 10.0.0.2:8080";
    for (rule, endpoints) in [
        (
            "another zone",
            ["10.0.0.1 zone=zone-9", "10.0.0.2 zone=zone-8"],
        ),
        (
            "another node",
            ["10.0.0.1 node=node-x", "10.0.0.2 node=node-y"],
        ),
        ("only one has a hint", ["10.0.0.1 zone=zone-1", "10.0.0.2"]),
        ("an empty zone name", ["10.0.0.1 zone=", "10.0.0.2 zone="]),
        (
            "one of each kind",
            ["10.0.0.1 zone=zone-1", "10.0.0.2 node=node-a"],
        ),
    ] {
        let mut rig = Rig::new();
        rig.zone("zone-1")
            .service(service("web", "ip=10.96.0.1 port=http/TCP/80"));
        rig.slice(slice("web", "web-1", "http/TCP/8080", &endpoints))
            .settle();
        assert_eq!(rig.everyone("10.96.0.1:80"), all, "{rule}");
    }
    let mut rig = Rig::new();
    rig.zone("zone-1")
        .service(service("web", "ip=10.96.0.1 port=http/TCP/80"));
    let endpoints = &[
        "10.0.0.1 zone=zone-1 node=node-x",
        "10.0.0.2 zone=zone-2 node=node-y",
    ];
    rig.slice(slice("web", "web-1", "http/TCP/8080", endpoints))
        .settle();
    assert_eq!(
        rig.everyone("10.96.0.1:80"),
        "10.0.0.1:8080",
        "zones count where nodes match nothing"
    );
}

#[test]
fn semantics_2_13_a_frontend_goes_to_the_heir_with_ranges_and_all() {
    let lb = "LoadBalancer port=http/TCP/80 lb=198.51.100.9";
    let old = format!("{lb} ip=10.96.0.1 ranges=192.0.2.0/24 created=2026-01-01T00:00:00Z");
    let new = format!("{lb} ip=10.96.0.2 algorithm=round-robin created=2026-01-02T00:00:00Z");
    let mut rig = Rig::new();
    for name in ["one", "two"] {
        let addr = if name == "one" {
            "10.0.0.1"
        } else {
            "10.0.0.2"
        };
        rig.slice(slice(name, name, "http/TCP/8080", &[addr]));
    }
    rig.service(service("two", &new)).settle();
    assert_eq!(rig.rules("198.51.100.9:80"), "round-robin");
    rig.service(service("one", &old)).settle();
    assert_eq!(rig.error_labels(), ["duplicate_frontend"]);
    assert_eq!(
        rig.rules("198.51.100.9:80"),
        "ranges=192.0.2.0/24 host-denied",
        "the older one's"
    );
    assert_eq!(rig.everyone("198.51.100.9:80"), "10.0.0.1:8080");
    rig.delete(Kind::Service, "one").settle();
    assert_eq!(rig.rules("198.51.100.9:80"), "round-robin");
    assert_eq!(rig.everyone("198.51.100.9:80"), "10.0.0.2:8080");
    rig.settle_later();
    assert!(rig.maps.ranges4.is_empty());
}

#[test]
fn full_source_ranges_starve_the_port_and_nobody_else() {
    let lb = "LoadBalancer port=http/TCP/80";
    let mut rig = Rig::new();
    let ranges = |from: u32, count: u32| -> Vec<String> {
        let range = |number: u32| {
            format!(
                "{}/32",
                std::net::Ipv4Addr::from(0x1400_0000 + from + number)
            )
        };
        (0..count).map(range).collect()
    };
    let mut big = service("big", &format!("{lb} ip=10.96.0.1 lb=198.51.100.1"));
    big.spec.load_balancer_source_ranges = ranges(0, 65_000);
    let mut late = service("late", &format!("{lb} ip=10.96.0.2 lb=198.51.100.2"));
    late.spec.load_balancer_source_ranges = ranges(70_000, 1_000);
    for service in [big, late] {
        rig.service(service).planner.plan(0);
    }
    rig.service(service("good", "ip=10.96.0.3 port=http/TCP/80"));
    rig.planner.plan(0);
    let errors = rig.errors();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].1.to_string().contains("SOURCE_RANGES_V4 is full"),
        "{}",
        errors[0].1
    );
    rig.delete(Kind::Service, "big").planner.plan(0);
    assert_eq!(rig.planner.retry_at(), Some(0));
    rig.planner.plan(500);
    assert_eq!(rig.planner.stats().starved, 1);
    rig.planner.plan(1_500);
    assert_eq!(rig.planner.stats().starved, 0);
}
