//! Choosing a backend: even, stable, and by client where affinity asks for it.

use std::net::SocketAddr;

use proxy_common::sim::build::Build;
use proxy_common::value::Frontend;

use crate::node::{FAMILIES, Names, Node, POD, TCP, at};

/// A Service of `count` backends whose ports count up from 8000.
fn service(names: &Names, count: u16, affinity_seconds: u32) -> Node {
    let mut node = Node::new();
    let backends: Vec<_> = (0..count)
        .map(|index| (at(names.remote, 8000 + index), false))
        .collect();
    let slice = node.set(&backends);
    let value = Frontend {
        service: 7,
        slices: [slice; 3],
        affinity_seconds,
        ..Frontend::default()
    };
    node.write(at(names.vip, 80), TCP, value);
    node
}

fn backend(node: &Node, names: &Names, client: SocketAddr) -> u16 {
    let syn = Build::tcp(client, at(names.vip, 80)).syn().packet();
    node.enter(POD, &syn).seen.dst.port() - 8000
}

/// Clients that differ in address and port, as pods and their connections do.
fn clients(names: &Names, count: u32) -> impl Iterator<Item = SocketAddr> {
    let v6 = names.v6;
    (0..count).map(move |index| {
        let (host, port) = (index / 64, 32_768 + index % 64);
        let ip = if v6 {
            format!("fd00:9::{host:x}")
        } else {
            format!("10.9.{}.{}", host / 256, host % 256)
        };
        at(&ip, u16::try_from(port).unwrap())
    })
}

#[test]
fn connections_spread_evenly_over_any_number_of_backends() {
    /// Bounds of chi-square at p = 0.0001 and `count - 1` degrees of freedom.
    const BOUNDS: [(u16, f64); 5] = [(2, 15.2), (3, 18.5), (10, 33.8), (100, 160.1), (250, 343.0)];
    for names in &FAMILIES {
        for (count, bound) in BOUNDS {
            let node = service(names, count, 0);
            let total = 8192;
            let mut hits = vec![0_u32; usize::from(count)];
            for client in clients(names, total) {
                hits[usize::from(backend(&node, names, client))] += 1;
            }
            let expected = f64::from(total) / f64::from(count);
            let chi: f64 = hits
                .iter()
                .map(|hits| (f64::from(*hits) - expected).powi(2) / expected)
                .sum();
            assert!(
                chi < bound,
                "{count} backends: {chi} is over {bound}, {hits:?}"
            );
        }
    }
}

#[test]
fn same_tuple_has_the_same_backend_while_the_set_is_unchanged() {
    for names in &FAMILIES {
        let (one, other) = (service(names, 10, 0), service(names, 10, 0));
        for client in clients(names, 500) {
            assert_eq!(backend(&one, names, client), backend(&other, names, client));
        }
    }
}

#[test]
fn another_seed_spreads_otherwise() {
    for names in &FAMILIES {
        let (one, mut other) = (service(names, 10, 0), service(names, 10, 0));
        other.world.settings.hash_seed ^= 1;
        let same = clients(names, 1000)
            .filter(|client| backend(&one, names, *client) == backend(&other, names, *client));
        let same = same.count();
        assert!(
            (50..200).contains(&same),
            "{same} of 1000 are the same, 100 would be chance"
        );
    }
}

#[test]
fn affinity_keeps_a_client_at_one_backend() {
    for names in &FAMILIES {
        let node = service(names, 10, 10_800);
        let mut hit = std::collections::BTreeSet::new();
        for host in 1..40 {
            let ip = if names.v6 {
                format!("fd00:9::{host}")
            } else {
                format!("10.9.0.{host}")
            };
            let first = backend(&node, names, at(&ip, 40_000));
            hit.insert(first);
            for port in 40_001..40_010 {
                assert_eq!(backend(&node, names, at(&ip, port)), first);
            }
        }
        assert!(hit.len() >= 8, "{} of 10 backends", hit.len());
    }
}
