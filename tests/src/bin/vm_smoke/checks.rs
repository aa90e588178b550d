//! Smoke traffic through every program: few connections on every way, both families, both protocols.

use anyhow::{Context as _, Result, ensure};
use integration::agent::{Agent, AgentOptions};
use integration::bpf::{Foreign, Hook};
use integration::expect::Checks;
use integration::manifests::Service;
use integration::place::Place;
use integration::probe::{Proto, Request, UdpSockets};
use integration::requirements::running_kernel;
use integration::topology::{Cluster, Node, Options, Pod, at, matrix};

use super::{programs, tell};

const NODE_PORT: u16 = 30100;
/// Requests on each way: one of two backends is missed by chance in one of half a million.
const COUNT: u32 = 20;
/// Without hardware virtualisation everything takes ten times as long; a SYN that is lost meanwhile is sent again after 1, 3 and 7 seconds.
const PATIENCE_MS: u64 = 8_000;

/// Runs everything.
pub(crate) fn all() -> Result<()> {
    let mut cluster = Cluster::new(Options {
        pods: 1,
        initial: true,
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
        if nodes_with_sockets(&cluster).len() < cluster.nodes().len() {
            tell("SKIPPED sockets of node-b's host: below Linux 5.14 an agent outside the initial namespace cannot tell its own");
        }
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

/// The nodes whose sockets are ours: below Linux 5.14 an agent cannot learn which namespace is its own, and takes the
/// machine's initial one for it, which only node-a is in.
fn nodes_with_sockets(cluster: &Cluster) -> Vec<&Node> {
    let nodes = cluster.nodes();
    let count = if running_kernel() >= Some((5, 14)) {
        2
    } else {
        1
    };
    nodes.into_iter().take(count).collect()
}

fn traffic(cluster: &Cluster, service: &Service) -> Result<()> {
    let servers = cluster.first_pods()?.map(Pod::name);
    for (family, proto) in matrix() {
        tell(&format!("traffic: {} {}", family.name(), proto.name()));
        // A verdict for each round: failures wait for time-outs, and the machine's time is limited.
        let mut checks = Checks::default();
        let mut answered = |what: &str, client: &Place, request: &Request| {
            checks.answered_any_source(what, client, request, &servers);
        };
        let request = |to| Request::new(proto, to, COUNT).timeout_ms(PATIENCE_MS);
        let cluster_ip = request(at(service.ip(family), 80));
        for node in cluster.nodes() {
            for pod in &node.pods {
                answered("pod to ClusterIP", &pod.place, &cluster_ip);
            }
            let node_port = request(at(node.ip(family), NODE_PORT));
            answered("outside to NodePort", &cluster.client, &node_port);
        }
        for node in nodes_with_sockets(cluster) {
            answered("host to ClusterIP", &node.host, &cluster_ip);
            let local = request(at(family.loopback(), NODE_PORT));
            answered("host to its own NodePort", &node.host, &local);
            if proto == Proto::Udp {
                let unconnected = cluster_ip.clone().udp(UdpSockets::Unconnected);
                answered("host, sendmsg and recvmsg", &node.host, &unconnected);
            }
        }
        checks.verdict()?;
    }
    Ok(())
}

/// Traffic may find another way; each hook must have translated some of it.
fn hooks(cluster: &mut Cluster) -> Result<()> {
    let with_sockets = nodes_with_sockets(cluster).len();
    for (number, node) in [&mut cluster.a, &mut cluster.b].into_iter().enumerate() {
        let metrics = node.agent()?.http(10249, "/metrics")?;
        let sockets = (number < with_sockets).then_some("socket");
        for hook in ["tc_ingress", "tc_egress", "xdp"]
            .into_iter()
            .chain(sockets)
        {
            let name = node.name();
            ensure!(
                worked(&metrics, hook),
                "{name}: {hook} translated nothing:\n{metrics}"
            );
        }
    }
    Ok(())
}

fn worked(metrics: &str, hook: &str) -> bool {
    let wanted = format!("hook=\"{hook}\"");
    metrics
        .lines()
        .filter(|line| line.starts_with("kubeshunt_outcomes_total") && line.contains(&wanted))
        .filter(|line| line.contains("new_flow") || line.contains("established"))
        .any(|line| !line.ends_with(" 0"))
}
