//! Rows "outside -> node frontend" (local and remote backend) and "outside -> a `ClusterIP` through this node".

use anyhow::Result;
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::{Mode, Proto, Request, UdpSockets};
use integration::testbed::with_agents;
use integration::topology::addresses::external_ip;
use integration::topology::{Cluster, Family, Node, Options, Pod, at, matrix};

/// Node ports of the Services with one pod, on node-a and on node-b, and of the one with both.
const PORTS: [u16; 3] = [30101, 30102, 30103];

fn service(index: u8) -> Service {
    let port = PORTS[usize::from(index) - 1];
    Service {
        external_ips: Family::BOTH
            .map(|family| external_ip(family, index))
            .to_vec(),
        load_balancer_ips: Family::BOTH
            .map(|family| external_ip(family, 10 + index))
            .to_vec(),
        ..Service::new(&format!("web-{index}"), index).node_port(port)
    }
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    let [a, b] = cluster.first_pods()?.map(Endpoint::pod);
    cluster
        .manifests
        .service(&service(1), std::slice::from_ref(&a))?;
    cluster
        .manifests
        .service(&service(2), std::slice::from_ref(&b))?;
    cluster.manifests.service(&service(3), &[a, b])
}

/// A node, the index of the Service whose pod is local to it, that pod, and the same of the other node's.
type NodeView<'a> = (&'a Node, usize, &'a Pod, usize, &'a Pod);

fn local_and_remote(cluster: &Cluster) -> Result<[NodeView<'_>; 2]> {
    let [a, b] = cluster.first_pods()?;
    Ok([(&cluster.a, 0, a, 1, b), (&cluster.b, 1, b, 0, a)])
}

#[test]
fn a_local_pod_sees_the_client() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                for (node, local, pod, _, _) in local_and_remote(cluster)? {
                    for udp in [UdpSockets::Connected, UdpSockets::OneUnconnected] {
                        let request =
                            Request::new(proto, at(node.ip(family), PORTS[local]), 5).udp(udp);
                        checks.answered(
                            "NodePort, local pod",
                            &cluster.client,
                            &request,
                            &[pod.name()],
                            cluster.client_ip(family),
                        );
                    }
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn a_remote_pod_sees_the_node() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                for (node, _, _, remote, pod) in local_and_remote(cluster)? {
                    for udp in [UdpSockets::Connected, UdpSockets::OneUnconnected] {
                        let request =
                            Request::new(proto, at(node.ip(family), PORTS[remote]), 5).udp(udp);
                        checks.answered(
                            "NodePort, remote pod",
                            &cluster.client,
                            &request,
                            &[pod.name()],
                            node.ip(family),
                        );
                    }
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn external_and_cluster_addresses_routed_to_a_node() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            let [a, b] = cluster.first_pods()?;
            for (family, proto) in matrix() {
                // The router sends all of these to node-a.
                for (index, pod, seen) in [
                    (1, a, cluster.client_ip(family)),
                    (2, b, cluster.a.ip(family)),
                ] {
                    for to in [
                        external_ip(family, index),
                        external_ip(family, 10 + index),
                        service(index).ip(family),
                    ] {
                        checks.answered(
                            "routed to node-a",
                            &cluster.client,
                            &Request::new(proto, at(to, 80), 5),
                            &[pod.name()],
                            seen,
                        );
                    }
                }
                let both = Request::new(proto, at(service(3).ip(family), 80), MANY);
                checks.answered_any_source(
                    "routed to node-a",
                    &cluster.client,
                    &both,
                    &[a.name(), b.name()],
                );
            }
            checks.verdict()
        },
    );
}

/// A load balancer's address that the node itself carries, as with a VIP on the loopback device.
#[test]
fn external_addresses_that_a_node_carries() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            for family in Family::BOTH {
                let vip = external_ip(family, 3);
                cluster.a.host.ip(&format!("addr add {vip} dev lo\n"))?;
            }
            prepare(cluster)
        },
        |cluster| {
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            for (family, proto) in matrix() {
                let request = Request::new(proto, at(external_ip(family, 3), 80), MANY);
                for client in [&cluster.client, &cluster.a.host, &cluster.a.pods[1].place] {
                    checks.answered_any_source("a VIP of the node", client, &request, &servers);
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn bulk_data_arrives_intact() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            for family in Family::BOTH {
                for (node, local, near, remote, far) in local_and_remote(cluster)? {
                    for (service, pod) in [(local, near), (remote, far)] {
                        for mode in [
                            Mode::Upload { bytes: 4_000_003 },
                            Mode::Download { bytes: 4_000_003 },
                        ] {
                            let request =
                                Request::new(Proto::Tcp, at(node.ip(family), PORTS[service]), 2)
                                    .mode(mode)
                                    .timeout_ms(10_000);
                            checks.answered_any_source(
                                "4 MB",
                                &cluster.client,
                                &request,
                                &[pod.name()],
                            );
                        }
                    }
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn strangers_ports_are_left_alone() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            for node in cluster.nodes() {
                // In the NodePort range, but no Service's.
                let _server = node.serve("in-the-node", 30999)?;
                for (family, proto) in matrix() {
                    let request = Request::new(proto, at(node.ip(family), 30999), 3);
                    checks.answered(
                        "a server on the node",
                        &cluster.client,
                        &request,
                        &["in-the-node"],
                        cluster.client_ip(family),
                    );
                }
            }
            checks.verdict()
        },
    );
}
