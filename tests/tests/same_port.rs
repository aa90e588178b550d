//! One client port used at the same time for two Services with the same backend, or for a Service and for its backend itself: their answers must
//! not be confused.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::process::Talk;
use integration::probe::{Mode, Proto, Request};
use integration::testbed::{configured, with_agents, with_cluster};
use integration::topology::addresses::POD_PORT;
use integration::topology::{Cluster, Family, Options, at, matrix};

const NODE_PORTS: [u16; 2] = [30101, 30102];
/// Port of the process of node-b, and the Service that has it.
const PROCESS: (u16, &str, u8, u16) = (6_443, "process", 3, 30_103);

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
fn both_at_once(client: &Place, proto: Proto, to: [SocketAddr; 2], port: u16) -> Result<()> {
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

/// Who speaks to `backend` on node-b through a frontend, to port `node_port` or `ClusterIP` number `index`, and directly: the client outside, a pod of each
/// node, and the processes of node-a, whose sockets are led to a backend before any packet is made.
fn and_directly(
    cluster: &Cluster,
    (family, proto): (Family, Proto),
    (backend, index, node_port): (SocketAddr, u8, u16),
    port: u16,
) -> Result<()> {
    let [a, _] = cluster.first_pods()?;
    let cluster_ip = at(Service::new("", index).ip(family), 80);
    let from_outside = at(cluster.b.ip(family), node_port);
    for (client, to) in [
        (&cluster.client, [from_outside, backend]),
        (&a.place, [cluster_ip, backend]),
        (&cluster.b.pods[1].place, [cluster_ip, backend]),
        (&cluster.a.host, [from_outside, cluster_ip]),
    ] {
        both_at_once(client, proto, to, port)?;
    }
    Ok(())
}

/// A Service of pod-b1 and one of a process of node-b.
fn through_and_directly(cluster: &Cluster) -> Result<()> {
    let _process = cluster.b.serve("in-node-b", PROCESS.0)?;
    let [_, pod] = cluster.first_pods()?;
    for (family, proto) in matrix() {
        let of_pod = (at(pod.ip(family), POD_PORT), 1, NODE_PORTS[0]);
        and_directly(cluster, (family, proto), of_pod, 20_000)?;
        let of_process = (at(cluster.b.ip(family), PROCESS.0), PROCESS.2, PROCESS.3);
        and_directly(cluster, (family, proto), of_process, 21_000)?;
    }
    Ok(())
}

fn prepare_both(cluster: &mut Cluster) -> Result<()> {
    prepare(cluster)?;
    let (target_port, name, index, node_port) = PROCESS;
    let service = Service {
        target_port,
        ..Service::new(name, index).node_port(node_port)
    };
    cluster
        .manifests
        .service(&service, &[Endpoint::host(&cluster.b)])
}

#[test]
fn through_a_service_and_to_its_backend_itself() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare_both,
        |cluster| through_and_directly(cluster),
    );
}

#[test]
fn through_a_service_and_to_its_backend_itself_with_host_routing() {
    with_cluster(Options::default(), |cluster| {
        prepare_both(cluster)?;
        let options = configured(cluster, ["", "hostRouting: bpf"])?;
        cluster.start_agents(&options)?;
        through_and_directly(cluster)
    });
}
