//! Datagrams larger than the MTU: all fragments follow their flow, both ways.

use anyhow::Result;
use integration::agent::AgentOptions;
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::probe::{Proto, Request, UdpSockets};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Family, Options, at};

const PORTS: [u16; 2] = [30101, 30102];

fn prepare(cluster: &mut Cluster) -> Result<()> {
    for ((index, port), pod) in (1..)
        .zip(PORTS)
        .zip(cluster.first_pods()?.map(Endpoint::pod))
    {
        cluster.manifests.service(
            &Service::new(&format!("web-{index}"), index).node_port(port),
            &[pod],
        )?;
    }
    Ok(())
}

#[test]
fn long_questions_and_long_answers() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            let pods = cluster.first_pods()?;
            for (family, (length, answer_length)) in Family::BOTH.into_iter().flat_map(|family| {
                [(5_000, 0), (0, 5_000), (9_000, 9_000)].map(|lengths| (family, lengths))
            }) {
                for ((index, port), server) in (1..).zip(PORTS).zip(pods) {
                    let request = |to| {
                        Request::new(Proto::Udp, to, 3)
                            .udp(UdpSockets::OneConnected)
                            .lengths(length, answer_length)
                    };
                    for client in pods {
                        checks.answered_any_source(
                            "pod, fragments",
                            &client.place,
                            &request(at(Service::new("", index).ip(family), 80)),
                            &[server.name()],
                        );
                    }
                    for node in cluster.nodes() {
                        checks.answered_any_source(
                            "outside, fragments",
                            &cluster.client,
                            &request(at(node.ip(family), port)),
                            &[server.name()],
                        );
                    }
                }
            }
            checks.verdict()
        },
    );
}
