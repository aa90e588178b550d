//! Loading for real: maps made, reused, grown or replaced; programs in the kernel.

mod common;

use aya::maps::{HashMap, Map, MapData};
use common::{dir, in_world, pin_path};
use proxy_common::addr::{V4, V6};
use proxy_common::be::Be16;
use proxy_common::key::{FlowKey, FrontendKey};
use proxy_common::value::{Backend, BackendState, Flow, Frontend, Slice, backend_state};
use proxy_kernel::devices::Devices;
use proxy_kernel::{Error, Loaded, Maps};
use proxy_model::{FrontendRef, MapOp};

fn key(n: u32) -> FrontendKey<V4> {
    FrontendKey::new(V4(n), Be16::new(80), 6)
}

fn frontend(service: u32) -> Frontend {
    Frontend {
        service,
        slices: [Slice {
            offset: 3,
            count: 2,
        }; 3],
        ..Frontend::default()
    }
}

fn backend<A: Default>(addr: A, id: u32) -> Backend<A> {
    Backend {
        addr,
        port: Be16::new(8080),
        id,
        generation: 7,
        ..Backend::default()
    }
}

fn state(generation: u32) -> BackendState {
    BackendState {
        generation,
        state: backend_state::ACTIVE,
        ..BackendState::default()
    }
}

#[test]
fn load_fresh_then_again_keeps_contents() {
    in_world("load_fresh_then_again_keeps_contents", |world| {
        let options = world.options();
        let mut loaded = Loaded::load(&options).unwrap();
        assert!(!loaded.reused);
        assert_eq!(loaded.capacities, options.capacities);
        assert_ne!(loaded.settings.hash_seed, 0);
        println!("features {:?}", loaded.features);
        println!(
            "verified instructions {:?}",
            loaded.programs.verified_instructions()
        );
        let ops = [
            MapOp::WriteStates(vec![(5, state(7))]),
            MapOp::WriteBackends4 {
                offset: 3,
                backends: vec![backend(V4(1), 5), backend(V4(2), 6)],
            },
            MapOp::WriteBackends6 {
                offset: 9,
                backends: vec![backend(V6([1, 2, 3, 4]), 8)],
            },
            MapOp::UpsertFrontends4((1..=100).map(|n| (key(n), frontend(n))).collect()),
            MapOp::DeleteFrontends4((51..=200).map(key).collect()),
            MapOp::UpsertFrontends6(vec![(
                FrontendKey::new(V6([9; 4]), Be16::new(53), 17),
                frontend(1),
            )]),
        ];
        let applied = loaded.maps.apply(&ops);
        assert!(
            applied.failed.is_empty() && applied.error.is_none(),
            "{applied:?}"
        );
        let seed = loaded.settings.hash_seed;
        drop(loaded);

        let again = Loaded::load(&options).unwrap();
        assert!(again.reused, "{:?}", again.remarks);
        assert_eq!(again.settings.hash_seed, seed);
        let mut dump = again.maps.dump().unwrap();
        dump.frontends4.sort_by_key(|(key, _frontend)| *key);
        assert_eq!(
            dump.frontends4,
            (1..=50).map(|n| (key(n), frontend(n))).collect::<Vec<_>>()
        );
        assert_eq!(dump.frontends6.len(), 1);
        assert_eq!(
            dump.backends4,
            [(3, backend(V4(1), 5)), (4, backend(V4(2), 6))]
        );
        assert_eq!(dump.backends6, [(9, backend(V6([1, 2, 3, 4]), 8))]);
        assert_eq!(dump.states, [(5, state(7))]);
        // What another process sees through the pins.
        let read = Maps::open(&options.bpf_root).unwrap();
        assert_eq!(read.dump().unwrap().frontends4.len(), 50);
        let occupancy = read.occupancy().unwrap();
        let frontends = occupancy
            .iter()
            .find(|map| map.map == "FRONTENDS_V4")
            .unwrap();
        assert_eq!((frontends.entries, frontends.max_entries), (50, 1024));
        assert_eq!(read.counters().unwrap(), []);
        // It can look, and no more.
        let mut read = read;
        let ops = [
            MapOp::WriteStates(vec![(5, state(9))]),
            MapOp::DeleteFrontends4(vec![key(1)]),
        ];
        for op in ops {
            assert!(read.apply(&[op]).error.is_some());
        }
        assert_eq!(again.maps.dump().unwrap().frontends4.len(), 50);
        assert_eq!(again.maps.dump().unwrap().states, [(5, state(7))]);
    });
}

#[test]
fn apply_full_map_names_the_refused_and_keeps_the_rest() {
    in_world(
        "apply_full_map_names_the_refused_and_keeps_the_rest",
        |world| {
            let mut options = world.options();
            options.capacities.frontends = 64;
            let mut loaded = Loaded::load(&options).unwrap();
            let elements: Vec<_> = (0..80).map(|n| (key(n), frontend(1))).collect();
            let applied = loaded.maps.apply(&[MapOp::UpsertFrontends4(elements)]);
            let full = matches!(&applied.error, Some(Error::Map { source, .. }) if source.raw_os_error() == Some(libc::E2BIG));
            assert!(full, "{:?}", applied.error);
            let stored = loaded.maps.dump().unwrap().frontends4;
            assert_eq!(applied.failed.len() + stored.len(), 80);
            assert!(stored.len() >= 64);
            for (key, _value) in &stored {
                assert!(
                    !applied.failed.contains(&FrontendRef::V4(*key)),
                    "{key:?} is both stored and refused"
                );
            }
            // Those that are there can still change.
            let applied = loaded
                .maps
                .apply(&[MapOp::UpsertFrontends4(vec![(stored[0].0, frontend(2))])]);
            assert!(applied.failed.is_empty(), "{applied:?}");
            assert!(
                loaded
                    .maps
                    .dump()
                    .unwrap()
                    .frontends4
                    .contains(&(stored[0].0, frontend(2)))
            );
        },
    );
}

#[test]
fn apply_beyond_the_array_is_an_error_not_a_crash() {
    in_world("apply_beyond_the_array_is_an_error_not_a_crash", |world| {
        let mut loaded = Loaded::load(&world.options()).unwrap();
        let applied = loaded.maps.apply(&[
            MapOp::WriteBackends4 {
                offset: 1023,
                backends: vec![backend(V4(1), 1), backend(V4(2), 2)],
            },
            MapOp::WriteStates(vec![(u32::MAX, state(1))]),
            MapOp::UpsertFrontends4(vec![(key(1), frontend(1))]),
        ]);
        assert!(applied.error.is_some());
        let dump = loaded.maps.dump().unwrap();
        assert_eq!(dump.backends4, [(1023, backend(V4(1), 1))]);
        assert_eq!(dump.frontends4.len(), 1);
    });
}

#[test]
fn load_larger_capacities_grow_maps_with_their_contents() {
    in_world(
        "load_larger_capacities_grow_maps_with_their_contents",
        |world| {
            let mut options = world.options();
            let mut loaded = Loaded::load(&options).unwrap();
            let elements: Vec<_> = (0..1000).map(|n| (key(n), frontend(n))).collect();
            let ops = [
                MapOp::WriteBackends4 {
                    offset: 1023,
                    backends: vec![backend(V4(1), 9)],
                },
                MapOp::UpsertFrontends4(elements.clone()),
            ];
            assert!(loaded.maps.apply(&ops).failed.is_empty());
            drop(loaded);

            options.capacities.frontends = 4096;
            options.capacities.backends = 2048;
            options.capacities.flows = 1024;
            let grown = Loaded::load(&options).unwrap();
            assert!(grown.reused);
            assert_eq!(
                (grown.capacities.frontends, grown.capacities.backends),
                (4096, 2048)
            );
            assert_eq!(grown.capacities.flows, 4096, "a larger map keeps its size");
            let mut dump = grown.maps.dump().unwrap();
            dump.frontends4.sort_by_key(|(key, _frontend)| *key);
            assert_eq!(dump.frontends4, {
                let mut elements = elements;
                elements.sort_by_key(|(key, _frontend)| *key);
                elements
            });
            assert_eq!(dump.backends4, [(1023, backend(V4(1), 9))]);
            assert!(
                dir(&options.bpf_root.join(pin_path("maps")))
                    .iter()
                    .all(|(name, _path)| !name.ends_with("-old"))
            );
        },
    );
}

#[test]
fn grown_flow_table_takes_the_flows_that_came_meanwhile() {
    in_world(
        "grown_flow_table_takes_the_flows_that_came_meanwhile",
        |world| {
            type Flows = HashMap<MapData, FlowKey<V4>, Flow<V4>>;
            let flow = |n| FlowKey::new(V4(n), V4(2), Be16::new(1), Be16::new(2), 6);
            let value = |service| Flow {
                service,
                ..Flow::default()
            };
            let mut options = world.options();
            drop(Loaded::load(&options).unwrap());
            let data = MapData::from_pin(options.bpf_root.join(pin_path("maps/FLOWS_V4"))).unwrap();
            let mut small: Flows = Map::HashMap(data).try_into().unwrap();
            small.insert(flow(1), value(1), 0).unwrap();

            options.capacities.flows = 8192;
            let grown = Loaded::load(&options).unwrap();
            let flows = || -> Vec<_> {
                let mut flows: Vec<_> = grown.maps.flows4().map(Result::unwrap).collect();
                flows.sort_by_key(|(key, _flow)| *key);
                flows
            };
            assert_eq!(flows(), [(flow(1), value(1))]);
            // The programs of the earlier run serve until they are replaced. What the new ones wrote is newer.
            small.insert(flow(2), value(2), 0).unwrap();
            small.insert(flow(1), value(9), 0).unwrap();
            drop(Devices::start(&grown, &options).unwrap());
            assert_eq!(flows(), [(flow(1), value(1)), (flow(2), value(2))]);
        },
    );
}

#[test]
fn load_other_shape_starts_anew_and_says_so() {
    in_world("load_other_shape_starts_anew_and_says_so", |world| {
        let options = world.options();
        let mut loaded = Loaded::load(&options).unwrap();
        assert!(
            loaded
                .maps
                .apply(&[MapOp::UpsertFrontends4(vec![(key(1), frontend(1))])])
                .failed
                .is_empty()
        );
        drop(loaded);
        // DEVICES becomes a map of another type, as another version might have pinned it.
        let maps = options.bpf_root.join(pin_path("maps"));
        std::fs::remove_file(maps.join("DEVICES")).unwrap();
        std::fs::rename(maps.join("COUNTERS"), maps.join("DEVICES")).unwrap();

        let again = Loaded::load(&options).unwrap();
        assert!(!again.reused);
        assert!(
            again
                .remarks
                .iter()
                .any(|remark| remark.contains("DEVICES") && remark.contains("cannot be kept")),
            "{:?}",
            again.remarks
        );
        assert!(again.maps.dump().unwrap().frontends4.is_empty());
        assert!(!options.bpf_root.join(pin_path("maps-old")).exists());
        // The command line does not read what it does not understand.
        std::fs::remove_file(maps.join("FLOWS_V4")).unwrap();
        std::fs::rename(maps.join("FLOWS_V6"), maps.join("FLOWS_V4")).unwrap();
        assert!(matches!(
            Maps::open(&options.bpf_root),
            Err(Error::Layout {
                name: "FLOWS_V4",
                ..
            })
        ));
    });
}

#[test]
fn programs_know_the_size_that_embryos_have() {
    in_world("programs_know_the_size_that_embryos_have", |world| {
        let mut options = world.options();
        // What is asked for, the last set, and the entries that this makes. A larger map is kept.
        for (wanted, mask, entries) in [(1_000, 127, 1_024), (64, 127, 1_024), (4_096, 511, 4_096)]
        {
            options.capacities.embryos = wanted;
            let loaded = Loaded::load(&options).unwrap();
            assert_eq!(loaded.settings.embryo_mask, mask, "{wanted}");
            assert_eq!(loaded.capacities.embryos, entries, "{wanted}");
        }
    });
}

#[test]
fn old_layout_versions_are_reported_and_retired() {
    in_world("old_layout_versions_are_reported_and_retired", |world| {
        let options = world.options();
        drop(Loaded::load(&options).unwrap());
        std::fs::rename(
            options.bpf_root.join(pin_path("")),
            options.bpf_root.join("v0"),
        )
        .unwrap();
        let loaded = Loaded::load(&options).unwrap();
        assert!(!loaded.reused);
        assert!(
            loaded.remarks.iter().any(|remark| remark.contains("/v0 ")),
            "{:?}",
            loaded.remarks
        );
        assert!(
            options.bpf_root.join("v0").exists(),
            "it serves until the programs are replaced"
        );
        let removed = loaded.retire_old_layouts(&options);
        assert!(
            removed.iter().any(|line| line.contains("v0/maps/FLOWS_V4")),
            "{removed:?}"
        );
        assert!(!options.bpf_root.join("v0").exists());
    });
}

#[test]
fn open_without_pins_says_not_loaded() {
    in_world("open_without_pins_says_not_loaded", |world| {
        let error = Maps::open(&world.bpf_root).unwrap_err();
        assert!(matches!(error, Error::NotLoaded { .. }), "{error}");
        assert!(error.to_string().contains("not loaded"), "{error}");
    });
}

#[test]
fn load_without_bpffs_or_cgroup2_is_one_clear_line() {
    in_world("load_without_bpffs_or_cgroup2_is_one_clear_line", |world| {
        let mut options = world.options();
        options.bpf_root = "/tmp/kube-shunt-no-bpffs".into();
        let error = Loaded::load(&options).unwrap_err().to_string();
        assert!(
            error.contains("no bpffs") && !error.contains('\n'),
            "{error}"
        );
        let mut options = world.options();
        options.cgroup_root = "/proc".into();
        let error = Loaded::load(&options).unwrap_err().to_string();
        assert!(
            error.contains("no cgroup v2") && error.contains("--cgroup-root"),
            "{error}"
        );
    });
}
