//! EMBRYOS when it is full: who makes room, and where keys belong.

use std::net::SocketAddr;

use proptest::prelude::*;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::be::Be16;
use proxy_common::embryos::{Order, Place, WAYS, entries, mask, sets};
use proxy_common::key::FlowKey;
use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::sim::scene;
use proxy_common::value::Settings;

use crate::node::{FAMILIES, Names, Node, POD, TCP, at};

/// A node whose EMBRYOS are one set, and a Service of one backend.
fn node(names: &Names) -> Node {
    let settings = Settings {
        embryo_mask: 0,
        ..scene::settings()
    };
    let mut node = Node::with_settings(settings, 1_024);
    node.service(at(names.vip, 80), TCP, &[(at(names.remote, 8080), false)]);
    node
}

/// A connection's first packet.
fn open(node: &Node, names: &Names, port: u16) {
    let syn = Build::tcp(at(names.pod, port), at(names.vip, 80)).syn();
    assert_eq!(node.enter(POD, &syn.packet()).reasons, [Reason::NewFlow]);
}

/// Whether the answer to a connection from `port` is translated.
fn answered(node: &Node, names: &Names, port: u16) -> bool {
    let (client, backend) = (at(names.pod, port), at(names.remote, 8080));
    let out = node.leave(POD, &Build::tcp(backend, client).syn_ack().packet());
    assert_eq!(out.action, Action::Pass);
    out.seen.src == at(names.vip, 80)
}

#[test]
fn full_set_forgets_its_oldest_and_none_that_is_younger() {
    for names in &FAMILIES {
        let node = node(names);
        (4000..4011).for_each(|port| open(&node, names, port));
        let lived: Vec<u16> = (4000..4011)
            .filter(|port| answered(&node, names, *port))
            .collect();
        assert_eq!(lived, (4003..4011).collect::<Vec<_>>());
    }
}

#[test]
fn room_of_an_answered_connection_is_used_before_anybody_is_forgotten() {
    for names in &FAMILIES {
        let node = node(names);
        (4000..4008).for_each(|port| open(&node, names, port));
        for port in [4003, 4001] {
            assert!(answered(&node, names, port));
        }
        open(&node, names, 4008);
        open(&node, names, 4009);
        assert_eq!(node.entries().1, WAYS);
        // The next has to be the oldest's.
        open(&node, names, 4010);
        for port in [4000, 4002, 4004, 4005, 4006, 4007, 4008, 4009, 4010] {
            assert_eq!(answered(&node, names, port), port != 4000, "{port}");
        }
    }
}

#[test]
fn stale_entry_that_is_replaced_is_young_again() {
    for names in &FAMILIES {
        let node = node(names);
        (4000..4008).for_each(|port| open(&node, names, port));
        node.wait(60);
        // Its own entry is nobody's any more.
        open(&node, names, 4000);
        (5000..5007).for_each(|port| open(&node, names, port));
        assert!(answered(&node, names, 4000));
    }
}

proptest! {
    #[test]
    fn order_is_that_of_a_list(changes: Vec<(bool, u8)>) {
        let mut list: Vec<u32> = (0..8).collect();
        let mut order = Order::default();
        for (last, way) in changes {
            let way = u32::from(way % 8);
            list.retain(|other| *other != way);
            if last {
                list.push(way);
                order = order.last(way);
            } else {
                list.insert(0, way);
                order = order.first(way);
            }
            prop_assert_eq!(order.next(), list[0]);
        }
        // What is used becomes the last: the whole order, one by one.
        for way in list {
            prop_assert_eq!(order.next(), way);
            order = order.last(way);
        }
    }
}

#[test]
fn sizes_are_powers_of_two_and_never_too_few() {
    for (wanted, expected) in [(1, 1), (8, 1), (64, 8), (65, 16), (65_536, 8_192)] {
        assert_eq!(sets(wanted), expected, "{wanted} entries");
        assert!(entries(expected) >= wanted);
        assert_eq!(mask(expected), expected - 1);
    }
    assert_eq!(mask(0), 0);
    assert_eq!(mask(100), 63);
    assert!(sets(u32::MAX).is_power_of_two());
}

/// Keys as they come: many ports of few clients, of one backend.
fn keys<A: Addr>(names: &Names) -> Vec<FlowKey<A>> {
    let addr = |ip: &str| A::from_ip(ip.parse().unwrap()).unwrap();
    let ends: [SocketAddr; 2] = [at(names.pod, 0), at(names.local, 0)];
    let mut keys = Vec::new();
    for end in ends {
        for port in 0..8_192 {
            let client = A::from_ip(end.ip()).unwrap();
            let (backend, own) = (Be16::new(80), Be16::new(30_000 + port));
            keys.push(FlowKey::new(addr(names.remote), client, backend, own, 6));
        }
    }
    keys
}

fn spread<A: Addr>(names: &Names) {
    const SETS: u32 = 4_096;
    for seed in 0..8_u32 {
        let seed = seed.wrapping_mul(0x9e37_79b9);
        let mut load = [0_u32; SETS as usize];
        let mut tags = std::collections::BTreeSet::new();
        for key in keys::<A>(names) {
            let place = Place::of(&key, seed, SETS - 1);
            assert_ne!(place.tag, 0);
            load[place.set as usize] += 1;
            tags.insert((place.set, place.tag));
        }
        assert_eq!(
            tags.len(),
            16_384,
            "no two of them have place and tag in common"
        );
        // Four in each on the average. By chance more than 8 are in 2.1 % of the sets (Poisson), and 18 in one of a thousand million.
        let full = load.iter().filter(|load| **load > 8).count();
        assert!(
            full < 4_096 * 3 / 100,
            "seed {seed:#x}: {full} sets have more than 8"
        );
        let most = load.iter().max().unwrap();
        assert!(*most < 20, "seed {seed:#x}: {most} keys in one set");
    }
}

#[test]
fn keys_spread_evenly_and_by_seed() {
    spread::<V4>(&FAMILIES[0]);
    spread::<V6>(&FAMILIES[1]);
    let keys = keys::<V4>(&FAMILIES[0]);
    let moved = |key: &&FlowKey<V4>| Place::of(*key, 1, 4_095).set != Place::of(*key, 2, 4_095).set;
    assert!(keys.iter().filter(moved).count() > 16_000);
}

#[test]
fn every_word_of_a_key_counts() {
    let key = FlowKey::new(
        V6([1, 2, 3, 4]),
        V6([5, 6, 7, 8]),
        Be16::new(9),
        Be16::new(10),
        6,
    );
    let of = |key: &FlowKey<V6>| Place::of(key, 7, u32::MAX);
    let with = |change: &dyn Fn(&mut FlowKey<V6>)| {
        let mut other = key;
        change(&mut other);
        other
    };
    let mut others = vec![
        with(&|key| key.sport = Be16::new(8)),
        with(&|key| key.dport = Be16::new(8)),
        with(&|key| key.proto = 17),
    ];
    for word in 0..4 {
        others.push(with(&|key| key.src.0[word] ^= 1 << 31));
        others.push(with(&|key| key.dst.0[word] ^= 1));
    }
    for other in others {
        assert_ne!(of(&other).set, of(&key).set, "{other:?}");
        assert_ne!(of(&other).tag, of(&key).tag, "{other:?}");
    }
}
