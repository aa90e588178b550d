//! The planner's operations on the kernel's maps: what is written is read back, by the same process and by the next.

mod common;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aya::maps::{Array, HashMap, Map, MapData};
use common::node::start;
use common::{World, eventually, in_world, pin_path};
use proxy_common::addr::{V4, V6};
use proxy_common::be::Be16;
use proxy_common::flags::AddrFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{BackendState, Cidr, Frontend, LutWord, backend_sets, backend_state};
use proxy_kernel::Loaded;
use proxy_model::MapOp;

fn v4(text: &str) -> V4 {
    text.parse::<Ipv4Addr>().unwrap().into()
}

fn v6(text: &str) -> V6 {
    text.parse::<Ipv6Addr>().unwrap().into()
}

fn pinned(world: &World, name: &str) -> MapData {
    MapData::from_pin(world.bpf_root.join(pin_path(&format!("maps/{name}")))).unwrap()
}

fn addrs4(world: &World) -> BTreeMap<V4, AddrFlags> {
    let map: HashMap<_, V4, u32> = Map::HashMap(pinned(world, "ADDRS_V4")).try_into().unwrap();
    map.iter()
        .map(Result::unwrap)
        .map(|(addr, flags)| (addr, AddrFlags(flags)))
        .collect()
}

#[track_caller]
fn apply(loaded: &mut Loaded, ops: &[MapOp]) {
    let applied = loaded.maps.apply(ops);
    assert!(
        applied.failed.is_empty() && applied.error.is_none(),
        "{applied:?}"
    );
}

const VIRTUAL: AddrFlags = AddrFlags::VIRTUAL;
const LIVE: AddrFlags = AddrFlags::VIRTUAL.with(AddrFlags::ECHO);
const NODE: AddrFlags = AddrFlags::NODE.with(AddrFlags::NODE_PORT);

#[test]
fn addrs_keeps_the_bits_of_both_writers() {
    in_world("addrs_keeps_the_bits_of_both_writers", |world| {
        let options = world.options();
        world.ip(&["addr", "add", "192.0.2.1/32", "dev", "lo"]);
        let mut loaded = Loaded::load(&options).unwrap();
        // The planner's first: an external IP that is the node's own address (SEMANTICS 21.8), and a cluster IP.
        apply(
            &mut loaded,
            &[
                MapOp::SetAddrs4(vec![(v4("192.0.2.1"), VIRTUAL), (v4("10.96.0.1"), LIVE)]),
                MapOp::SetAddrs6(vec![(v6("fd00::1"), LIVE)]),
            ],
        );
        drop(loaded);
        let (mut loaded, devices) = start(&options);
        let expected = |pairs: &[(&str, AddrFlags)]| {
            let pairs = pairs.iter().map(|(addr, flags)| (v4(addr), *flags));
            pairs.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(
            addrs4(world),
            expected(&[
                ("127.0.0.1", NODE),
                ("192.0.2.1", NODE.with(VIRTUAL)),
                ("10.96.0.1", LIVE),
            ])
        );
        // What the planner recovers from is its own, and what others read of the node is the node's.
        let mut dump = loaded.maps.dump().unwrap();
        dump.addrs4.sort();
        let mut planned = [(v4("192.0.2.1"), VIRTUAL), (v4("10.96.0.1"), LIVE)];
        planned.sort();
        assert_eq!(dump.addrs4, planned);
        assert_eq!(dump.addrs6, [(v6("fd00::1"), LIVE)]);
        let addresses: BTreeMap<IpAddr, bool> =
            loaded.maps.node_addresses().unwrap().into_iter().collect();
        let node = ["127.0.0.1", "192.0.2.1", "::1"].map(|ip| (ip.parse().unwrap(), true));
        assert_eq!(addresses, BTreeMap::from(node));

        // Each takes its bits away without the other's.
        apply(
            &mut loaded,
            &[MapOp::SetAddrs4(vec![
                (v4("192.0.2.1"), AddrFlags::default()),
                (v4("10.96.0.1"), AddrFlags::default()),
                (v4("10.96.0.2"), VIRTUAL),
                (v4("10.96.0.9"), AddrFlags::default()),
            ])],
        );
        assert_eq!(
            addrs4(world),
            expected(&[
                ("127.0.0.1", NODE),
                ("192.0.2.1", NODE),
                ("10.96.0.2", VIRTUAL)
            ])
        );
        world.ip(&["addr", "add", "10.96.0.2/32", "dev", "lo"]);
        world.ip(&["addr", "del", "192.0.2.1/32", "dev", "lo"]);
        let after = expected(&[("127.0.0.1", NODE), ("10.96.0.2", NODE.with(VIRTUAL))]);
        eventually("the addresses are followed", || addrs4(world) == after);
        world.ip(&["addr", "del", "10.96.0.2/32", "dev", "lo"]);
        let after = expected(&[("127.0.0.1", NODE), ("10.96.0.2", VIRTUAL)]);
        eventually("the planner's bits stay", || addrs4(world) == after);
        drop(devices);
    });
}

#[test]
fn source_ranges_are_added_removed_and_read_back() {
    in_world("source_ranges_are_added_removed_and_read_back", |world| {
        let options = world.options();
        let mut loaded = Loaded::load(&options).unwrap();
        let networks = vec![
            (v4("10.0.0.0"), 8),
            (v4("192.0.2.7"), 32),
            (v4("0.0.0.0"), 0),
        ];
        apply(
            &mut loaded,
            &[
                MapOp::AddRanges4 {
                    set: 7,
                    ranges: networks.clone(),
                },
                MapOp::AddRanges4 {
                    set: 8,
                    ranges: networks.clone(),
                },
                MapOp::AddRanges6 {
                    set: 7,
                    ranges: vec![(v6("2001:db8::"), 33), (v6("fd00::7"), 128)],
                },
                MapOp::RemoveRanges4 {
                    set: 8,
                    // One of them was never there.
                    ranges: vec![(v4("10.0.0.0"), 8), (v4("10.0.0.0"), 9), (v4("0.0.0.0"), 0)],
                },
            ],
        );
        drop(loaded);
        let loaded = Loaded::load(&options).unwrap();
        let mut dump = loaded.maps.dump().unwrap();
        dump.ranges4.sort();
        dump.ranges6.sort();
        let mut expected: Vec<_> = networks
            .iter()
            .map(|(addr, bits)| (7, *addr, *bits))
            .collect();
        expected.push((8, v4("192.0.2.7"), 32));
        expected.sort();
        assert_eq!(dump.ranges4, expected);
        let mut expected = vec![(7, v6("2001:db8::"), 33), (7, v6("fd00::7"), 128)];
        expected.sort();
        assert_eq!(dump.ranges6, expected);
    });
}

#[test]
fn a_full_map_of_source_ranges_says_so_and_takes_the_rest() {
    in_world(
        "a_full_map_of_source_ranges_says_so_and_takes_the_rest",
        |world| {
            let mut options = world.options();
            options.capacities.source_ranges = 4;
            let mut loaded = Loaded::load(&options).unwrap();
            let ranges = (1..=6).map(|n: u32| (V4(n), 32)).collect();
            let applied = loaded.maps.apply(&[MapOp::AddRanges4 { set: 1, ranges }]);
            let error = applied.error.unwrap().to_string();
            assert!(error.contains("SOURCE_RANGES_V4"), "{error}");
            assert_eq!(loaded.maps.dump().unwrap().ranges4.len(), 4);
        },
    );
}

#[test]
fn tables_lie_in_lut_as_the_programs_read_them() {
    in_world("tables_lie_in_lut_as_the_programs_read_them", |world| {
        let mut loaded = Loaded::load(&world.options()).unwrap();
        let seven: Arc<[u16]> = (0..7).collect();
        let write = |offset| MapOp::WriteTable {
            offset,
            entries: Arc::clone(&seven),
        };
        apply(&mut loaded, &[write(5), write(9)]);
        let lut: Array<_, LutWord> = Map::Array(pinned(world, "LUT")).try_into().unwrap();
        let words: Vec<_> = (4..9).map(|word| lut.get(&word, 0).unwrap().0).collect();
        assert_eq!(
            words,
            [[0; 4], [7, 0, 0, 0], [0, 1, 2, 3], [4, 5, 6, 0], [0; 4]]
        );
        // Those that frontends name are read back, as far as the map has them.
        let mut lut: Array<_, LutWord> = Map::Array(pinned(world, "LUT")).try_into().unwrap();
        lut.set(1023, LutWord([9, 0, 0, 0]), 0).unwrap();
        let names = |addr: u32, tables| {
            let key = FrontendKey::new(V4(addr), Be16::new(80), 6);
            let frontend = Frontend {
                tables,
                ..Frontend::default()
            };
            (key, frontend)
        };
        assert_eq!(loaded.maps.dump().unwrap().tables, []);
        let frontends = vec![names(1, [5, 1023]), names(2, [5, 4]), names(3, [0, 9_999])];
        apply(&mut loaded, &[MapOp::UpsertFrontends4(frontends)]);
        let none: Arc<[u16]> = Arc::default();
        let found = [(4, none.clone()), (5, seven), (1023, none.clone())];
        let expected: Vec<_> = found.into_iter().chain([(9_999, none)]).collect();
        assert_eq!(loaded.maps.dump().unwrap().tables, expected);
        // The map of the world has 1024 words.
        let entries: Arc<[u16]> = (0..8).collect();
        let applied = loaded.maps.apply(&[MapOp::WriteTable {
            offset: 1022,
            entries,
        }]);
        assert!(applied.error.is_some());
        assert_eq!(
            lut.get(&1022, 0).unwrap().0,
            [0; 4],
            "a torn table has no length"
        );
    });
}

#[test]
fn cidrs_hold_the_local_range_first() {
    in_world("cidrs_hold_the_local_range_first", |world| {
        let mut loaded = Loaded::load(&world.options()).unwrap();
        let read = || -> Vec<Cidr<V4>> {
            let map: Array<_, Cidr<V4>> = Map::Array(pinned(world, "CIDRS_V4")).try_into().unwrap();
            map.iter().map(Result::unwrap).collect()
        };
        let cidr = |addr: &str, mask: &str| Cidr {
            addr: v4(addr),
            mask: v4(mask),
            used: 1,
        };
        apply(
            &mut loaded,
            &[MapOp::SetCidrs4 {
                local: Some((v4("10.244.1.0"), 24)),
                services: vec![(v4("10.96.0.0"), 12), (v4("10.112.0.0"), 16)],
            }],
        );
        let elements = read();
        assert_eq!(
            elements[..3],
            [
                cidr("10.244.1.0", "255.255.255.0"),
                cidr("10.96.0.0", "255.240.0.0"),
                cidr("10.112.0.0", "255.255.0.0"),
            ]
        );
        assert!(elements[3..].iter().all(|element| element.used == 0));
        apply(
            &mut loaded,
            &[MapOp::SetCidrs4 {
                local: None,
                services: vec![(v4("10.112.0.0"), 16)],
            }],
        );
        let elements = read();
        assert_eq!(elements[0], Cidr::default());
        assert_eq!(elements[1], cidr("10.112.0.0", "255.255.0.0"));
        assert!(elements[2..].iter().all(|element| element.used == 0));
        // SEMANTICS 4.10: those that fit are there, and the rest is told.
        let many = (0..20).map(|n: u32| (V4(n), 32)).collect();
        let applied = loaded.maps.apply(&[MapOp::SetCidrs4 {
            local: None,
            services: many,
        }]);
        let error = applied.error.unwrap().to_string();
        assert!(error.contains("5 ServiceCIDRs"), "{error}");
        assert_eq!(
            read().iter().filter(|element| element.used == 1).count(),
            15
        );
    });
}

#[test]
fn a_backends_state_is_written_with_its_sets_and_without_its_count() {
    in_world(
        "a_backends_state_is_written_with_its_sets_and_without_its_count",
        |world| {
            let mut loaded = Loaded::load(&world.options()).unwrap();
            let mut states: Array<_, BackendState> = Map::Array(pinned(world, "BACKEND_STATE"))
                .try_into()
                .unwrap();
            let counted = BackendState {
                active: 9,
                ..BackendState::default()
            };
            states.set(3, counted, 0).unwrap();
            let state = BackendState {
                generation: 2,
                state: backend_state::ACTIVE,
                sets: backend_sets::CLUSTER | backend_sets::LOCAL,
                ..BackendState::default()
            };
            // The count was another owner's: a new one starts with none.
            apply(&mut loaded, &[MapOp::WriteStates(vec![(3, state)])]);
            assert_eq!(states.get(&3, 0).unwrap(), state);
            let counted = BackendState { active: 5, ..state };
            states.set(3, counted, 0).unwrap();
            let state = BackendState {
                state: backend_state::DRAINING,
                sets: 0,
                ..state
            };
            apply(&mut loaded, &[MapOp::WriteStates(vec![(3, state)])]);
            let expected = BackendState { active: 5, ..state };
            assert_eq!(states.get(&3, 0).unwrap(), expected);
        },
    );
}

#[test]
fn growing_keeps_addresses_ranges_and_tables() {
    in_world("growing_keeps_addresses_ranges_and_tables", |world| {
        let mut options = world.options();
        let (mut loaded, devices) = start(&options);
        let entries: Arc<[u16]> = (0..4).collect();
        apply(
            &mut loaded,
            &[
                MapOp::SetAddrs4(vec![(v4("10.96.0.1"), LIVE)]),
                MapOp::AddRanges6 {
                    set: 3,
                    ranges: vec![(v6("2001:db8::"), 32)],
                },
                MapOp::WriteTable { offset: 1, entries },
            ],
        );
        let before = addrs4(world);
        assert_eq!(before.len(), 2);
        drop((loaded, devices));
        options.capacities.frontends = 4096;
        options.capacities.source_ranges = 2048;
        options.capacities.lut = 2048;
        options.capacities.affinity = 2048;
        let (loaded, _devices) = start(&options);
        assert_eq!(loaded.capacities, options.capacities);
        assert_eq!(addrs4(world), before);
        let dump = loaded.maps.dump().unwrap();
        assert_eq!(dump.ranges6, [(3, v6("2001:db8::"), 32)]);
        let lut: Array<_, LutWord> = Map::Array(pinned(world, "LUT")).try_into().unwrap();
        assert_eq!(lut.get(&2, 0).unwrap().0, [0, 1, 2, 3]);
    });
}
