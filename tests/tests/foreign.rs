//! Programs of others on the same devices: they see the packets that enter the stack, and stay when we start, restart and clean up.

use std::cell::OnceCell;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::bpf::{Foreign, Hook, Statistics};
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::{Proto, Request};
use integration::requirements;
use integration::testbed::with_agents;
use integration::topology::addresses::POD_PORT;
use integration::topology::{Cluster, Options, Pod, at, matrix};

fn prepare(cluster: &mut Cluster) -> Result<()> {
    let endpoints = cluster.first_pods()?.map(Endpoint::pod);
    cluster
        .manifests
        .service(&Service::new("web", 1), &endpoints)
}

/// The uplink of node-a and the device of its first pod.
fn devices(cluster: &Cluster) -> Result<[String; 2]> {
    Ok(["eth0".to_owned(), cluster.first_pods()?[0].device.clone()])
}

/// Traffic passes, the foreign program sees it, before and after a restart of the agent.
fn traffic_is_seen(cluster: &mut Cluster, foreign: &Foreign) -> Result<()> {
    let _statistics = Statistics::enable()?;
    for restarted in [false, true] {
        let before = foreign.runs()?;
        let mut checks = Checks::default();
        let servers = cluster.first_pods()?.map(Pod::name);
        for (family, proto) in matrix() {
            let [pod, _] = cluster.first_pods()?;
            let request = Request::new(proto, at(Service::new("", 1).ip(family), 80), MANY);
            checks.answered_any_source("beside a foreign program", &pod.place, &request, &servers);
        }
        checks.verdict()?;
        // Each request is two packets at least, each seen at two hooks at least.
        let seen = foreign.runs()? - before;
        ensure!(
            seen > 4 * 4 * u64::from(MANY),
            "the foreign program saw only {seen} packets"
        );
        if !restarted {
            let agent = cluster.a.agent()?;
            agent.kill()?;
            agent.restart()?;
            agent.wait_ready()?;
        }
    }
    Ok(())
}

/// After our clean-up the foreign program still sees plain traffic.
fn stays_after_cleanup(cluster: &mut Cluster, foreign: &Foreign) -> Result<()> {
    let agent = cluster.a.agent()?;
    agent.stop()?;
    agent.cleanup()?;
    let _statistics = Statistics::enable()?;
    let before = foreign.runs()?;
    let [a, b] = cluster.first_pods()?;
    let mut checks = Checks::default();
    let request = Request::new(Proto::Tcp, at(b.addr4, POD_PORT), 1);
    checks.answered(
        "after clean-up",
        &a.place,
        &request,
        &[b.name()],
        a.addr4.into(),
    );
    checks.verdict()?;
    ensure!(
        foreign.runs()? - before > 10,
        "the foreign program went with ours"
    );
    Ok(())
}

#[test]
fn filters_below_clsact() {
    let foreign = OnceCell::new();
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let program = Foreign::tc()?;
            let pins = cluster.state.bpf_root("foreign");
            fs::create_dir_all(&pins)?;
            let pin = pins.join("program");
            program.pin(&pin)?;
            for device in devices(cluster)? {
                cluster
                    .a
                    .host
                    .run("tc", &["qdisc", "add", "dev", &device, "clsact"])?;
                for direction in ["ingress", "egress"] {
                    let path = pin.display().to_string();
                    let filter = [
                        "filter",
                        "add",
                        "dev",
                        &device,
                        direction,
                        "pref",
                        "77",
                        "bpf",
                        "da",
                        "object-pinned",
                        &path,
                    ];
                    cluster.a.host.run("tc", &filter)?;
                }
            }
            ensure!(foreign.set(program).is_ok(), "prepared once");
            prepare(cluster)
        },
        |cluster| {
            let foreign = foreign.get().context("prepared")?;
            traffic_is_seen(cluster, foreign)?;
            stays_after_cleanup(cluster, foreign)
        },
    );
}

#[test]
fn tcx_programs() {
    if !requirements::has_tcx("tcx_programs") {
        return;
    }
    let foreign = OnceCell::new();
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let mut program = Foreign::tc()?;
            for device in devices(cluster)? {
                for hook in [Hook::TcxIngress, Hook::TcxEgress] {
                    program.attach(&cluster.a.host, &device, hook)?;
                }
            }
            ensure!(foreign.set(program).is_ok(), "prepared once");
            prepare(cluster)
        },
        |cluster| {
            let foreign = foreign.get().context("prepared")?;
            traffic_is_seen(cluster, foreign)?;
            stays_after_cleanup(cluster, foreign)
        },
    );
}
