//! Full maps: what fits stays right, what does not keeps its old state and is tried again when there is room.

use proxy_model::{FrontendRef, Kind, MapOp, ObjectErrorKind};

use crate::rig::Rig;
use crate::words::{service, slice};

fn web(name: &str, index: u8) -> proxy_model::raw::Service {
    service(name, &format!("ip=10.96.0.{index} port=http/TCP/80"))
}

fn endpoints(rig: &mut Rig, name: &str, endpoints: &[&str]) {
    rig.slice(slice(
        name,
        &format!("{name}-1"),
        "http/TCP/8080",
        endpoints,
    ));
}

fn no_room(name: &str, map: &'static str) -> (String, ObjectErrorKind) {
    (
        name.to_owned(),
        ObjectErrorKind::NoRoom {
            port: "http".to_owned(),
            map,
        },
    )
}

#[test]
fn full_backends_keep_the_old_state_until_there_is_room() {
    let mut rig = Rig::with_room(10, 6);
    rig.service(web("a", 1)).service(web("b", 2));
    endpoints(&mut rig, "a", &["10.0.0.1", "10.0.0.2"]);
    endpoints(&mut rig, "b", &["10.0.1.1", "10.0.1.2"]);
    rig.settle();
    // Needs three slots beside the two it has; two are free.
    endpoints(&mut rig, "a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    rig.service(web("c", 3)).settle();
    assert_eq!(
        rig.everyone("10.96.0.1:80"),
        "10.0.0.1:8080 10.0.0.2:8080",
        "old state kept"
    );
    assert_eq!(rig.everyone("10.96.0.3:80"), "reject", "the others go on");
    assert_eq!(rig.errors(), [no_room("a", "BACKENDS_V4")]);
    assert_eq!(
        (rig.planner.stats().starved, rig.planner.retry_at()),
        (1, None)
    );
    assert!(
        rig.planner
            .services()
            .find(|view| view.name == "a")
            .unwrap()
            .starved
    );
    assert!(rig.settle_later().is_empty());
    rig.delete(Kind::Service, "b").settle();
    assert_eq!(
        rig.planner.retry_at(),
        Some(rig.now_ms),
        "a frontend was deleted; maybe that was what it waited for"
    );
    rig.settle();
    assert_eq!(rig.planner.retry_at(), Some(rig.now_ms + 1_000));
    rig.settle_later();
    assert_eq!(
        rig.everyone("10.96.0.1:80"),
        "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080"
    );
    assert_eq!(
        (
            rig.planner.stats().starved,
            rig.planner.stats().bad_objects,
            rig.errors()
        ),
        (0, 0, vec![])
    );
}

#[test]
fn full_backend_states_keep_the_old_state() {
    // Two families share the ids: five for both.
    let mut rig = Rig::with_room(10, 6);
    rig.service(service("a", "ip=10.96.0.1 ip=fd00:96::1 port=http/TCP/80"));
    endpoints(&mut rig, "a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    rig.slice(slice(
        "a",
        "a-6",
        "http/TCP/8080",
        &["fd00::1", "fd00::2", "fd00::3"],
    ))
    .settle();
    assert_eq!(
        rig.everyone("10.96.0.1:80"),
        "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080"
    );
    assert_eq!(rig.everyone("[fd00:96::1]:80"), "none");
    assert_eq!(rig.errors(), [no_room("a", "BACKEND_STATE")]);
    rig.slice(slice("a", "a-6", "http/TCP/8080", &["fd00::1", "fd00::2"]))
        .settle();
    assert_eq!(
        rig.everyone("[fd00:96::1]:80"),
        "[fd00::1]:8080 [fd00::2]:8080",
        "nothing leaked in the failed try"
    );
    assert_eq!(rig.planner.stats().backend_ids, 5);
}

#[test]
fn full_frontends_wait_for_a_deletion() {
    let mut rig = Rig::with_room(2, 100);
    for (name, index) in [("a", 1), ("b", 2), ("c", 3)] {
        rig.service(web(name, index));
        endpoints(&mut rig, name, &["10.0.0.1"]);
    }
    rig.settle();
    assert_eq!(rig.maps.frontends4.len(), 2);
    assert_eq!(rig.errors(), [no_room("c", "FRONTENDS_V4")]);
    endpoints(&mut rig, "a", &["10.0.0.2"]);
    rig.settle();
    assert_eq!(
        rig.everyone("10.96.0.1:80"),
        "10.0.0.2:8080",
        "frontends that are there change as ever"
    );
    rig.delete(Kind::Service, "b").settle();
    assert_eq!(
        rig.everyone("10.96.0.3:80"),
        "none",
        "the kernel must have deleted before we add"
    );
    rig.settle();
    assert_eq!(rig.everyone("10.96.0.3:80"), "10.0.0.1:8080");
    assert_eq!(rig.planner.stats().bad_objects, 0);
}

#[test]
fn service_that_starves_can_still_be_deleted() {
    let mut rig = Rig::with_room(10, 4);
    rig.service(web("a", 1));
    endpoints(&mut rig, "a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    rig.settle();
    endpoints(&mut rig, "a", &["10.0.0.1", "10.0.0.2"]);
    rig.settle();
    assert_eq!(rig.planner.stats().starved, 1);
    rig.delete(Kind::Service, "a").settle();
    assert_eq!(
        (rig.planner.stats().starved, rig.planner.stats().bad_objects),
        (0, 0)
    );
    rig.settle_later();
    let stats = rig.planner.stats();
    assert_eq!(
        (stats.v4.slots, stats.backend_ids, rig.maps.frontends4.len()),
        (0, 0, 0)
    );
}

#[test]
fn service_that_starves_and_is_no_longer_ours_is_forgiven() {
    let mut rig = Rig::with_room(10, 2);
    rig.service(web("a", 1));
    endpoints(&mut rig, "a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    rig.settle();
    assert_eq!(rig.planner.stats().bad_objects, 1);
    rig.delete(Kind::EndpointSlice, "a-1");
    rig.service(service("a", "ip=None port=http/TCP/80"))
        .settle();
    assert_eq!(
        (rig.planner.stats().bad_objects, rig.planner.stats().starved),
        (0, 0)
    );
}

/// Performs a plan on a kernel that refuses all frontend operations.
fn refuse(rig: &mut Rig) -> Vec<FrontendRef> {
    let mut refused = Vec::new();
    for op in rig.planner.plan(rig.now_ms) {
        match &op {
            MapOp::UpsertFrontends4(frontends) => {
                refused.extend(frontends.iter().map(|(key, _)| FrontendRef::V4(*key)));
            }
            MapOp::DeleteFrontends4(keys) => {
                refused.extend(keys.iter().map(|key| FrontendRef::V4(*key)));
            }
            _ => rig.maps.apply_one(&op),
        }
    }
    rig.planner.failed(&refused);
    refused
}

#[test]
fn refused_frontends_are_tried_again() {
    let mut rig = Rig::new();
    rig.service(web("a", 1));
    endpoints(&mut rig, "a", &["10.0.0.1"]);
    assert_eq!(refuse(&mut rig).len(), 1, "new");
    assert_eq!(
        (rig.planner.stats().refused, rig.planner.retry_at()),
        (1, Some(1_000))
    );
    assert!(!rig.planner.services().next().unwrap().frontends[0].served);
    assert_eq!(refuse(&mut rig).len(), 1, "again");
    rig.settle();
    assert_eq!(
        (rig.everyone("10.96.0.1:80"), rig.planner.stats().refused),
        ("10.0.0.1:8080".to_owned(), 0)
    );
    assert!(rig.settle_later().is_empty());
    rig.delete(Kind::Service, "a");
    assert_eq!(refuse(&mut rig).len(), 1, "deletion");
    rig.settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "none");
}

#[test]
fn slots_of_a_refused_replacement_stay_as_they_are() {
    let mut rig = Rig::with_room(10, 4);
    rig.service(web("a", 1)).service(web("b", 2));
    endpoints(&mut rig, "a", &["10.0.0.1"]);
    rig.settle();
    let before = rig.maps.backends4.clone();
    endpoints(&mut rig, "a", &["10.0.0.2"]);
    assert_eq!(refuse(&mut rig).len(), 1);
    for round in 1..5u8 {
        rig.now_ms += 2_000;
        endpoints(&mut rig, "b", &[&format!("10.0.1.{round}")]);
        refuse(&mut rig);
        let slot = rig.maps.frontends4.values().next().unwrap().slices[0].offset;
        assert_eq!(
            rig.maps.backends4[&slot], before[&slot],
            "the kernel's frontend still names this slot"
        );
    }
    rig.now_ms += 2_000;
    rig.settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.2:8080");
    rig.settle_later();
    assert_eq!(rig.planner.stats().v4.slots, 2);
}
