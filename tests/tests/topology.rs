//! The test bed itself, without kube-shunt: everyone reaches everyone by their own address. If this fails, no other failure means anything.

use anyhow::{Context as _, Result};
use integration::expect::{Checks, MANY};
use integration::probe::{Proto, Request, UdpSockets, mapped};
use integration::testbed::with_cluster;
use integration::topology::addresses::POD_PORT;
use integration::topology::{Cluster, Fabric, Family, Options, Pod, at, matrix};

fn everyone_reaches_everyone(cluster: &mut Cluster) -> Result<()> {
    let mut checks = Checks::default();
    for (family, proto) in Family::BOTH
        .into_iter()
        .flat_map(|family| Proto::BOTH.map(|proto| (family, proto)))
    {
        for server in cluster.pods() {
            let request = Request::new(proto, at(server.ip(family), POD_PORT), 2);
            for client in cluster.pods() {
                checks.answered(
                    "pod to pod",
                    &client.place,
                    &request,
                    &[server.name()],
                    client.ip(family),
                );
            }
            checks.answered(
                "outside to pod",
                &cluster.client,
                &request,
                &[server.name()],
                cluster.client_ip(family),
            );
            for node in cluster.nodes() {
                checks.answered_any_source("node to pod", &node.host, &request, &[server.name()]);
            }
        }
    }
    checks.verdict()
}

#[test]
fn native_routes() {
    with_cluster(Options::default(), everyone_reaches_everyone);
}

#[test]
fn bridge_without_netfilter() {
    with_cluster(
        Options {
            bridge_netfilter: false,
            ..Options::default()
        },
        everyone_reaches_everyone,
    );
}

#[test]
fn vxlan() {
    with_cluster(
        Options {
            fabric: Fabric::Vxlan,
            ..Options::default()
        },
        everyone_reaches_everyone,
    );
}

#[test]
fn vxlan_by_route() {
    with_cluster(
        Options {
            fabric: Fabric::VxlanByRoute,
            ..Options::default()
        },
        everyone_reaches_everyone,
    );
}

#[test]
fn servers_in_the_node_answer_from_the_address_asked() {
    with_cluster(Options::default(), |cluster| {
        let mut checks = Checks::default();
        for node in cluster.nodes() {
            let _server = node.serve("in-the-node", 9000)?;
            for (family, udp) in Family::BOTH.into_iter().flat_map(|family| {
                [UdpSockets::Unconnected, UdpSockets::OneUnconnected].map(|udp| (family, udp))
            }) {
                let request = Request::new(Proto::Udp, at(node.ip(family), 9000), 3).udp(udp);
                checks.answered(
                    "outside to node",
                    &cluster.client,
                    &request,
                    &["in-the-node"],
                    cluster.client_ip(family),
                );
                let local =
                    Request::new(Proto::Udp, mapped(at(family.loopback(), 9000)), MANY).udp(udp);
                checks.answered(
                    "node to itself",
                    &node.host,
                    &local,
                    &["in-the-node"],
                    family.loopback(),
                );
            }
        }
        checks.verdict()
    });
}

#[test]
fn a_port_without_server_refuses() {
    with_cluster(Options::default(), |cluster| {
        let mut checks = Checks::default();
        for family in Family::BOTH {
            for (pod, proto) in cluster
                .pods()
                .flat_map(|pod| Proto::BOTH.map(|proto| (pod, proto)))
            {
                for udp in [UdpSockets::Connected, UdpSockets::Unconnected] {
                    let request = Request::new(proto, at(pod.ip(family), 9), 1).udp(udp);
                    checks.fails(
                        "outside to a closed port",
                        &cluster.client,
                        &request,
                        integration::probe::Failure::Refused,
                    );
                }
            }
        }
        checks.verdict()
    });
}

#[test]
fn nothing_is_left_behind() {
    with_cluster(Options::default(), |cluster| {
        let (prefix, dir) = (cluster.state.prefix.clone(), cluster.state.dir.clone());
        let other = Cluster::new(Options {
            pods: 1,
            ..Options::default()
        })?;
        let (other_prefix, other_dir) = (other.state.prefix.clone(), other.state.dir.clone());
        drop(other);
        // The one that was dropped is gone, the one that lives is not.
        assert!(
            integration::netns::with_prefix(&format!("{other_prefix}-")).is_empty()
                && !other_dir.exists()
        );
        assert!(!integration::netns::with_prefix(&format!("{prefix}-")).is_empty() && dir.exists());
        Ok(())
    });
}

#[test]
fn a_new_pod_talks_at_once() {
    // Otherwise a lost first packet in `devices` says nothing about kube-shunt.
    with_cluster(Options::default(), |cluster| {
        let mut checks = Checks::default();
        for _ in 0..5 {
            for node in [&mut cluster.a, &mut cluster.b] {
                node.add_pod(&cluster.state)?;
            }
            for (family, proto) in matrix() {
                for (pod, old) in [
                    (cluster.a.pods.last(), &cluster.b.pods[0]),
                    (cluster.b.pods.last(), &cluster.a.pods[0]),
                ] {
                    let pod = pod.context("no pod")?;
                    let to = |server: &Pod| {
                        Request::new(proto, at(server.ip(family), POD_PORT), 1).timeout_ms(900)
                    };
                    checks.answered(
                        "from a new pod",
                        &pod.place,
                        &to(old),
                        &[old.name()],
                        pod.ip(family),
                    );
                    checks.answered(
                        "to a new pod",
                        &old.place,
                        &to(pod),
                        &[pod.name()],
                        old.ip(family),
                    );
                }
            }
        }
        checks.verdict()
    });
}
