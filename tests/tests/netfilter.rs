//! Beside netfilter as nodes have it: connection tracking with a drop of invalid packets, a policy that drops what is
//! not allowed by pods' addresses, and the CNI's masquerade. Ours must look consistent to all of it.

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::{Mode, Proto, Request};
use integration::testbed::with_agents;
use integration::topology::addresses::POD_PORT;
use integration::topology::{Cluster, Fabric, Family, Options, Pod, at, matrix};

/// Node ports of the Services with the first pod of node-a, of node-b, and of both.
const PORTS: [u16; 3] = [30101, 30102, 30103];

/// As a bridge CNI with network policies sets it up: policies speak of pods' addresses and ports.
const RULES: &str = "table inet cni {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        ip daddr 10.244.0.0/16 meta l4proto { tcp, udp } th dport 8080 accept
        ip6 daddr fd00:244::/32 meta l4proto { tcp, udp } th dport 8080 accept
        meta l4proto icmpv6 accept
        counter comment \"refused\"
    }
    chain input {
        type filter hook input priority filter; policy accept;
        ct state invalid drop
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
        ip6 saddr fd00:244::/32 ip6 daddr != fd00:244::/32 masquerade
    }
}";

fn prepare(cluster: &mut Cluster) -> Result<()> {
    for node in cluster.nodes() {
        node.host.run("nft", &[RULES])?;
    }
    let [a, b] = cluster.first_pods()?.map(Endpoint::pod);
    let endpoints = [vec![a.clone()], vec![b.clone()], vec![a, b]];
    for ((index, port), endpoints) in (1..).zip(PORTS).zip(endpoints) {
        cluster.manifests.service(
            &Service::new(&format!("web-{index}"), index).node_port(port),
            &endpoints,
        )?;
    }
    Ok(())
}

fn all_ways(cluster: &mut Cluster) -> Result<()> {
    let mut checks = Checks::default();
    let [a, b] = cluster.first_pods()?;
    let both = [a, b].map(Pod::name);
    for (family, proto) in matrix() {
        // The policy is in force: it refuses what goes to another port, and allows the pod's own. First, since a direct UDP
        // question must not come from a port that asked the same pod through a Service (docs/packet-path.md, known limits).
        let direct = Request::new(proto, at(a.ip(family), POD_PORT), 2);
        checks.answered("pod to pod", &b.place, &direct, &[a.name()], b.ip(family));
        let cluster_ip = at(Service::new("", 3).ip(family), 80);
        for pod in [a, b] {
            checks.answered_any_source(
                "pod to ClusterIP",
                &pod.place,
                &Request::new(proto, cluster_ip, MANY),
                &both,
            );
        }
        for node in cluster.nodes() {
            checks.answered_any_source(
                "host to ClusterIP",
                &node.host,
                &Request::new(proto, cluster_ip, MANY),
                &both,
            );
            let node_port = at(node.ip(family), PORTS[2]);
            checks.answered_any_source(
                "outside to NodePort",
                &cluster.client,
                &Request::new(proto, node_port, MANY),
                &both,
            );
        }
        for (node, port, pod) in [(&cluster.a, PORTS[0], a), (&cluster.b, PORTS[1], b)] {
            let request = Request::new(proto, at(node.ip(family), port), 5);
            checks.answered(
                "outside to a local pod",
                &cluster.client,
                &request,
                &[pod.name()],
                cluster.client_ip(family),
            );
        }
    }
    for family in Family::BOTH {
        let request = Request::new(Proto::Tcp, at(cluster.a.ip(family), PORTS[1]), 2);
        let bulk = request
            .mode(Mode::Download { bytes: 1_000_003 })
            .timeout_ms(10_000);
        checks.answered_any_source("bulk to a remote pod", &cluster.client, &bulk, &[b.name()]);
    }
    checks.verdict()?;
    let rules = cluster
        .a
        .host
        .run("nft", &["list", "table", "inet", "cni"])?;
    ensure!(
        rules.contains("packets 0 bytes 0"),
        "the policy refused something: {rules}"
    );
    Ok(())
}

#[test]
fn native_routes() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        all_ways,
    );
}

#[test]
fn bridge_without_netfilter() {
    let options = Options {
        bridge_netfilter: false,
        ..Options::default()
    };
    with_agents(options, &AgentOptions::default(), prepare, all_ways);
}

#[test]
fn tunnel_by_route() {
    let options = Options {
        fabric: Fabric::VxlanByRoute,
        ..Options::default()
    };
    with_agents(options, &AgentOptions::default(), prepare, all_ways);
}
