//! Aging for real: entries put into FLOWS as the programs would, found and deleted by the thread.

mod common;

use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::PathBuf;

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData};
use common::{World, eventually, in_world, pin_path};
use nix::time::{ClockId, clock_gettime};
use proxy_common::addr::{Addr, V4, V6, proto};
use proxy_common::be::Be16;
use proxy_common::flags::{FlowFlags, flow_state};
use proxy_common::key::FlowKey;
use proxy_common::value::{BackendState, Flow, backend_state};
use proxy_kernel::Loaded;
use proxy_kernel::aging::Aging;

type Flows<A> = HashMap<MapData, FlowKey<A>, Flow<A>>;

fn pin(world: &World, map: &str) -> PathBuf {
    world.bpf_root.join(pin_path(&format!("maps/{map}")))
}

fn flows<A>(world: &World, map: &str) -> Flows<A>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let data = MapData::from_pin(pin(world, map)).unwrap();
    Map::HashMap(data).try_into().unwrap()
}

fn now() -> u32 {
    u32::try_from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().tv_sec()).unwrap()
}

/// Both entries of connection `n`: idle for that many seconds, and what each saw.
fn insert<A: Addr>(flows: &mut Flows<A>, n: u32, proto: u8, seen: [(u32, u16); 2])
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    for (key, flow) in entries(n, proto, seen) {
        flows.insert(key, flow, 0).unwrap();
    }
}

/// The same entries, nowhere inserted.
fn entries<A: Addr>(
    n: u32,
    proto: u8,
    [request, reply]: [(u32, u16); 2],
) -> [(FlowKey<A>, Flow<A>); 2] {
    let [client, frontend, backend] =
        [1, 2, 3].map(|last| A::from_words([u32::to_be(0x0a00_0000 + (n << 8) + last); 4]));
    let (cport, fport, bport) = (Be16::new(40_000), Be16::new(80), Be16::new(8080));
    let seen = |(idle, state)| Flow {
        state,
        last_seen: now().saturating_sub(idle),
        ..Flow::default()
    };
    let forward = Flow {
        src: client,
        dst: backend,
        sport: cport,
        dport: bport,
        ..seen(request)
    };
    let back = Flow {
        src: frontend,
        dst: client,
        sport: fport,
        dport: cport,
        flags: FlowFlags::REPLY,
        ..seen(reply)
    };
    let key = FlowKey::new(client, frontend, cport, fport, proto);
    assert_eq!(
        forward.peer(proto),
        FlowKey::new(backend, client, bport, cport, proto)
    );
    assert_eq!(back.peer(proto), key);
    [(key, forward), (forward.peer(proto), back)]
}

/// Numbers of the connections that are there, each with its number of entries.
fn left(flows: &Flows<V4>) -> Vec<(u32, usize)> {
    let mut numbers: Vec<u32> = flows
        .keys()
        .map(|key| key.unwrap())
        .map(|key| {
            let std::net::IpAddr::V4(ip) = key.src.ip() else {
                unreachable!()
            };
            ip.to_bits() >> 8 & 0xffff
        })
        .collect();
    numbers.sort_unstable();
    numbers
        .chunk_by(|a, b| a == b)
        .map(|same| (same[0], same.len()))
        .collect()
}

#[test]
fn aging_deletes_both_directions_of_what_is_over_and_nothing_else() {
    in_world(
        "aging_deletes_both_directions_of_what_is_over_and_nothing_else",
        |world| {
            // A clock that started less than these ages ago cannot show them.
            if now() < 200 {
                println!(
                    "SKIPPED aging_deletes_both_directions_of_what_is_over_and_nothing_else: the machine booted just now"
                );
                return;
            }
            let loaded = Loaded::load(&world.options()).unwrap();
            let mut flows = flows::<V4>(world, "FLOWS_V4");
            let closed = flow_state::FIN_CLIENT | flow_state::FIN_BACKEND;
            insert(&mut flows, 1, proto::TCP, [(150, 0), (150, 0)]);
            insert(&mut flows, 2, proto::UDP, [(150, 0), (150, 0)]);
            insert(&mut flows, 3, proto::UDP, [(150, 0), (0, 0)]);
            insert(&mut flows, 4, proto::TCP, [(10, closed), (10, closed)]);
            insert(
                &mut flows,
                5,
                proto::TCP,
                [(10, flow_state::FIN_CLIENT), (10, flow_state::FIN_BACKEND)],
            );
            insert(
                &mut flows,
                6,
                proto::TCP,
                [(10, flow_state::RST_BACKEND), (150, 0)],
            );
            insert(
                &mut flows,
                7,
                proto::TCP,
                [(150, flow_state::FIN_CLIENT), (150, 0)],
            );
            // Half a connection, whose other half was lost.
            insert(&mut flows, 8, proto::UDP, [(150, 0), (150, 0)]);
            let lonely = flows
                .keys()
                .map(Result::unwrap)
                .find(|key| key.src == V4::from(Ipv4Addr::new(10, 0, 8, 1)))
                .unwrap();
            flows.remove(&lonely).unwrap();
            assert_eq!(flows.keys().count(), 15);

            let aging = Aging::start(&loaded).unwrap();
            eventually("a pass", || aging.stats().passes > 0);
            assert_eq!(left(&flows), [(1, 2), (3, 2), (7, 2)]);
            let stats = aging.stats();
            assert_eq!((stats.expired, stats.entries(), stats.errors), (9, 6, 0));
            aging.stop();
        },
    );
}

#[test]
fn aging_deletes_connections_of_both_families() {
    let test = "aging_deletes_connections_of_both_families";
    in_world(test, |world| {
        let loaded = Loaded::load(&world.options()).unwrap();
        let (mut v4, mut v6) = (
            flows::<V4>(world, "FLOWS_V4"),
            flows::<V6>(world, "FLOWS_V6"),
        );
        let closed = [(10, flow_state::RST_BACKEND), (10, 0)];
        // More than one run of a program takes.
        for n in 0..100 {
            insert(&mut v4, n, proto::TCP, closed);
            insert(&mut v6, n, proto::TCP, closed);
        }
        insert(&mut v4, 100, proto::TCP, [(0, 0), (0, 0)]);
        (101..103).for_each(|n| insert(&mut v6, n, proto::TCP, [(0, 0), (0, 0)]));
        let aging = Aging::start(&loaded).unwrap();
        eventually("a pass", || aging.stats().passes > 0);
        assert_eq!((v4.keys().count(), v6.keys().count()), (2, 4));
        let stats = aging.stats();
        assert_eq!((stats.entries4, stats.entries6), (2, 4));
        assert_eq!((stats.expired, stats.errors), (400, 0));
    });
}

#[test]
fn aging_takes_counted_connections_out_of_their_backends_count() {
    let test = "aging_takes_counted_connections_out_of_their_backends_count";
    in_world(test, |world| {
        if now() < 200 {
            println!("SKIPPED {test}: the machine booted just now");
            return;
        }
        let loaded = Loaded::load(&world.options()).unwrap();
        let mut flows = flows::<V4>(world, "FLOWS_V4");
        let data = MapData::from_pin(pin(world, "BACKEND_STATE")).unwrap();
        let mut states: Array<_, BackendState> = Map::Array(data).try_into().unwrap();
        for id in 1..=3 {
            let state = BackendState {
                generation: 5,
                state: backend_state::ACTIVE,
                sets: 3,
                active: 10,
                ..BackendState::default()
            };
            states.set(id, state, 0).unwrap();
        }
        // Of backend 1: over, over with a count of another owner of its id, and alive. Of backend 2: over, but not counted.
        for (n, idle, backend, generation, counted) in [
            (1, 500, 1, 5, true),
            (2, 500, 1, 4, true),
            (3, 0, 1, 5, true),
            (4, 500, 2, 5, false),
        ] {
            insert(&mut flows, n, proto::UDP, [(idle, 0), (idle, 0)]);
            let keys: Vec<_> = flows.keys().map(Result::unwrap).collect();
            for key in keys {
                let mut flow = flows.get(&key, 0).unwrap();
                if flow.backend == 0 {
                    (flow.backend, flow.generation) = (backend, generation);
                    if counted {
                        flow.flags = flow.flags.with(FlowFlags::COUNTED);
                    }
                    flows.insert(key, flow, 0).unwrap();
                }
            }
        }
        let aging = Aging::start(&loaded).unwrap();
        eventually("a pass", || aging.stats().passes > 0);
        let stats = aging.stats();
        assert_eq!((stats.expired, stats.entries(), stats.errors), (6, 2, 0));
        let active = [1, 2, 3].map(|id| states.get(&id, 0).unwrap());
        assert_eq!(active.map(|state| state.active), [9, 10, 10]);
        assert!(
            active
                .iter()
                .all(|state| (state.generation, state.sets) == (5, 3))
        );
    });
}

#[test]
fn aging_walks_a_full_table_in_batches() {
    in_world("aging_walks_a_full_table_in_batches", |world| {
        if now() < 200 {
            println!("SKIPPED aging_walks_a_full_table_in_batches: the machine booted just now");
            return;
        }
        let mut options = world.options();
        options.capacities.flows = 40_000;
        let loaded = Loaded::load(&options).unwrap();
        let mut flows = flows::<V4>(world, "FLOWS_V4");
        for n in 0..20_000 {
            let idle = if n % 2 == 0 { 150 } else { 0 };
            insert(&mut flows, n, proto::UDP, [(idle, 0), (idle, 0)]);
        }
        let aging = Aging::start(&loaded).unwrap();
        eventually("all that is over goes", || aging.stats().expired >= 20_000);
        assert_eq!(aging.stats().expired, 20_000);
        let left = left(&flows);
        assert_eq!(left.len(), 10_000);
        assert!(left.iter().all(|(n, entries)| n % 2 == 1 && *entries == 2));
    });
}

#[test]
fn aging_spares_a_connection_that_begins_again_while_the_old_one_is_deleted() {
    let test = "aging_spares_a_connection_that_begins_again_while_the_old_one_is_deleted";
    in_world(test, |world| {
        let loaded = Loaded::load(&world.options()).unwrap();
        let mut flows = flows::<V4>(world, "FLOWS_V4");
        let over = [(10, flow_state::RST_CLIENT), (10, 0)];
        let fresh = [(0, 0), (0, 0)];
        let aging = Aging::start(&loaded).unwrap();
        // Long enough for passes to meet connections in every state.
        while aging.stats().passes < 6 {
            for n in 0..2_000 {
                insert(&mut flows, n, proto::TCP, over);
            }
            // As the programs do when a client uses its port again: the SYN removes, and some time later its answer enters.
            let again =
                |numbers: Range<u32>| numbers.flat_map(|n| entries::<V4>(n, proto::TCP, fresh));
            for first in (0..2_000).step_by(20) {
                for (key, _flow) in again(first..first + 20) {
                    // Aging may have been quicker.
                    flows.remove(&key).ok();
                }
                for (key, flow) in again(first..first + 20) {
                    flows.insert(key, flow, 0).unwrap();
                }
            }
            let missing = || {
                again(0..2_000)
                    .filter(|(key, _flow)| flows.get(key, 0).is_err())
                    .count()
            };
            eventually("all that began again is there", || missing() == 0);
        }
        assert!(aging.stats().expired > 0, "nothing was deleted meanwhile");
        assert_eq!(aging.stats().errors, 0);
    });
}
