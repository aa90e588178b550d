//! loadBalancerSourceRanges (SEMANTICS 4.7): who may connect to a load-balancer address, and what the others hear.

use anyhow::Result;
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::{Failure, Proto, Request};
use integration::testbed::with_agents;
use integration::topology::addresses::external_ip;
use integration::topology::{Cluster, Family, Options, Pod, at, matrix};

const NODE_PORT: u16 = 30_400;

/// Number `index`, for the `ranges` only.
fn ranged(index: u8, ranges: &[String]) -> Service {
    Service {
        load_balancer_ips: Family::BOTH
            .map(|family| external_ip(family, index))
            .to_vec(),
        spec: format!("  loadBalancerSourceRanges: {ranges:?}\n"),
        ..Service::new(&format!("ranged-{index}"), index).node_port(NODE_PORT + u16::from(index))
    }
}

/// A network that `ip` is in, written with blanks, as old objects have it (2.8).
fn around(ip: std::net::IpAddr) -> String {
    format!(" {ip}/{} ", if ip.is_ipv4() { 30 } else { 126 })
}

/// One Service for the outside client, one for the first pod of node-a, one for node-a, and one for nobody of IPv6's.
fn prepare(cluster: &mut Cluster) -> Result<()> {
    let endpoints = cluster.first_pods()?.map(Endpoint::pod);
    let [pod, _] = cluster.first_pods()?;
    for (index, ranges) in [
        (
            1,
            Family::BOTH
                .map(|family| around(cluster.client_ip(family)))
                .to_vec(),
        ),
        (
            2,
            Family::BOTH
                .map(|family| {
                    format!(
                        "{}/{}",
                        pod.ip(family),
                        if family == Family::V4 { 32 } else { 128 }
                    )
                })
                .to_vec(),
        ),
        (
            3,
            Family::BOTH
                .map(|family| {
                    format!(
                        "{}/{}",
                        cluster.a.ip(family),
                        if family == Family::V4 { 32 } else { 128 }
                    )
                })
                .to_vec(),
        ),
        (4, vec!["192.0.2.0/24".to_owned()]),
    ] {
        cluster
            .manifests
            .service(&ranged(index, &ranges), &endpoints)?;
    }
    Ok(())
}

/// A request that a packet's sender waits for in vain.
fn dropped(proto: Proto, to: std::net::SocketAddr) -> Request {
    Request::new(proto, to, 1).timeout_ms(500)
}

#[test]
fn clients_outside_the_ranges_are_dropped_and_sockets_told_so() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            let [pod, other] = cluster.first_pods()?;
            for (family, proto) in matrix() {
                let vip = |index| at(external_ip(family, index), 80);
                // Routed to node-a, which serves it.
                for (index, served) in [(1, true), (2, false), (3, false)] {
                    let place = &cluster.client;
                    if served {
                        let request = Request::new(proto, vip(index), MANY);
                        checks.answered_any_source("in the ranges", place, &request, &servers);
                    } else {
                        let request = dropped(proto, vip(index));
                        checks.fails("in no range", place, &request, Failure::Timeout);
                    }
                }
                // Pods are not exempt.
                for (place, index, served) in [
                    (&pod.place, 2, true),
                    (&pod.place, 1, false),
                    (&pod.place, 3, false),
                    (&other.place, 2, false),
                ] {
                    if served {
                        let request = Request::new(proto, vip(index), MANY);
                        checks.answered_any_source(
                            "a pod in the ranges",
                            place,
                            &request,
                            &servers,
                        );
                    } else {
                        let request = dropped(proto, vip(index));
                        checks.fails("a pod in no range", place, &request, Failure::Timeout);
                    }
                }
                // The node's own processes, by the node's primary address.
                let request = Request::new(proto, vip(3), MANY);
                checks.answered_any_source(
                    "node-a, in the ranges",
                    &cluster.a.host,
                    &request,
                    &servers,
                );
                for (place, index) in [
                    (&cluster.b.host, 3),
                    (&cluster.a.host, 1),
                    (&cluster.a.host, 2),
                ] {
                    let request = Request::new(proto, vip(index), 1);
                    checks.fails("a host in no range", place, &request, Failure::Unreachable);
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn ranges_hold_for_load_balancer_addresses_and_their_family_only() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            let [pod, _] = cluster.first_pods()?;
            for (family, proto) in matrix() {
                for index in 1..=4 {
                    // SEMANTICS 2.1, 3.7: neither the ClusterIP nor the NodePort.
                    let node_port = at(cluster.a.ip(family), NODE_PORT + u16::from(index));
                    let request = Request::new(proto, node_port, MANY);
                    checks.answered_any_source("NodePort", &cluster.client, &request, &servers);
                    let cluster_ip = at(ranged(index, &[]).ip(family), 80);
                    let request = Request::new(proto, cluster_ip, MANY);
                    checks.answered_any_source("ClusterIP", &pod.place, &request, &servers);
                }
                // 2.9: ranges of the other family only are none.
                let to = at(external_ip(family, 4), 80);
                if family == Family::V6 {
                    let request = Request::new(proto, to, MANY);
                    checks.answered_any_source(
                        "no range of IPv6",
                        &cluster.client,
                        &request,
                        &servers,
                    );
                    checks.answered_any_source(
                        "no range of IPv6",
                        &cluster.b.host,
                        &request,
                        &servers,
                    );
                } else {
                    let request = dropped(proto, to);
                    checks.fails("in no range", &cluster.client, &request, Failure::Timeout);
                }
            }
            checks.verdict()
        },
    );
}
