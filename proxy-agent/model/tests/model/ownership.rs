//! Frontends that several Services want: one has it, and hands over when it goes.

use proxy_model::{FrontendKind, Kind, ObjectErrorKind};

use crate::rig::Rig;
use crate::words::{service, slice};

const OLD: &str = "ip=10.96.0.1 port=http/TCP/80 external=192.0.2.7 created=2026-01-01T00:00:00Z";
const NEW: &str = "ip=10.96.0.2 port=http/TCP/80 external=192.0.2.7 created=2026-01-02T00:00:00Z";

fn rig() -> Rig {
    let mut rig = Rig::new();
    for (name, addr) in [
        ("one", "10.0.0.1"),
        ("two", "10.0.0.2"),
        ("three", "10.0.0.3"),
    ] {
        rig.slice(slice(name, &format!("{name}-1"), "http/TCP/8080", &[addr]));
    }
    rig
}

fn duplicate(winner: &str) -> ObjectErrorKind {
    ObjectErrorKind::DuplicateFrontend {
        frontend: "192.0.2.7:80/TCP".to_owned(),
        winner: winner.to_owned(),
    }
}

#[test]
fn older_service_wins_in_any_order() {
    for order in [["one", "two"], ["two", "one"]] {
        let mut rig = rig();
        for name in order {
            rig.service(service(name, if name == "one" { OLD } else { NEW }))
                .settle();
        }
        assert_eq!(rig.everyone("192.0.2.7:80"), "10.0.0.1:8080", "{order:?}");
        assert_eq!(
            rig.everyone("10.96.0.2:80"),
            "10.0.0.2:8080",
            "the rest of the loser is served"
        );
        assert_eq!(rig.errors(), [("two".to_owned(), duplicate("default/one"))]);
        let view = rig
            .planner
            .services()
            .find(|view| view.name == "two")
            .unwrap();
        let served: Vec<_> = view
            .frontends
            .iter()
            .map(|frontend| (frontend.kind, frontend.served))
            .collect();
        assert_eq!(
            served,
            [
                (FrontendKind::ClusterIp, true),
                (FrontendKind::ExternalIp, false)
            ]
        );
    }
}

#[test]
fn frontend_is_handed_over_when_the_winner_goes() {
    let mut rig = rig();
    rig.service(service("one", OLD))
        .service(service("two", NEW))
        .settle();
    assert_eq!(rig.errors().len(), 1);
    rig.delete(Kind::Service, "one").settle();
    assert_eq!(rig.everyone("192.0.2.7:80"), "10.0.0.2:8080");
    assert_eq!((rig.errors(), rig.planner.stats().bad_objects), (vec![], 0));
    rig.service(service("one", OLD)).settle();
    assert_eq!(rig.everyone("192.0.2.7:80"), "10.0.0.1:8080");
    assert_eq!(
        rig.errors(),
        [("two".to_owned(), duplicate("default/one"))],
        "told again, as it went away in between"
    );
    rig.service(service("one", "ip=10.96.0.1 port=http/TCP/80"))
        .settle();
    assert_eq!(
        rig.everyone("192.0.2.7:80"),
        "10.0.0.2:8080",
        "the winner does not want it any more"
    );
}

#[test]
fn equal_age_is_decided_by_name_and_unknown_age_is_young() {
    let ageless = "ip=10.96.0.3 port=http/TCP/80 external=192.0.2.7";
    let mut rig = rig();
    rig.service(service("two", &ageless.replace("0.3", "0.2")))
        .service(service("three", ageless))
        .settle();
    assert_eq!(
        rig.everyone("192.0.2.7:80"),
        "10.0.0.3:8080",
        "three before two"
    );
    rig.service(service("one", OLD)).settle();
    assert_eq!(rig.everyone("192.0.2.7:80"), "10.0.0.1:8080");
    rig.delete(Kind::Service, "one")
        .delete(Kind::Service, "three")
        .settle();
    assert_eq!(rig.everyone("192.0.2.7:80"), "10.0.0.2:8080");
}

#[test]
fn one_service_may_ask_twice() {
    let mut rig = rig();
    let words = "LoadBalancer ip=10.96.0.1 port=http/TCP/80 external=192.0.2.7 lb=192.0.2.7 external=10.96.0.1";
    rig.service(service("one", words)).settle();
    assert_eq!(rig.everyone("192.0.2.7:80"), "10.0.0.1:8080");
    assert_eq!((rig.errors(), rig.maps.frontends4.len()), (vec![], 2));
    rig.service(service(
        "one",
        "LoadBalancer ip=10.96.0.1 port=http/TCP/80 lb=192.0.2.7",
    ))
    .settle();
    assert_eq!(rig.everyone("192.0.2.7:80"), "10.0.0.1:8080");
    rig.service(service("one", "LoadBalancer ip=10.96.0.1 port=http/TCP/80"))
        .settle();
    assert_eq!(rig.everyone("192.0.2.7:80"), "none");
}

#[test]
fn two_ports_of_one_service_are_decided_by_their_order() {
    let mut rig = Rig::new();
    rig.slice(slice("one", "one-1", "a/TCP/1 b/TCP/2", &["10.0.0.1"]));
    rig.service(service("one", "ip=10.96.0.1 port=a/TCP/80 port=b/TCP/80"))
        .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:1");
    assert_eq!(rig.error_labels(), ["duplicate_frontend"]);
    rig.service(service("one", "ip=10.96.0.1 port=b/TCP/80 port=a/TCP/80"))
        .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:2");
    rig.service(service("one", "ip=10.96.0.1 port=a/TCP/80"))
        .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:1");
}

#[test]
fn service_with_all_frontends_lost_holds_no_slots() {
    let mut rig = rig();
    rig.service(service("one", OLD)).settle();
    let before = rig.planner.stats().v4.slots;
    rig.service(service("two", "ip=10.96.0.1 port=http/TCP/80"))
        .settle();
    assert_eq!(rig.planner.stats().v4.slots, before);
    rig.delete(Kind::Service, "one").settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.2:8080");
}
