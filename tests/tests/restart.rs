//! The agent dies and comes back under traffic: no packet is lost, no connection is reset, changes made meanwhile are applied.

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::process::Talk;
use integration::probe::{Mode, Request};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Options, Pod, at, matrix};
use integration::wait;

const NODE_PORT: u16 = 30100;
/// Connections on each way; 24 ways.
const CONNECTIONS: u32 = 4;
const RESTARTS: usize = 5;

fn web() -> Service {
    Service::new("web", 1).node_port(NODE_PORT)
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster
        .manifests
        .service(&web(), &cluster.first_pods()?.map(Endpoint::pod))
}

/// Long-lived talks on every way through the nodes.
fn start_talking(cluster: &Cluster) -> Result<Vec<(String, Talk)>> {
    let mut talks = Vec::new();
    for (family, proto) in matrix() {
        let mut ways: Vec<(&Place, _)> = Vec::new();
        for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
            ways.push((&pod.place, at(web().ip(family), 80)));
            ways.push((&node.host, at(web().ip(family), 80)));
            ways.push((&cluster.client, at(node.ip(family), NODE_PORT)));
        }
        for (client, to) in ways {
            let request = Request::new(proto, to, CONNECTIONS)
                .mode(Mode::PingPong { pause_us: 5_000 })
                .timeout_ms(5_000);
            talks.push((
                format!("{} -> {to} {}", client.name, proto.name()),
                Talk::start(client, &request)?.talking()?,
            ));
        }
    }
    Ok(talks)
}

fn nothing_was_lost(talks: Vec<(String, Talk)>) -> Result<()> {
    let mut faults = Vec::new();
    for (what, talk) in talks {
        let report = talk.finish()?;
        let failures: Vec<_> = report.failures().collect();
        if !failures.is_empty()
            || report.sent != report.answered
            || report.answered < 2 * u64::from(CONNECTIONS)
        {
            faults.push(format!(
                "{what}: {} sent, {} answered, {failures:?}",
                report.sent, report.answered
            ));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn killed_again_and_again() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let talks = start_talking(cluster)?;
            for _ in 0..RESTARTS {
                for node in [&mut cluster.a, &mut cluster.b] {
                    let agent = node.agent()?;
                    agent.kill()?;
                    agent.restart()?;
                }
                cluster.a.agent()?.wait_ready()?;
                cluster.b.agent()?.wait_ready()?;
            }
            nothing_was_lost(talks)
        },
    );
}

#[test]
fn stopped_while_services_are_used() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let talks = start_talking(cluster)?;
            cluster.a.agent()?.stop()?;
            cluster.b.agent()?.stop()?;
            // Nobody is there, yet new connections are served too.
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            for (family, proto) in matrix() {
                for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
                    checks.answered_any_source(
                        "no agent",
                        &pod.place,
                        &Request::new(proto, at(web().ip(family), 80), MANY),
                        &servers,
                    );
                    checks.answered_any_source(
                        "no agent",
                        &node.host,
                        &Request::new(proto, at(web().ip(family), 80), MANY),
                        &servers,
                    );
                    checks.answered_any_source(
                        "no agent",
                        &cluster.client,
                        &Request::new(proto, at(node.ip(family), NODE_PORT), MANY),
                        &servers,
                    );
                }
            }
            checks.verdict()?;
            nothing_was_lost(talks)
        },
    );
}

#[test]
fn what_changed_meanwhile_is_applied() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            cluster.a.agent()?.kill()?;
            // One Service loses a backend, one comes; a pod appears that no agent saw.
            let late = cluster.a.add_pod(&cluster.state)?;
            let [a, _] = cluster.first_pods()?;
            let late = cluster.a.pods.get(late).context("no late pod")?;
            cluster.manifests.service(&web(), &[Endpoint::pod(a)])?;
            cluster
                .manifests
                .service(&Service::new("late", 2), &[Endpoint::pod(late)])?;
            let agent = cluster.a.agent.as_mut().context("no agent")?;
            agent.restart()?;
            agent.wait_ready()?;
            let [a, _] = cluster.first_pods()?;
            let late = cluster.a.pods.last().context("no late pod")?;
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                for client in &cluster.a.pods {
                    let (web, late_ip) = (
                        at(web().ip(family), 80),
                        at(Service::new("", 2).ip(family), 80),
                    );
                    checks.answered_any_source(
                        "one backend less",
                        &client.place,
                        &Request::new(proto, web, MANY),
                        &[a.name()],
                    );
                    checks.answered_any_source(
                        "a new Service",
                        &client.place,
                        &Request::new(proto, late_ip, 3),
                        &[late.name()],
                    );
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn ids_stay_the_same() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            cluster
                .manifests
                .service(&Service::new("second", 2), &cluster.endpoints())?;
            let agent = cluster.a.agent()?;
            let before = wait::until("both Services are listed", wait::SOON, || {
                let services = agent.cli_json(&["services"])?;
                // Its endpoints come after it, by other files.
                let has_endpoints = !services.to_string().contains("\"rejects\":true");
                ensure!(
                    services.to_string().contains("\"second\"") && has_endpoints,
                    "{services}"
                );
                Ok(services)
            })?;
            agent.kill()?;
            agent.restart()?;
            agent.wait_ready()?;
            let after = agent.cli_json(&["services"])?;
            ensure!(before == after, "before: {before}\nafter: {after}");
            Ok(())
        },
    );
}
