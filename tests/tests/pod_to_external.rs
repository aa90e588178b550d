//! Row "pod -> externalIP, load-balancer IP, own node's NodePort": as a `ClusterIP`, the source address is kept.

use anyhow::{Context as _, Result};
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::Request;
use integration::testbed::with_agents;
use integration::topology::addresses::external_ip;
use integration::topology::{Cluster, Family, Options, Pod, at, matrix};

const NODE_PORT: u16 = 30100;

/// A Service with every kind of address; its backends are the last pod of each node.
fn prepare(cluster: &mut Cluster) -> Result<()> {
    let service = Service {
        external_ips: Family::BOTH.map(|family| external_ip(family, 1)).to_vec(),
        load_balancer_ips: Family::BOTH.map(|family| external_ip(family, 2)).to_vec(),
        ..Service::new("web", 1).node_port(NODE_PORT)
    };
    cluster
        .manifests
        .service(&service, &last_pods(cluster)?.map(Endpoint::pod))
}

fn last_pods(cluster: &Cluster) -> Result<[&Pod; 2]> {
    Ok([
        cluster.a.pods.last().context("no pod")?,
        cluster.b.pods.last().context("no pod")?,
    ])
}

#[test]
fn from_pods_with_their_own_address() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            let servers = last_pods(cluster)?.map(Pod::name);
            for (family, proto) in matrix() {
                for (client, node) in cluster.first_pods()?.into_iter().zip(cluster.nodes()) {
                    for to in [
                        at(external_ip(family, 1), 80),
                        at(external_ip(family, 2), 80),
                        at(node.ip(family), NODE_PORT),
                    ] {
                        checks.answered(
                            "pod to an external address",
                            &client.place,
                            &Request::new(proto, to, MANY),
                            &servers,
                            client.ip(family),
                        );
                    }
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn the_other_nodes_node_port_is_the_other_nodes_business() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            let servers = last_pods(cluster)?.map(Pod::name);
            for (family, proto) in matrix() {
                for (client, other) in cluster
                    .first_pods()?
                    .into_iter()
                    .zip(cluster.nodes().into_iter().rev())
                {
                    let request = Request::new(proto, at(other.ip(family), NODE_PORT), MANY);
                    checks.answered_any_source(
                        "pod to the other node's NodePort",
                        &client.place,
                        &request,
                        &servers,
                    );
                }
            }
            checks.verdict()
        },
    );
}
