//! Pod networks over tunnels: an ordinary vxlan device, and one that takes its peer from the route, where netfilter masquerades.

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::Request;
use integration::testbed::with_agents;
use integration::topology::{Cluster, Fabric, Options, Pod, at, matrix};

const NODE_PORT: u16 = 30100;

fn prepare(cluster: &mut Cluster) -> Result<()> {
    for ((index, pod), port) in (1..)
        .zip(cluster.first_pods()?)
        .zip([NODE_PORT + 1, NODE_PORT + 2])
    {
        cluster.manifests.service(
            &Service::new(&format!("one-{index}"), index).node_port(port),
            &[Endpoint::pod(pod)],
        )?;
    }
    cluster.manifests.service(
        &Service::new("both", 3).node_port(NODE_PORT + 3),
        &cluster.first_pods()?.map(Endpoint::pod),
    )
}

fn everyone_is_served(cluster: &Cluster) -> Result<()> {
    let mut checks = Checks::default();
    let [a, b] = cluster.first_pods()?;
    let both = [a, b].map(Pod::name);
    for (family, proto) in matrix() {
        let cluster_ip = at(Service::new("", 3).ip(family), 80);
        for node in cluster.nodes() {
            let node_port = at(node.ip(family), NODE_PORT + 3);
            checks.answered_any_source(
                "outside to NodePort",
                &cluster.client,
                &Request::new(proto, node_port, MANY),
                &both,
            );
            checks.answered_any_source(
                "host to ClusterIP",
                &node.host,
                &Request::new(proto, cluster_ip, MANY),
                &both,
            );
            checks.answered_any_source(
                "host to localhost",
                &node.host,
                &Request::new(proto, at(family.loopback(), NODE_PORT + 3), MANY),
                &both,
            );
        }
        for pod in [a, b] {
            checks.answered_any_source(
                "pod to ClusterIP",
                &pod.place,
                &Request::new(proto, cluster_ip, MANY),
                &both,
            );
        }
        for (client, index, server) in [(a, 2, b), (b, 1, a)] {
            let request = Request::new(proto, at(Service::new("", index).ip(family), 80), 3);
            checks.answered(
                "pod to a remote pod",
                &client.place,
                &request,
                &[server.name()],
                client.ip(family),
            );
        }
        for (node, port, pod) in [
            (&cluster.a, NODE_PORT + 1, a),
            (&cluster.b, NODE_PORT + 2, b),
        ] {
            let request = Request::new(proto, at(node.ip(family), port), 3);
            checks.answered(
                "outside to a local pod",
                &cluster.client,
                &request,
                &[pod.name()],
                cluster.client_ip(family),
            );
        }
    }
    checks.verdict()
}

fn our_table(cluster: &Cluster) -> Result<bool> {
    Ok(cluster
        .a
        .host
        .run("nft", &["list", "tables"])?
        .contains("kube-shunt"))
}

#[test]
fn through_an_ordinary_vxlan_device() {
    with_agents(
        Options {
            fabric: Fabric::Vxlan,
            ..Options::default()
        },
        &AgentOptions::default(),
        prepare,
        |cluster| everyone_is_served(cluster),
    );
}

#[test]
fn through_a_device_that_asks_the_route() {
    with_agents(
        Options {
            fabric: Fabric::VxlanByRoute,
            ..Options::default()
        },
        &AgentOptions::default(),
        prepare,
        |cluster| {
            ensure!(
                our_table(cluster)?,
                "a tunnel by route needs netfilter's masquerade"
            );
            everyone_is_served(cluster)
        },
    );
}

#[test]
fn plain_nodes_have_no_netfilter_table() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            ensure!(
                !our_table(cluster)?,
                "nothing here needs masquerade, and conntrack costs"
            );
            everyone_is_served(cluster)
        },
    );
}
