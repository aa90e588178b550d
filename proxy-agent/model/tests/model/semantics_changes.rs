//! kube-proxy's rules about what happens over time, by their numbers in SEMANTICS (sections 5.7 to 21).

use proxy_common::value::backend_state;
use proxy_model::{Change, Kind, Object, ObjectRef, raw};

use crate::cases::{LB_ETP, WEB};
use crate::rig::Rig;
use crate::words::{NODE, service, slice};

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
