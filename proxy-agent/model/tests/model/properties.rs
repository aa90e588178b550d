//! Laws that hold for any cluster and any history.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proxy_common::value::{Class, backend_state};
use proxy_model::policy::Algorithm;
use proxy_model::{Change, FrontendRef, MapOp, Policy};

use crate::garbage::garbage;
use crate::oracle::World;
use crate::random::{Event, happen, life, some_policy};
use crate::rig::Rig;

/// Lives through `events`, planning where they say so.
fn live(rig: &mut Rig, world: &mut World, events: &[Event]) {
    for event in events {
        world.happen(event);
        happen(rig, event, world);
        if let Event::Plan(ms) = event {
            rig.now_ms += ms;
            rig.settle();
            // Every other plan comes before the tables are ready.
            if rig.now_ms.is_multiple_of(20) {
                rig.build_tables();
            }
        }
    }
}

/// Plans until nothing is left to do.
fn calm_down(rig: &mut Rig) {
    for _ in 0..4 {
        rig.settle_later();
        rig.build_tables();
    }
    assert_eq!(rig.settle_later(), [], "a plan without changes");
}

/// The maps say what the oracle says, and hold nothing else.
fn check(rig: &Rig, world: &World) {
    assert_eq!(rig.outcomes(), world.outcomes());
    assert_eq!(rig.addresses(), world.addresses());
    for is_v6 in [false, true] {
        assert_eq!(rig.cidrs(is_v6), world.cidrs(is_v6));
    }
    let stats = rig.planner.stats();
    let views: Vec<_> = rig.planner.services().collect();
    let backends: usize = views.iter().map(|view| view.backends.len()).sum();
    assert_eq!(stats.backend_ids, backends, "an id leaked");
    assert_eq!(
        stats.v4.frontends + stats.v6.frontends,
        rig.maps.frontends4.len() + rig.maps.frontends6.len()
    );
    for (name, named) in [
        ("v4", (stats.v4.slots, rig.named_slots4())),
        ("v6", (stats.v6.slots, rig.named_slots6())),
    ] {
        assert_eq!(named.0, named.1, "slots of {name} leaked");
    }
    let mut states: BTreeMap<u32, u16> = rig
        .maps
        .states
        .iter()
        .map(|(id, state)| (*id, state.state))
        .collect();
    for backend in views.iter().flat_map(|view| &view.backends) {
        assert_eq!(
            states.remove(&backend.id),
            Some(backend.state),
            "{backend:?}"
        );
    }
    assert!(
        states.values().all(|state| *state == backend_state::GONE),
        "{states:?}"
    );
}

/// The seed of a failure is printed; no file is kept.
fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_history_ends_where_the_oracle_says(policy in some_policy(), events in life()) {
        let mut rig = Rig::with_policy(policy.clone());
        let mut world = World { policy, ..World::default() };
        live(&mut rig, &mut world, &events);
        calm_down(&mut rig);
        check(&rig, &world);
    }

    #[test]
    fn apply_of_diff_reaches_target(before in life(), after in life()) {
        let (mut rig, mut world) = (Rig::new(), World::default());
        live(&mut rig, &mut world, &before);
        rig.settle();
        let mut target = World::default();
        for event in &after {
 target.happen(event);
}
        happen(&mut rig, &Event::Relist(Vec::new()), &target);
        rig.settle();
        assert_eq!(rig.outcomes(), target.outcomes());
        calm_down(&mut rig);
        check(&rig, &target);
    }

    #[test]
    fn restart_keeps_ids_and_plans_nothing(policy in some_policy(), events in life(), early: bool) {
        let mut rig = Rig::with_policy(policy.clone());
        let mut world = World { policy, ..World::default() };
        live(&mut rig, &mut world, &events);
        // Sets of source ranges wait for their grace period, tables for their job.
        calm_down(&mut rig);
        let mut again = if early { rig.restarted_knowing(|again| world.tell(again)) } else { rig.restarted() };
        if !early {
            world.tell(&mut again);
        }
        let ops = again.settle_again();
        for id in rig.served_ids() {
            prop_assert!(again.served_ids().contains(&id), "{:?}", id);
        }
        if rig.planner.stats().v4.draining + rig.planner.stats().v6.draining == 0 {
            assert_eq!(ops, []);
            assert_eq!(again.backend_ids(), rig.backend_ids());
        }
        // A draining backend may get the id of another that drained at the same address.
        prop_assert_eq!(again.active_ids(), rig.active_ids());
        calm_down(&mut again);
        check(&again, &world);
    }

    #[test]
    fn restart_after_any_prefix_ends_right(policy in some_policy(), before in life(), after in life(), at in any::<prop::sample::Index>()) {
        let mut rig = Rig::with_policy(policy.clone());
        let mut world = World { policy, ..World::default() };
        live(&mut rig, &mut world, &before);
        rig.settle();
        rig.build_tables();
        let (ids, before_services) = (rig.wholly_served_ids(), world.services.clone());
        for event in &after {
            world.happen(event);
            happen(&mut rig, event, &world);
        }
        let ops: Vec<MapOp> = rig.planner.plan(rig.now_ms).iter().flat_map(crate::rig::single_steps).collect();
        rig.maps.apply(&ops[..at.index(ops.len() + 1)]);
        let mut again = rig.restarted();
        world.tell(&mut again);
        again.settle();
        assert_eq!(again.outcomes(), world.outcomes());
        for id in ids.iter().filter(|(name, _)| before_services.get(&name.0) == world.services.get(&name.0)) {
            // Unless another Service took one of its frontends meanwhile.
            let served = again.wholly_served_ids();
            let lost = !served.iter().any(|(name, _)| *name == id.0);
            prop_assert!(lost || served.contains(id), "{:?}", id);
        }
        calm_down(&mut again);
        check(&again, &world);
    }

    #[test]
    fn small_maps_stay_sound_and_recover(events in life(), frontends in 1..8u32, backends in 1..14u32) {
        let (mut rig, mut world) = (Rig::with_room(frontends, backends), World::default());
        live(&mut rig, &mut world, &events);
        (0..6).for_each(|_| drop(rig.settle_later()));
        prop_assert!(rig.maps.frontends4.len() <= frontends as usize && rig.maps.frontends6.len() <= frontends as usize);
        let slots = rig.maps.backends4.keys().chain(rig.maps.backends6.keys());
        prop_assert!(slots.chain(rig.maps.states.keys()).all(|index| *index < backends));
        if rig.planner.stats().starved == 0 {
            check(&rig, &world);
        } else {
            prop_assert!(rig.error_labels().contains(&"no_room"));
        }
        for name in world.services.keys() {
            rig.delete(proxy_model::Kind::Service, name);
        }
        (0..4).for_each(|_| drop(rig.settle_later()));
        world.services.clear();
        check(&rig, &world);
    }

    #[test]
    fn refused_frontends_never_see_foreign_slots(events in life(), refusals in prop::collection::vec(any::<bool>(), 1..30)) {
        let (mut rig, mut world) = (Rig::with_room(100, 40), World::default());
        let mut refusals = refusals.into_iter().cycle();
        for event in &events {
            world.happen(event);
            happen(&mut rig, event, &world);
            if let Event::Plan(ms) = event {
                rig.now_ms += ms;
                let ops = rig.planner.plan(rig.now_ms);
                let mut refused = Vec::new();
                for op in ops.iter().flat_map(crate::rig::single_steps) {
                    let key = match &op {
                        MapOp::UpsertFrontends4(one) => Some(FrontendRef::V4(one[0].0)),
                        MapOp::UpsertFrontends6(one) => Some(FrontendRef::V6(one[0].0)),
                        MapOp::DeleteFrontends4(one) => Some(FrontendRef::V4(one[0])),
                        MapOp::DeleteFrontends6(one) => Some(FrontendRef::V6(one[0])),
                        _ => None,
                    };
                    if let Some(key) = key.filter(|_| refusals.next() == Some(true)) { refused.push(key) } else {
                        let before = rig.named_contents();
                        rig.maps.apply_one(&op);
                        if matches!(op, MapOp::WriteBackends4 { .. } | MapOp::WriteBackends6 { .. }) {
                            prop_assert_eq!(rig.named_contents(), before, "{:?} overwrites a named slot", op);
                        }
                    }
                }
                rig.planner.failed(&refused);
                prop_assert_eq!(rig.planner.stats().refused, refused.len());
            }
        }
        // Where a replacement was refused, the kernel may name backends that are gone; one plan later it does not.
        let ops = rig.planner.plan(rig.now_ms);
        rig.maps.apply(&ops);
        calm_down(&mut rig);
        check(&rig, &world);
    }

    #[test]
    fn no_input_panics_or_stops_the_others(objects in prop::collection::vec(garbage(), 0..30)) {
        let mut rig = Rig::new();
        rig.service(crate::words::service("good", "ip=10.99.0.1 port=http/TCP/7777"));
        rig.slice(crate::words::slice("good", "good-1", "http/TCP/8080", &["10.0.0.1"]));
        for object in objects {
            rig.planner.apply(Change::Upsert(object));
        }
        rig.settle();
        let _ = (rig.planner.take_errors().iter().map(ToString::to_string).count(), rig.planner.services().count());
        prop_assert_eq!(rig.outcome("10.99.0.1:7777", Class::Outside), "10.0.0.1:8080");
        prop_assert_eq!(rig.planner.take_errors(), []);
        calm_down(&mut rig);
    }

    #[test]
    fn damaged_maps_are_repaired_and_named_slots_left_alone(
        algorithm in prop::sample::select(vec![Algorithm::Random, Algorithm::Maglev]),
        events in life(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..12u8, 0..60u32), 1..12),
    ) {
        let policy = Policy { algorithm, ..Policy::default() };
        let rig = || Rig::with(100, 60, policy.clone());
        let (mut rig, mut again, mut undisturbed) = (rig(), rig(), rig());
        let mut world = World { policy: policy.clone(), ..World::default() };
        live(&mut rig, &mut world, &events);
        rig.settle();
        rig.build_tables();
        rig.settle();
        for (at, what, number) in damage {
 rig.damage(at, what, number);
}
        again.maps = rig.maps.clone();
        again.planner.recover(rig.maps.dump());
        world.tell(&mut again);
        for _ in 0..4 {
            again.now_ms += 1_000;
            for op in again.planner.plan(again.now_ms).iter().flat_map(crate::rig::single_steps) {
                let before = again.named_contents();
                again.maps.apply_one(&op);
                if matches!(op, MapOp::WriteBackends4 { .. } | MapOp::WriteBackends6 { .. }) {
                    prop_assert_eq!(again.named_contents(), before, "{:?} overwrites a named slot", op);
                }
            }
            again.build_tables();
        }
        if again.planner.stats().starved == 0 {
            check(&again, &world);
            prop_assert_eq!(again.maps.check(), Ok(()));
            world.tell(&mut undisturbed);
            calm_down(&mut undisturbed);
            prop_assert_eq!(again.named_tables(), undisturbed.named_tables());
        }
    }
}
