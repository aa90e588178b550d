//! Two Services with the same backend, used from one client port at the same time: their answers must not be confused.

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::process::Talk;
use integration::probe::{Mode, Proto, Request};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Options, at, matrix};

const NODE_PORTS: [u16; 2] = [30101, 30102];

/// Both Services have the first pod of node-b.
fn prepare(cluster: &mut Cluster) -> Result<()> {
    let [_, pod] = cluster.first_pods()?.map(Endpoint::pod);
    for (index, port) in (1..).zip(NODE_PORTS) {
        cluster.manifests.service(
            &Service::new(&format!("web-{index}"), index).node_port(port),
            std::slice::from_ref(&pod),
        )?;
    }
    Ok(())
}

/// Talks to both addresses at the same time, from the same ports.
fn both_at_once(
    client: &Place,
    proto: Proto,
    to: [std::net::SocketAddr; 2],
    port: u16,
) -> Result<()> {
    let talks = to.map(|to| {
        Request::new(proto, to, 8)
            .from_port(port)
            .mode(Mode::PingPong { pause_us: 200 })
    });
    // The second begins while the first still talks.
    let first = Talk::start(client, &talks[0])?.talking()?;
    let second = Talk::start(client, &talks[1])?.talking()?;
    for (report, to) in [second.finish()?, first.finish()?]
        .into_iter()
        .zip(to.into_iter().rev())
    {
        ensure!(
            report.failures().count() == 0,
            "{to}: {:?}",
            report.failures().collect::<Vec<_>>()
        );
        ensure!(
            report.sent > 0 && report.sent == report.answered,
            "{to}: {} sent, {} answered",
            report.sent,
            report.answered
        );
        ensure!(
            report.answers().all(|answer| answer.peer == to),
            "{to}: the client sees another address"
        );
    }
    Ok(())
}

#[test]
fn from_a_pod_to_two_cluster_ips() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            for (family, proto) in matrix() {
                for (pod, port) in cluster.first_pods()?.into_iter().zip([20_000, 21_000]) {
                    both_at_once(
                        &pod.place,
                        proto,
                        [1, 2].map(|index| at(Service::new("", index).ip(family), 80)),
                        port,
                    )?;
                }
            }
            Ok(())
        },
    );
}

#[test]
fn from_outside_to_two_node_ports() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            for (family, proto) in matrix() {
                for (node, port) in cluster.nodes().into_iter().zip([20_000, 21_000]) {
                    both_at_once(
                        &cluster.client,
                        proto,
                        NODE_PORTS.map(|node_port| at(node.ip(family), node_port)),
                        port,
                    )?;
                }
            }
            Ok(())
        },
    );
}
