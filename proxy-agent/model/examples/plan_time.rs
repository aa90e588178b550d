//! How long plans take and how much memory the planner holds: `cargo run --release -p proxy-model --example plan_time [services]`.

use std::time::Instant;

use proxy_model::{Change, MemoryMaps, Object, Planner, PlannerConfig, raw};

const ENDPOINTS: u32 = 10;
const CHANGES: u32 = 2_000;

fn service(number: u32) -> Object {
    let [_, a, b, c] = number.to_be_bytes();
    let mut service = raw::Service::default();
    service.metadata.name = format!("service-{number}");
    service.metadata.namespace = format!("namespace-{}", number % 100);
    service.metadata.uid = format!("00000000-0000-4000-8000-{number:012}");
    service.metadata.creation_timestamp = Some("2026-01-01T00:00:00Z".to_owned());
    service.spec.cluster_ips = vec![format!("10.{}.{b}.{c}", 96 + a)];
    service.spec.ports = vec![raw::ServicePort {
        name: "http".to_owned(),
        port: 80,
        ..raw::ServicePort::default()
    }];
    Object::Service(service)
}

fn slice(number: u32, shift: u32) -> Object {
    let mut slice = raw::EndpointSlice::default();
    slice.metadata.name = format!("service-{number}-abcde");
    slice.metadata.namespace = format!("namespace-{}", number % 100);
    slice.metadata.labels.insert(
        "kubernetes.io/service-name".to_owned(),
        format!("service-{number}"),
    );
    "IPv4".clone_into(&mut slice.address_type);
    slice.ports = vec![raw::EndpointPort {
        name: Some("http".to_owned()),
        protocol: None,
        port: Some(8080),
    }];
    slice.endpoints = (0..ENDPOINTS)
        .map(|endpoint| {
            let [a, b, c, d] = (number * ENDPOINTS + endpoint + shift).to_be_bytes();
            raw::Endpoint {
                addresses: vec![format!("{}.{b}.{c}.{d}", 11 + a)],
                node_name: Some("node-b".to_owned()),
                ..raw::Endpoint::default()
            }
        })
        .collect();
    Object::EndpointSlice(slice)
}

/// Resident memory in MiB.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = pages
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or_default();
    pages * 4.0 / 1024.0
}

fn main() {
    let services: u32 = std::env::args()
        .nth(1)
        .and_then(|arg| arg.parse().ok())
        .unwrap_or(100_000);
    let capacity = (services * ENDPOINTS * 2).max(1_000);
    let config = PlannerConfig {
        node_name: "node-a".to_owned(),
        frontends: capacity,
        backends: capacity,
        policy: proxy_model::Policy::default(),
    };
    let mut planner = Planner::new(config.clone());
    let before = resident();
    let start = Instant::now();
    for number in 0..services {
        planner.apply(Change::Upsert(service(number)));
        planner.apply(Change::Upsert(slice(number, 0)));
    }
    println!("{services} Services x {ENDPOINTS} endpoints");
    println!("take objects (with making them): {:?}", start.elapsed());
    println!("memory of the objects: {:.1} MiB", resident() - before);
    let start = Instant::now();
    let ops = planner.plan(0);
    println!(
        "first plan: {:?}, {} operations",
        start.elapsed(),
        ops.len()
    );
    println!("memory with the plan: {:.1} MiB", resident() - before);
    let mut maps = MemoryMaps::default();
    maps.apply(&ops);
    drop(ops);

    let mut times = Vec::new();
    for round in 0..CHANGES {
        let change = Change::Upsert(slice(round.wrapping_mul(7_919) % services, 1));
        let start = Instant::now();
        planner.apply(change);
        let ops = planner.plan(u64::from(round));
        times.push(start.elapsed());
        maps.apply(&ops);
    }
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "one endpoint changes: median {:?}, p99 {:?}",
        at(50),
        at(99)
    );

    let dump = maps.dump();
    drop(planner);
    let mut planner = Planner::new(config);
    let start = Instant::now();
    planner.recover(dump);
    println!("recover the maps: {:?}", start.elapsed());
    for number in 0..services {
        planner.apply(Change::Upsert(service(number)));
        planner.apply(Change::Upsert(slice(number, 0)));
    }
    let start = Instant::now();
    let ops = planner.plan(0);
    println!(
        "first plan after the restart: {:?}, {} operations",
        start.elapsed(),
        ops.len()
    );
}
