//! No endpoints: every client hears ECONNREFUSED at once (SEMANTICS 7.1). Policy `Local` without local endpoints: silence (7.2).

use std::net::SocketAddr;

use anyhow::Result;
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::{Failure, Proto, Request, UdpSockets};
use integration::testbed::with_agents;
use integration::topology::addresses::external_ip;
use integration::topology::{Cluster, Family, Options, at, matrix};

const NODE_PORT: u16 = 30100;

fn empty() -> Service {
    Service {
        external_ips: Family::BOTH.map(|family| external_ip(family, 1)).to_vec(),
        ..Service::new("empty", 1).node_port(NODE_PORT)
    }
}

/// One request is enough. Over veth the `ICMPv6` error comes while `connect()` still holds the socket, and Linux drops it then;
/// the repeated SYN is refused a second later. The same happens with netfilter's reject.
fn refused(proto: Proto, to: SocketAddr) -> Request {
    Request::new(proto, to, 1).timeout_ms(4_000)
}

#[test]
fn every_client_is_refused() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let unready: Vec<Endpoint> = cluster
                .endpoints()
                .into_iter()
                .map(Endpoint::unready)
                .collect();
            cluster.manifests.service(&empty(), &unready)
        },
        |cluster| {
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
                    let mut ways: Vec<(&Place, _)> = vec![
                        (&cluster.client, at(node.ip(family), NODE_PORT)),
                        (&node.host, at(family.loopback(), NODE_PORT)),
                    ];
                    for client in [&pod.place, &node.host] {
                        ways.extend(
                            [
                                at(empty().ip(family), 80),
                                at(external_ip(family, 1), 80),
                                at(node.ip(family), NODE_PORT),
                            ]
                            .map(|to| (client, to)),
                        );
                    }
                    for (client, to) in ways {
                        checks.fails(
                            "no endpoints",
                            client,
                            &refused(proto, to),
                            Failure::Refused,
                        );
                    }
                    let unconnected = Request::new(proto, at(empty().ip(family), 80), 2)
                        .udp(UdpSockets::Unconnected);
                    checks.fails(
                        "no endpoints, unconnected",
                        &pod.place,
                        &unconnected,
                        Failure::Refused,
                    );
                }
                checks.fails(
                    "no endpoints, routed",
                    &cluster.client,
                    &refused(proto, at(empty().ip(family), 80)),
                    Failure::Refused,
                );
            }
            checks.verdict()
        },
    );
}

fn local() -> Service {
    Service {
        external_local: true,
        ..Service::new("local", 2).node_port(NODE_PORT + 1)
    }
}

/// The pods of node-a.
fn prepare_local(cluster: &mut Cluster) -> Result<()> {
    let endpoints: Vec<Endpoint> = cluster.a.pods.iter().map(Endpoint::pod).collect();
    cluster.manifests.service(&local(), &endpoints)?;
    cluster.manifests.service(
        &Service {
            internal_local: true,
            ..Service::new("internal", 3)
        },
        &endpoints,
    )
}

#[test]
fn external_traffic_policy_local() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare_local,
        |cluster| {
            let mut checks = Checks::default();
            let servers: Vec<&str> = cluster
                .a
                .pods
                .iter()
                .map(integration::topology::Pod::name)
                .collect();
            for (family, proto) in matrix() {
                let (near, far) = (
                    at(cluster.a.ip(family), NODE_PORT + 1),
                    at(cluster.b.ip(family), NODE_PORT + 1),
                );
                checks.answered(
                    "eTP Local, pods here",
                    &cluster.client,
                    &Request::new(proto, near, MANY),
                    &servers,
                    cluster.client_ip(family),
                );
                checks.fails(
                    "eTP Local, no pod here",
                    &cluster.client,
                    &Request::new(proto, far, 1).timeout_ms(300),
                    Failure::Timeout,
                );
                // Pods and processes of the node reach every endpoint (SEMANTICS 4.4 a and b).
                checks.answered_any_source(
                    "eTP Local, from the host",
                    &cluster.b.host,
                    &Request::new(proto, far, MANY),
                    &servers,
                );
                let [_, pod] = cluster.first_pods()?;
                checks.answered(
                    "eTP Local, from a pod",
                    &pod.place,
                    &Request::new(proto, far, MANY),
                    &servers,
                    pod.ip(family),
                );
                checks.answered_any_source(
                    "its ClusterIP",
                    &pod.place,
                    &Request::new(proto, at(local().ip(family), 80), MANY),
                    &servers,
                );
            }
            checks.verdict()
        },
    );
}

#[test]
fn internal_traffic_policy_local() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare_local,
        |cluster| {
            let mut checks = Checks::default();
            let servers: Vec<&str> = cluster
                .a
                .pods
                .iter()
                .map(integration::topology::Pod::name)
                .collect();
            for (family, proto) in matrix() {
                let to = at(Service::new("internal", 3).ip(family), 80);
                let [near, far] = cluster.first_pods()?;
                checks.answered_any_source(
                    "iTP Local, pods here",
                    &near.place,
                    &Request::new(proto, to, MANY),
                    &servers,
                );
                checks.answered_any_source(
                    "iTP Local, pods here",
                    &cluster.a.host,
                    &Request::new(proto, to, MANY),
                    &servers,
                );
                // A socket is told at once what a packet finds by time-out.
                checks.fails(
                    "iTP Local, no pod here",
                    &cluster.b.host,
                    &Request::new(proto, to, 1),
                    Failure::Unreachable,
                );
                checks.fails(
                    "iTP Local, no pod here",
                    &far.place,
                    &Request::new(proto, to, 1).timeout_ms(300),
                    Failure::Timeout,
                );
            }
            checks.verdict()
        },
    );
}
