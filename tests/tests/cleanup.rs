//! `kube-shunt cleanup` removes every trace and says what; foreign programs are left alone, by it and by the agent.

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::{Failure, Proto, Request};
use integration::requirements;
use integration::testbed::with_agents;
use integration::topology::addresses::POD_PORT;
use integration::topology::{Cluster, Fabric, Options, at, matrix};

fn web() -> Service {
    Service::new("web", 1).node_port(30100)
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster
        .manifests
        .service(&web(), &cluster.first_pods()?.map(Endpoint::pod))
}

/// What the kernel runs for others' packets on this node: filters, TCX and XDP programs, socket programs, tables.
fn programs(place: &Place) -> Result<String> {
    let devices = place.run("bpftool", &["net", "show"])?;
    let cgroup = place.cgroup().path().display().to_string();
    let sockets = place.run("bpftool", &["cgroup", "show", &cgroup])?;
    let tables = place.run("nft", &["list", "ruleset"])?;
    Ok(devices + &sockets + &tables)
}

#[test]
fn every_trace_goes() {
    if !requirements::installed("every_trace_goes", "bpftool") {
        return;
    }
    // By route, so that there is an nftables table too.
    with_agents(
        Options {
            fabric: Fabric::VxlanByRoute,
            ..Options::default()
        },
        &AgentOptions::default(),
        prepare,
        |cluster| {
            for node in [&mut cluster.a, &mut cluster.b] {
                node.agent()?.stop()?;
                let left = programs(&node.host)?;
                // Proves that the comparison below can see them.
                ensure!(
                    left.contains("connect4") && left.contains("kube-shunt"),
                    "stopping removed programs: {left}"
                );
                let said = node.agent()?.cleanup()?;
                ensure!(
                    !said.trim().is_empty(),
                    "cleanup does not say what it removed"
                );
                let left = programs(&node.host)?;
                for trace in [
                    "connect",
                    "sendmsg",
                    "recvmsg",
                    "getpeername",
                    "tc_ingress",
                    "tc_egress",
                    "kube-shunt",
                ] {
                    ensure!(
                        !left.contains(trace),
                        "{trace} is left on {}: {left}",
                        node.host.name
                    );
                }
                ensure!(!node.bpf_root().join("v1").exists(), "pins are left");
                let said_again = node.agent()?.cleanup()?;
                ensure!(
                    said != said_again,
                    "the second cleanup found as much as the first: {said_again}"
                );
            }
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                let [a, b] = cluster.first_pods()?;
                checks.answered(
                    "pods without us",
                    &a.place,
                    &Request::new(proto, at(b.ip(family), POD_PORT), 2),
                    &[b.name()],
                    a.ip(family),
                );
                checks.fails(
                    "nobody serves the NodePort",
                    &cluster.client,
                    &Request::new(proto, at(cluster.a.ip(family), 30100), 1),
                    Failure::Refused,
                );
            }
            checks.verdict()
        },
    );
}

#[test]
fn foreign_filters_stay_and_see_packets() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let pod = cluster.first_pods()?[0];
            for device in [pod.device.as_str(), "eth0"] {
                cluster
                    .a
                    .host
                    .run("tc", &["qdisc", "add", "dev", device, "clsact"])?;
                for direction in ["ingress", "egress"] {
                    cluster.a.host.run(
                        "tc",
                        &[
                            "filter", "add", "dev", device, direction, "pref", "77", "handle",
                            "0x77", "matchall", "action", "pass",
                        ],
                    )?;
                }
            }
            prepare(cluster)
        },
        |cluster| {
            let [pod, _] = cluster.first_pods()?;
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                checks.answered_any_source(
                    "beside a foreign filter",
                    &pod.place,
                    &Request::new(proto, at(web().ip(family), 80), 40),
                    &cluster.first_pods()?.map(integration::topology::Pod::name),
                );
            }
            checks.verdict()?;
            let device = pod.device.clone();
            for direction in ["ingress", "egress"] {
                let text = cluster
                    .a
                    .host
                    .run("tc", &["-s", "filter", "show", "dev", &device, direction])?;
                let line = text
                    .lines()
                    .find(|line| line.contains("Sent "))
                    .with_context(|| format!("no counters: {text}"))?;
                let packets: u64 = line
                    .split_whitespace()
                    .nth(3)
                    .context("no packets")?
                    .parse()?;
                ensure!(
                    packets > 100,
                    "the foreign filter saw {packets} packets {direction}"
                );
            }
            let agent = cluster.a.agent.as_mut().context("no agent")?;
            agent.stop()?;
            agent.cleanup()?;
            for device in [device.as_str(), "eth0"] {
                for direction in ["ingress", "egress"] {
                    let filters = cluster
                        .a
                        .host
                        .run("tc", &["filter", "show", "dev", device, direction])?;
                    ensure!(
                        filters.contains("pref 77 matchall"),
                        "the foreign filter of {device} {direction} is gone: {filters}"
                    );
                }
            }
            let [a, b] = cluster.first_pods()?;
            let request = Request::new(Proto::Tcp, at(b.addr4, POD_PORT), 1);
            let mut checks = Checks::default();
            checks.answered(
                "after cleanup",
                &a.place,
                &request,
                &[b.name()],
                a.addr4.into(),
            );
            checks.verdict()
        },
    );
}
