//! A new agent over the maps of an earlier one.

use proxy_common::flags::FrontendFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend, Slice, backend_state};
use proxy_model::{Dump, MapOp};

use crate::rig::Rig;
use crate::words::{service, slice};

const WEB: &str =
    "LoadBalancer ip=10.96.0.1 ip=fd00:96::1 port=http/TCP/80/30080 port=dns/UDP/53 etp";

fn fill(rig: &mut Rig, endpoints: &[&str]) {
    rig.service(service("web", WEB))
        .service(service("api", "ip=10.96.0.2 port=http/TCP/80 affinity=60"));
    rig.slice(slice("web", "web-1", "http/TCP/8080 dns/UDP/53", endpoints));
    rig.slice(slice(
        "web",
        "web-6",
        "http/TCP/8080 dns/UDP/53",
        &["fd00::1", "fd00::2 here"],
    ));
    rig.slice(slice(
        "api",
        "api-1",
        "http/TCP/8080",
        &["10.0.1.1", "10.0.1.2"],
    ));
}

const THREE: &[&str] = &["10.0.0.1", "10.0.0.2 here", "10.0.0.3"];

#[test]
fn restart_without_changes_plans_nothing() {
    let mut rig = Rig::new();
    // Other ids than a fresh planner would give.
    rig.service(service("zero", "ip=10.96.0.9 port=http/TCP/80"))
        .settle();
    fill(&mut rig, THREE);
    rig.settle();
    let mut again = rig.restarted();
    fill(&mut again, THREE);
    again.service(service("zero", "ip=10.96.0.9 port=http/TCP/80"));
    assert_eq!(again.settle_again(), []);
    assert_eq!(again.backend_ids(), rig.backend_ids());
    assert_eq!(again.service_ids(), rig.service_ids());
    assert_eq!(again.planner.stats().v4, rig.planner.stats().v4);
    assert_eq!(
        again.planner.stats().backend_ids,
        rig.planner.stats().backend_ids
    );
}

#[test]
fn restart_keeps_ids_of_what_stays_and_removes_what_went() {
    let mut rig = Rig::new();
    fill(&mut rig, THREE);
    rig.settle();
    let mut again = rig.restarted();
    again.service(service("web", WEB));
    again
        .slice(slice(
            "web",
            "web-1",
            "http/TCP/8080 dns/UDP/53",
            &["10.0.0.2 here", "10.0.0.4"],
        ))
        .settle();
    for (name, id) in again.service_ids() {
        assert_eq!(rig.service_ids().get(&name), Some(&id), "{name:?}");
    }
    let (before, after) = (rig.backend_ids(), again.backend_ids());
    let kept: Vec<_> = after
        .iter()
        .filter(|(name, _)| before.contains_key(*name))
        .collect();
    assert_eq!(kept.len(), 2, "10.0.0.2 on both ports");
    assert!(kept.iter().all(|(name, id)| before[*name] == **id));
    assert_eq!(again.everyone("10.96.0.2:80"), "none");
    let live = again
        .maps
        .states
        .values()
        .filter(|state| state.state != backend_state::GONE)
        .count();
    assert_eq!(live, after.len());
    again.settle_later();
    assert_eq!(
        (
            again.planner.stats().backend_ids,
            again.planner.stats().v4.slots
        ),
        (4, 5)
    );
}

#[test]
fn restart_after_any_prefix_of_a_plan_ends_right() {
    let mut rig = Rig::new();
    fill(&mut rig, THREE);
    rig.settle();
    let after = &[
        "10.0.0.2 here",
        "10.0.0.3 terminating",
        "10.0.0.4",
        "10.0.0.5 here",
    ];
    let before = rig.clone();
    fill(&mut rig, after);
    let ops: Vec<MapOp> = rig
        .planner
        .plan(0)
        .iter()
        .flat_map(crate::rig::single_steps)
        .collect();
    for length in 0..=ops.len() {
        let mut crashed = before.clone();
        crashed.maps.apply(&ops[..length]);
        let mut again = crashed.restarted();
        fill(&mut again, after);
        again.settle();
        assert_eq!(
            again.outcome("*:30080", proxy_common::value::Class::Outside),
            "10.0.0.2:8080 10.0.0.5:8080"
        );
        assert_eq!(
            again.everyone("10.96.0.1:80"),
            "10.0.0.2:8080 10.0.0.4:8080 10.0.0.5:8080"
        );
        assert_eq!(again.service_ids(), before.service_ids());
        for (name, id) in again.backend_ids() {
            assert!(
                before
                    .backend_ids()
                    .get(&name)
                    .is_none_or(|known| *known == id),
                "{name:?} after {length} steps"
            );
        }
        again.settle_later();
        again.settle_later();
        let stats = again.planner.stats();
        let held = again
            .planner
            .services()
            .map(|view| view.backends.len())
            .sum::<usize>();
        assert_eq!(stats.backend_ids, held, "no id leaks");
    }
}

#[test]
fn draining_backend_keeps_draining_over_a_restart() {
    let mut rig = Rig::new();
    let now = &["10.0.0.1 terminating", "10.0.0.2 here"];
    fill(&mut rig, THREE);
    rig.settle();
    fill(&mut rig, now);
    rig.settle();
    let draining = |rig: &Rig| -> Vec<u32> {
        rig.maps
            .states
            .iter()
            .filter(|(_, state)| state.state == backend_state::DRAINING)
            .map(|(id, _)| *id)
            .collect()
    };
    assert_eq!(draining(&rig).len(), 2, "on two ports");
    let mut again = rig.restarted();
    fill(&mut again, now);
    again.settle();
    assert_eq!(draining(&again), draining(&rig));
    let mut after_it_stopped = rig.restarted();
    fill(&mut after_it_stopped, &["10.0.0.2 here"]);
    after_it_stopped.settle();
    assert_eq!(draining(&after_it_stopped), []);
}

#[test]
fn generations_survive_a_restart() {
    let mut rig = Rig::with_room(100, 3);
    rig.service(service("a", "ip=10.96.0.1 port=http/TCP/80"));
    for round in 1..6u8 {
        rig.slice(slice(
            "a",
            "a-1",
            "http/TCP/8080",
            &[&format!("10.0.0.{round}")],
        ))
        .settle();
        rig.settle_later();
        let mut again = Rig {
            maps: rig.maps.clone(),
            now_ms: rig.now_ms,
            ..Rig::with_room(100, 3)
        };
        again.planner.recover(rig.maps.dump());
        again.service(service("a", "ip=10.96.0.1 port=http/TCP/80"));
        again.slice(slice(
            "a",
            "a-1",
            "http/TCP/8080",
            &[&format!("10.0.0.{round}")],
        ));
        assert_eq!(again.settle_again(), []);
        rig = again;
    }
    let generations: u32 = rig.maps.states.values().map(|state| state.generation).sum();
    assert_eq!(generations, 5, "five backends had these two ids");
}

#[test]
fn damaged_dump_is_repaired_without_touching_named_slots() {
    let slot = |id: u32, last: u8| Backend {
        addr: std::net::Ipv4Addr::new(10, 0, 0, last).into(),
        port: proxy_common::be::Be16::new(8080),
        id,
        generation: 1,
        ..Backend::default()
    };
    let key = |last: u8| {
        let addr = std::net::Ipv4Addr::new(10, 96, 0, last);
        FrontendKey::new(addr.into(), proxy_common::be::Be16::new(80), 6)
    };
    let frontend = |service: u32, offset: u32, count: u32| Frontend {
        service,
        flags: FrontendFlags(0xdead),
        affinity_seconds: 7,
        ranges: 9,
        slices: [
            Slice { offset, count },
            Slice {
                offset: offset + 1,
                count,
            },
            Slice {
                offset: u32::MAX,
                count: u32::MAX,
            },
        ],
        tables: [8; 2],
    };
    let active = BackendState {
        generation: 1,
        state: backend_state::ACTIVE,
        ..BackendState::default()
    };
    let dump = Dump {
        frontends4: vec![
            (key(1), frontend(0, 2, 3)),
            (key(2), frontend(7, 3, 4)),
            (key(2), frontend(7, 3, 4)),
            (key(3), frontend(u32::MAX, 998, 40)),
            (key(4), frontend(7, 0, u32::MAX / 2)),
        ],
        backends4: vec![
            (2, slot(1, 1)),
            (3, slot(1, 2)),
            (3, slot(5, 2)),
            (4, slot(9, 3)),
            (999, slot(2, 1)),
            (5_000, slot(u32::MAX, 1)),
        ],
        states: vec![
            (0, active),
            (1, active),
            (
                2,
                BackendState {
                    state: 77,
                    ..active
                },
            ),
            (u32::MAX, active),
            (1_000, active),
            (9, active),
        ],
        ..Dump::default()
    };
    let mut rig = Rig::new();
    rig.planner.recover(dump.clone());
    for (key, value) in &dump.frontends4 {
        rig.maps.frontends4.insert(*key, *value);
    }
    rig.maps.backends4.extend(dump.backends4.iter().copied());
    rig.maps.states.extend(dump.states.iter().copied());
    rig.service(service("a", "ip=10.96.0.1 port=http/TCP/80"))
        .service(service("b", "ip=10.96.0.2 port=http/TCP/80"));
    rig.slice(slice(
        "a",
        "a-1",
        "http/TCP/8080",
        &["10.0.0.1", "10.0.0.2"],
    ));
    rig.slice(slice(
        "b",
        "b-1",
        "http/TCP/8080",
        &["10.0.0.1", "10.0.0.3"],
    ));
    let refused = rig.planner.plan(0);
    let writes = |op: &MapOp| matches!(op, MapOp::WriteBackends4 { .. });
    assert!(
        !refused.iter().any(writes),
        "every slot is named by a damaged frontend: {refused:?}"
    );
    rig.maps.apply(&refused);
    rig.now_ms = 1_000;
    rig.settle();
    rig.settle_later();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080 10.0.0.2:8080");
    assert_eq!(rig.everyone("10.96.0.2:80"), "10.0.0.1:8080 10.0.0.3:8080");
    assert_eq!(rig.maps.frontends4.len(), 2);
}
