//! `kube-shunt cleanup` removes every trace and says what; what is not ours stays (see `foreign`).

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::{Failure, Request};
use integration::requirements;
use integration::testbed::with_agents;
use integration::topology::addresses::POD_PORT;
use integration::topology::{Cluster, Fabric, Options, at, matrix};
use proxy_common::layout::LAYOUT_VERSION;

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
                ensure!(
                    !node.bpf_root().join(format!("v{LAYOUT_VERSION}")).exists(),
                    "pins are left"
                );
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
