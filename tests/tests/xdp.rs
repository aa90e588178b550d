//! The XDP program on the nodes' uplinks: outside to a remote backend and back without an skb; all else as without it.
//!
//! veth needs help to look like a NIC: senders must fill in checksums themselves, and the far end takes transmitted frames
//! only if it has an XDP program too.

use std::cell::OnceCell;

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::bpf::{Foreign, Hook};
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::{Failure, Mode, Proto, Request};
use integration::requirements;
use integration::testbed::with_agents;
use integration::topology::addresses::POD_PORT;
use integration::topology::{Cluster, Family, Options, Pod, at, matrix};

/// Node ports of the Services with the first pod of node-a, of node-b, of both, and of none.
const PORTS: [u16; 4] = [30101, 30102, 30103, 30104];

fn prepare(cluster: &mut Cluster) -> Result<()> {
    for device in ["node-a", "node-b"] {
        cluster
            .router
            .run("ethtool", &["-K", device, "tx", "off"])?;
    }
    let [a, b] = cluster.first_pods()?.map(Endpoint::pod);
    let endpoints = [vec![a.clone()], vec![b.clone()], vec![a, b], vec![]];
    for ((index, port), endpoints) in (1..).zip(PORTS).zip(endpoints) {
        cluster.manifests.service(
            &Service::new(&format!("web-{index}"), index).node_port(port),
            &endpoints,
        )?;
    }
    Ok(())
}

fn with_xdp(test: &str, body: impl FnOnce(&mut Cluster) -> Result<()>) {
    if requirements::installed(test, "ethtool") {
        let far_ends = OnceCell::new();
        with_agents(
            Options::default(),
            &AgentOptions::default().with("xdp", "eth0"),
            |cluster| {
                let mut pass = Foreign::xdp()?;
                for device in ["node-a", "node-b"] {
                    pass.attach(&cluster.router, device, Hook::Xdp)?;
                }
                ensure!(far_ends.set(pass).is_ok(), "prepared once");
                prepare(cluster)
            },
            body,
        );
    }
}

#[test]
fn all_ways_work_as_without_it() {
    with_xdp("all_ways_work_as_without_it", |cluster| {
        let mut checks = Checks::default();
        let [a, b] = cluster.first_pods()?;
        for (family, proto) in matrix() {
            // First: docs/packet-path.md, known limits.
            checks.answered(
                "XDP, no Service",
                &cluster.client,
                &Request::new(proto, at(b.ip(family), POD_PORT), 3),
                &[b.name()],
                cluster.client_ip(family),
            );
            for (node, local, near, remote, far) in
                [(&cluster.a, 0, a, 1, b), (&cluster.b, 1, b, 0, a)]
            {
                let request = |port: usize, count| {
                    Request::new(proto, at(node.ip(family), PORTS[port]), count)
                };
                checks.answered(
                    "XDP, local pod",
                    &cluster.client,
                    &request(local, 5),
                    &[near.name()],
                    cluster.client_ip(family),
                );
                checks.answered(
                    "XDP, remote pod",
                    &cluster.client,
                    &request(remote, 20),
                    &[far.name()],
                    node.ip(family),
                );
                checks.answered_any_source(
                    "XDP, both",
                    &cluster.client,
                    &request(2, MANY),
                    &[a.name(), b.name()],
                );
                checks.fails(
                    "XDP, no endpoints",
                    &cluster.client,
                    // As in no_endpoints.
                    &request(3, 1).timeout_ms(10_000),
                    Failure::Refused,
                );
            }
            for client in [a, b] {
                let request = Request::new(proto, at(Service::new("", 3).ip(family), 80), MANY);
                checks.answered_any_source(
                    "XDP, from a pod",
                    &client.place,
                    &request,
                    &[a, b].map(Pod::name),
                );
            }
        }
        for (family, mode) in Family::BOTH.into_iter().flat_map(|family| {
            [
                Mode::Upload { bytes: 1_000_003 },
                Mode::Download { bytes: 1_000_003 },
            ]
            .map(|mode| (family, mode))
        }) {
            let request = Request::new(Proto::Tcp, at(cluster.a.ip(family), PORTS[1]), 2)
                .mode(mode)
                .timeout_ms(10_000);
            checks.answered(
                "XDP, bulk",
                &cluster.client,
                &request,
                &[b.name()],
                cluster.a.ip(family),
            );
        }
        checks.verdict()
    });
}

#[test]
fn the_xdp_program_does_the_work() {
    with_xdp("the_xdp_program_does_the_work", |cluster| {
        let request = Request::new(Proto::Udp, at(cluster.a.addr4, PORTS[1]), 100)
            .udp(integration::probe::UdpSockets::OneConnected);
        let report = integration::probe::process::ask(&cluster.client, &request)?;
        ensure!(report.answers().count() == 100, "{report:?}");
        let handled = cluster.a.agent()?.http(10249, "/metrics")?;
        let count = |reason: &str| -> f64 {
            handled
                .lines()
                .filter(|line| line.contains("xdp") && line.contains(&format!("\"{reason}\"")))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        // 100 requests and 100 answers; the first few may wait for the neighbour in the stack.
        ensure!(
            count("established") > 150.0,
            "XDP translated {} packets:\n{handled}",
            count("established")
        );
        Ok(())
    });
}
