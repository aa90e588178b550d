//! Backends in the node's own network namespace (hostNetwork), such as the API server behind `kubernetes.default`.

use anyhow::Result;
use integration::agent::AgentOptions;
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::probe::Request;
use integration::testbed::with_agents;
use integration::topology::{Cluster, Options, at, matrix};

const TARGET: u16 = 6443;
const PORTS: [u16; 2] = [30101, 30102];

/// A Service for a process of each node.
fn prepare(cluster: &mut Cluster) -> Result<()> {
    for ((index, port), node) in (1..).zip(PORTS).zip(cluster.nodes()) {
        let service = Service {
            target_port: TARGET,
            ..Service::new(&format!("in-{}", node.name()), index).node_port(port)
        };
        cluster
            .manifests
            .service(&service, &[Endpoint::host(node)])?;
    }
    Ok(())
}

#[test]
fn reached_from_everywhere() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let _servers = [
                cluster.a.serve("in-node-a", TARGET)?,
                cluster.b.serve("in-node-b", TARGET)?,
            ];
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                for (index, server) in [(1, "in-node-a"), (2, "in-node-b")] {
                    let cluster_ip =
                        Request::new(proto, at(Service::new("", index).ip(family), 80), 3);
                    for pod in cluster.first_pods()? {
                        checks.answered(
                            "pod to a process of a node",
                            &pod.place,
                            &cluster_ip,
                            &[server],
                            pod.ip(family),
                        );
                    }
                    for node in cluster.nodes() {
                        checks.answered_any_source(
                            "node to a process of a node",
                            &node.host,
                            &cluster_ip,
                            &[server],
                        );
                        let node_port = Request::new(
                            proto,
                            at(node.ip(family), PORTS[usize::from(index) - 1]),
                            3,
                        );
                        checks.answered_any_source(
                            "outside to a process of a node",
                            &cluster.client,
                            &node_port,
                            &[server],
                        );
                    }
                }
            }
            checks.verdict()
        },
    );
}
