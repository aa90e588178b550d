//! Which endpoints new connections go to (SEMANTICS 5, 16.1, 16.2): hints, and what ends, from pods, processes of the nodes and outside.

use anyhow::Result;
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::{Failure, Request};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Family, Node, Options, at, matrix};

const NODE_PORT: u16 = 30_900;

/// What a client is answered by.
type Servers<'a> = &'a [&'a str];

/// Number `index`; `local`: both policies.
fn service(index: u8, local: bool) -> Service {
    Service {
        external_local: local,
        internal_local: local,
        ..Service::new(&format!("web-{index}"), index).node_port(NODE_PORT + u16::from(index))
    }
}

/// Asks at `place` through every family and protocol; no servers: dropped.
fn ask(
    checks: &mut Checks,
    place: &Place,
    ips: [std::net::IpAddr; 2],
    port: u16,
    servers: Servers<'_>,
) {
    let host = place.name.starts_with("node-");
    for (family, proto) in matrix() {
        let ip = if family == Family::V4 { ips[0] } else { ips[1] };
        if servers.is_empty() {
            let failure = if host {
                Failure::Unreachable
            } else {
                Failure::Timeout
            };
            let request = Request::new(proto, at(ip, port), 1).timeout_ms(500);
            checks.fails("no server", place, &request, failure);
        } else {
            let request = Request::new(proto, at(ip, port), MANY);
            checks.answered_any_source("servers", place, &request, servers);
        }
    }
}

/// The cluster IP of Service `index`, at the last pod and the processes of `node`.
fn inside(checks: &mut Checks, node: &Node, index: u8, servers: Servers<'_>) {
    let ips = Family::BOTH.map(|family| service(index, false).ip(family));
    for place in node
        .pods
        .last()
        .map(|pod| &pod.place)
        .into_iter()
        .chain([&node.host])
    {
        ask(checks, place, ips, 80, servers);
    }
}

/// The node port of Service `index` on `node`, from outside.
fn outside(checks: &mut Checks, cluster: &Cluster, node: &Node, index: u8, servers: Servers<'_>) {
    let ips = Family::BOTH.map(|family| node.ip(family));
    ask(
        checks,
        &cluster.client,
        ips,
        NODE_PORT + u16::from(index),
        servers,
    );
}

fn run(
    prepare: impl FnOnce(&Cluster, [Endpoint; 4]) -> Result<()>,
    test: impl FnOnce(&Cluster, &mut Checks) -> Result<()>,
) {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let mut all = cluster.endpoints().into_iter();
            let mut next = || all.next().ok_or_else(|| anyhow::anyhow!("too few pods"));
            let endpoints = [next()?, next()?, next()?, next()?];
            prepare(cluster, endpoints)
        },
        |cluster| {
            let mut checks = Checks::default();
            test(cluster, &mut checks)?;
            checks.verdict()
        },
    );
}

#[test]
fn semantics_5_2_hints_are_followed_where_they_can_be() {
    let zone = |endpoint: Endpoint, zones: &[&str]| {
        let zones: Vec<String> = zones
            .iter()
            .map(|zone| format!("{{name: {zone}}}"))
            .collect();
        endpoint.hints(&format!("forZones: [{}]", zones.join(", ")))
    };
    let node = |endpoint: Endpoint, node: &str| {
        endpoint.hints(&format!(
            "forZones: [{{name: zone-1}}, {{name: zone-2}}], forNodes: [{{name: {node}}}]"
        ))
    };
    run(
        |cluster, [a1, a2, b1, b2]| {
            let write = |index, endpoints: &[Endpoint]| {
                cluster.manifests.service(&service(index, false), endpoints)
            };
            // Each node has its zone, and the hint need not be where the endpoint is.
            write(
                1,
                &[zone(a1.clone(), &["zone-2"]), zone(b1.clone(), &["zone-1"])],
            )?;
            write(
                2,
                &[
                    zone(a1.clone(), &["zone-1", "zone-2"]),
                    zone(b1.clone(), &["zone-2"]),
                ],
            )?;
            // One without hints, and none for anybody here: hints do not count.
            write(3, &[zone(a1.clone(), &["zone-1"]), b1.clone()])?;
            write(
                4,
                &[
                    zone(a1.clone(), &["zone-9"]),
                    zone(b1.clone(), &["elsewhere"]),
                ],
            )?;
            write(5, &[node(a1.clone(), "node-a"), node(b1.clone(), "node-b")])?;
            write(6, &[node(a1.clone(), "node-9"), node(b1.clone(), "node-8")])?;
            // 5.4: never for a local policy.
            cluster.manifests.service(
                &service(7, true),
                &[
                    zone(a1, &["zone-2"]),
                    zone(a2, &["zone-1"]),
                    zone(b1, &["zone-1"]),
                    zone(b2, &["zone-2"]),
                ],
            )
        },
        |cluster, checks| {
            let [a, b] = cluster.nodes();
            for (index, at_a, at_b) in [
                (1, &["pod-b1"][..], &["pod-a1"][..]),
                (2, &["pod-a1"], &["pod-a1", "pod-b1"]),
                (3, &["pod-a1", "pod-b1"], &["pod-a1", "pod-b1"]),
                (4, &["pod-a1", "pod-b1"], &["pod-a1", "pod-b1"]),
                (5, &["pod-a1"], &["pod-b1"]),
                (6, &["pod-a1", "pod-b1"], &["pod-a1", "pod-b1"]),
                (7, &["pod-a1", "pod-a2"], &["pod-b1", "pod-b2"]),
            ] {
                for (node, servers) in [(a, at_a), (b, at_b)] {
                    inside(checks, node, index, servers);
                    outside(checks, cluster, node, index, servers);
                }
            }
            Ok(())
        },
    );
}

#[test]
fn semantics_5_3_to_5_5_what_ends_serves_while_nobody_else_does() {
    run(
        |cluster, [a1, a2, b1, b2]| {
            let write = |index, local, endpoints: &[Endpoint]| {
                cluster.manifests.service(&service(index, local), endpoints)
            };
            let [a1_ends, b1_ends] = [&a1, &b1].map(|one| one.clone().terminating());
            write(1, false, &[a1_ends.clone(), b1.clone()])?;
            write(
                2,
                false,
                &[a1_ends.clone(), b1_ends.clone(), b2.clone().unready()],
            )?;
            // Local: each node looks at its own, whatever the others have.
            write(
                3,
                true,
                &[
                    a1_ends.clone(),
                    a2.clone().unready(),
                    b1.clone(),
                    b2.clone(),
                ],
            )?;
            write(4, true, &[a1_ends.clone(), a2.clone(), b1_ends])?;
            write(5, true, &[a1.clone().unready(), b1.clone()])?;
            // 21.16: with publishNotReadyAddresses what ends is ready.
            write(6, false, &[a1.published(), b1])?;
            write(7, false, &[a2.unready(), b2.unready()])
        },
        |cluster, checks| {
            let [a, b] = cluster.nodes();
            let none = &[][..];
            for (index, at_a, at_b) in [
                (1, &["pod-b1"][..], &["pod-b1"][..]),
                (2, &["pod-a1", "pod-b1"], &["pod-a1", "pod-b1"]),
                (3, &["pod-a1"], &["pod-b1", "pod-b2"]),
                (4, &["pod-a2"], &["pod-b1"]),
                (5, none, &["pod-b1"]),
                (6, &["pod-a1", "pod-b1"], &["pod-a1", "pod-b1"]),
            ] {
                for (node, servers) in [(a, at_a), (b, at_b)] {
                    inside(checks, node, index, servers);
                    outside(checks, cluster, node, index, servers);
                }
            }
            for (family, proto) in matrix() {
                let request =
                    Request::new(proto, at(service(7, false).ip(family), 80), 1).timeout_ms(4_000);
                let pod = &cluster.first_pods()?[0].place;
                checks.fails("nobody is usable", pod, &request, Failure::Refused);
                checks.fails("nobody is usable", &a.host, &request, Failure::Refused);
            }
            Ok(())
        },
    );
}
