//! Smoke traffic through every program: few connections on every way, both families, both protocols.

use anyhow::{Context as _, Result, ensure};
use integration::agent::{Agent, AgentOptions};
use integration::bpf::{Foreign, Hook};
use integration::expect::Checks;
use integration::manifests::Service;
use integration::probe::{Proto, Request, UdpSockets};
use integration::topology::{Cluster, Node, Options, Pod, at, matrix};

use super::{programs, tell};

const NODE_PORT: u16 = 30100;
/// Requests on each way: one of two backends is missed by chance in one of half a million.
const COUNT: u32 = 20;
/// Without hardware virtualisation everything takes ten times as long.
const PATIENCE_MS: u64 = 3_000;

/// Runs everything.
pub(crate) fn all() -> Result<()> {
    let mut cluster = Cluster::new(Options {
        pods: 1,
        ..Options::default()
    })?;
    // XDP on veth needs senders that fill in checksums, and a far end with an XDP program too.
    let mut pass = Foreign::xdp()?;
    for device in ["node-a", "node-b"] {
        cluster
            .router
            .run("ethtool", &["-K", device, "tx", "off"])?;
        pass.attach(&cluster.router, device, Hook::Xdp)?;
    }
    let service = Service::new("web", 1).node_port(NODE_PORT);
    let endpoints = cluster.endpoints();
    cluster.manifests.service(&service, &endpoints)?;
    let started = cluster.start_agents(&AgentOptions::default().with("xdp", "eth0"));
    let outcome = started.and_then(|()| {
        tell("agents are ready");
        programs::report()?;
        traffic(&cluster, &service)?;
        tell("traffic is right");
        hooks(&mut cluster)
    });
    outcome.with_context(|| cluster.nodes().map(log_of).concat())
}

fn log_of(node: &Node) -> String {
    node.agent.as_ref().map(Agent::log).unwrap_or_default()
}

fn traffic(cluster: &Cluster, service: &Service) -> Result<()> {
    let servers = cluster.first_pods()?.map(Pod::name);
    for (family, proto) in matrix() {
        tell(&format!("traffic: {} {}", family.name(), proto.name()));
        // A verdict for each round: failures wait for time-outs, and the machine's time is limited.
        let mut checks = Checks::default();
        let request = |to| Request::new(proto, to, COUNT).timeout_ms(PATIENCE_MS);
        for node in cluster.nodes() {
            let cluster_ip = at(service.ip(family), 80);
            for pod in &node.pods {
                checks.answered_any_source(
                    "pod to ClusterIP",
                    &pod.place,
                    &request(cluster_ip),
                    &servers,
                );
            }
            checks.answered_any_source(
                "host to ClusterIP",
                &node.host,
                &request(cluster_ip),
                &servers,
            );
            let local = at(family.loopback(), NODE_PORT);
            checks.answered_any_source(
                "host to its own NodePort",
                &node.host,
                &request(local),
                &servers,
            );
            let node_port = at(node.ip(family), NODE_PORT);
            checks.answered_any_source(
                "outside to NodePort",
                &cluster.client,
                &request(node_port),
                &servers,
            );
            if proto == Proto::Udp {
                let unconnected = request(cluster_ip).udp(UdpSockets::Unconnected);
                checks.answered_any_source(
                    "host, sendmsg and recvmsg",
                    &node.host,
                    &unconnected,
                    &servers,
                );
            }
        }
        checks.verdict()?;
    }
    Ok(())
}

/// Traffic may find another way; each hook must have translated some of it.
fn hooks(cluster: &mut Cluster) -> Result<()> {
    for node in [&mut cluster.a, &mut cluster.b] {
        let metrics = node.agent()?.http(10249, "/metrics")?;
        for hook in ["tc_ingress", "tc_egress", "xdp", "socket"] {
            let wanted = format!("hook=\"{hook}\"");
            let worked = metrics
                .lines()
                .filter(|line| {
                    line.starts_with("kubeshunt_outcomes_total") && line.contains(&wanted)
                })
                .filter(|line| {
                    ["new_flow", "established"]
                        .iter()
                        .any(|reason| line.contains(reason))
                })
                .any(|line| !line.ends_with(" 0"));
            ensure!(
                worked,
                "{}: {hook} translated nothing:\n{metrics}",
                node.name()
            );
        }
    }
    Ok(())
}
