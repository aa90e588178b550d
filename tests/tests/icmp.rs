//! ICMP errors about translated packets reach the one they concern, in words he understands.

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::probe::{Failure, Mode, Proto, Request, UdpSockets};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Fabric, Family, Options, at};

/// Node ports of the Services with the first pod of node-a, and of node-b.
const PORTS: [u16; 2] = [30101, 30102];
/// A port that no pod listens on.
const CLOSED: u16 = 9;

fn services(cluster: &mut Cluster, target_port: u16) -> Result<()> {
    let pods = cluster.first_pods()?.map(Endpoint::pod);
    for ((index, port), pod) in (1..).zip(PORTS).zip(pods) {
        let service = Service {
            target_port,
            ..Service::new(&format!("web-{index}"), index).node_port(port)
        };
        cluster.manifests.service(&service, &[pod])?;
    }
    Ok(())
}

#[test]
fn port_unreachable_from_a_pod_reaches_the_client() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| services(cluster, CLOSED),
        |cluster| {
            let mut checks = Checks::default();
            for family in Family::BOTH {
                for (index, node_port) in (1..).zip(PORTS) {
                    let cluster_ip = at(Service::new("", index).ip(family), 80);
                    for udp in [UdpSockets::Connected, UdpSockets::Unconnected] {
                        for pod in cluster.first_pods()? {
                            checks.fails(
                                "pod to a closed port",
                                &pod.place,
                                &Request::new(Proto::Udp, cluster_ip, 3).udp(udp),
                                Failure::Refused,
                            );
                        }
                        for node in cluster.nodes() {
                            let request =
                                Request::new(Proto::Udp, at(node.ip(family), node_port), 3)
                                    .udp(udp);
                            checks.fails(
                                "outside to a closed port",
                                &cluster.client,
                                &request,
                                Failure::Refused,
                            );
                        }
                    }
                }
            }
            checks.verdict()
        },
    );
}

/// The router lets only short packets through to the client: its "too big" must reach the pod.
#[test]
fn too_big_from_the_path_reaches_the_pod() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            cluster.router.ip("route replace 203.0.113.0/24 dev client mtu 1300\nroute replace 2001:db8:77::/64 dev client mtu 1300\n")?;
            services(cluster, integration::topology::addresses::POD_PORT)
        },
        |cluster| {
            let mut checks = Checks::default();
            for family in Family::BOTH {
                for (pod, port) in cluster.first_pods()?.into_iter().zip(PORTS) {
                    for node in cluster.nodes() {
                        let request = Request::new(Proto::Tcp, at(node.ip(family), port), 1)
                            .mode(Mode::Download { bytes: 300_000 })
                            .timeout_ms(5_000);
                        checks.answered_any_source(
                            "through a narrow path",
                            &cluster.client,
                            &request,
                            &[pod.name()],
                        );
                    }
                }
            }
            checks.verdict()
        },
    );
}

/// The node's way to the pod is narrower than the client's way to the node: the node itself says "too big".
fn too_big_from_the_node(fabric: Fabric) {
    with_agents(
        Options {
            fabric,
            ..Options::default()
        },
        &AgentOptions::default(),
        |cluster| services(cluster, integration::topology::addresses::POD_PORT),
        |cluster| {
            let mut checks = Checks::default();
            for family in Family::BOTH {
                for (node, port) in cluster.nodes().into_iter().zip(PORTS.into_iter().rev()) {
                    let request = Request::new(Proto::Tcp, at(node.ip(family), port), 2)
                        .mode(Mode::Upload { bytes: 300_000 })
                        .timeout_ms(5_000);
                    let report = integration::probe::process::ask(&cluster.client, &request);
                    let outcome = report.and_then(|report| {
                        let failures: Vec<_> = report.failures().collect();
                        ensure!(failures.is_empty(), "{failures:?}");
                        Ok(())
                    });
                    checks.note("into a tunnel", &cluster.client, &request, outcome);
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn too_big_for_our_own_redirect() {
    too_big_from_the_node(Fabric::Vxlan);
}

#[test]
fn too_big_for_netfilters_way() {
    too_big_from_the_node(Fabric::VxlanByRoute);
}
