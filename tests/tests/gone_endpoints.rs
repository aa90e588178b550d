//! What becomes of connections when their endpoint goes: TCP is left to finish, UDP moves, or stays while the endpoint serves.

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::MANY;
use integration::manifests::{Endpoint, Service};
use integration::probe::process::Talk;
use integration::probe::{Failure, Mode, Proto, Request, UdpSockets, mapped, process};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Family, Options, Pod, at};
use integration::wait;

const DESTROYED: &str = "kubeshunt_stale_sockets_destroyed_total";
const NODE_PORT: u16 = 30100;

fn web() -> Service {
    Service::new("web", 1).node_port(NODE_PORT)
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster
        .manifests
        .service(&web(), &cluster.first_pods()?.map(Endpoint::pod))
}

/// A client on every way, that talks on connections which live long.
fn talks(cluster: &Cluster, proto: Proto) -> Result<Vec<Talk>> {
    let mut talks = Vec::new();
    for family in Family::BOTH {
        let [pod, _] = cluster.first_pods()?;
        for (client, to) in [
            (&pod.place, at(web().ip(family), 80)),
            (&cluster.client, at(cluster.a.ip(family), NODE_PORT)),
        ] {
            // By ports that no other socket is given: a datagram from one of these goes where the talk's flow goes.
            let request = Request::new(proto, to, 8)
                .from_port(20_000)
                .mode(Mode::PingPong { pause_us: 2_000 });
            talks.push(Talk::start(client, &request)?.talking()?);
        }
    }
    Ok(talks)
}

#[test]
fn tcp_connections_to_a_gone_endpoint_are_left_to_finish() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let talks = talks(cluster, Proto::Tcp)?;
            let [a, _] = cluster.first_pods()?;
            let names = cluster.first_pods()?.map(Pod::name);
            cluster.scale(&web(), &[Endpoint::pod(a)], 1)?;
            let mut seen = std::collections::BTreeSet::new();
            for talk in talks {
                let report = talk.finish()?;
                ensure!(
                    report.failures().count() == 0,
                    "{:?}",
                    report.failures().collect::<Vec<_>>()
                );
                seen.extend(report.answers().map(|answer| answer.name.clone()));
            }
            ensure!(
                names.iter().all(|&name| seen.contains(name)),
                "only {seen:?} still talk"
            );
            Ok(())
        },
    );
}

#[test]
fn udp_flows_move_away_from_a_gone_endpoint() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let talks = talks(cluster, Proto::Udp)?;
            let [a, _] = cluster.first_pods()?;
            cluster.scale(&web(), &[Endpoint::pod(a)], 1)?;
            for talk in talks {
                let report = talk.finish()?;
                let last: Vec<_> = report
                    .attempts
                    .iter()
                    .map(|attempt| attempt.outcome.as_ref().map(|answer| answer.name.as_str()))
                    .collect();
                ensure!(
                    last.iter().all(|&name| name == Ok(a.name())),
                    "the last answers: {last:?}"
                );
            }
            Ok(())
        },
    );
}

/// Only the agent can tell a process that its connected socket leads nowhere (SEMANTICS 10).
#[test]
fn connected_udp_sockets_of_the_node_move_away_from_a_gone_endpoint() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let [a, b] = cluster.first_pods()?;
            let mut talks = Vec::new();
            for node in cluster.nodes() {
                let v4 = at(web().ip(Family::V4), 80);
                let loopback = at(Family::V4.loopback(), NODE_PORT);
                for to in [v4, mapped(v4), loopback, at(web().ip(Family::V6), 80)] {
                    let mode = Mode::PingPong { pause_us: 2_000 };
                    let request = Request::new(Proto::Udp, to, 8).mode(mode);
                    talks.push(Talk::start(&node.host, &request)?.talking()?);
                }
            }
            cluster.scale(&web(), &[Endpoint::pod(a)], 1)?;
            let gone = Family::BOTH.map(|family| b.ip(family).to_string());
            for node in cluster.nodes() {
                wait::until("stale sockets are gone", wait::SOON, || {
                    let sockets = node.host.run("ss", &["-Hun"])?;
                    let stale = gone.iter().any(|ip| sockets.contains(ip));
                    ensure!(!stale, "{sockets}");
                    Ok(())
                })?;
                let metric = node.agent.as_ref().context("no agent")?.metric(DESTROYED)?;
                ensure!(metric > 0.0, "none were destroyed");
            }
            for talk in talks {
                let report = talk.finish()?;
                let last: Vec<_> = report
                    .attempts
                    .iter()
                    .map(|attempt| attempt.outcome.as_ref().map(|answer| answer.name.as_str()))
                    .collect();
                ensure!(
                    last.iter().all(|&name| name == Ok(a.name())),
                    "the last answers: {last:?}"
                );
            }
            Ok(())
        },
    );
}

#[test]
fn udp_flows_stay_with_an_endpoint_that_terminates_but_serves() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let talks = talks(cluster, Proto::Udp)?;
            let [a, b] = cluster.first_pods()?;
            cluster.scale(
                &web(),
                &[Endpoint::pod(a), Endpoint::pod(b).terminating()],
                1,
            )?;
            let mut seen = std::collections::BTreeSet::new();
            for talk in talks {
                let report = talk.finish()?;
                ensure!(
                    report.failures().count() == 0,
                    "{:?}",
                    report.failures().collect::<Vec<_>>()
                );
                seen.extend(report.answers().map(|answer| answer.name.clone()));
            }
            ensure!(seen.contains(b.name()), "all flows moved to {seen:?}");
            // New ones go to the other.
            let report = process::ask(
                &a.place,
                &Request::new(Proto::Udp, at(web().ip(Family::V4), 80), MANY),
            )?;
            ensure!(
                report.servers().keys().eq([&a.name()]),
                "{:?}",
                report.servers()
            );
            Ok(())
        },
    );
}

#[test]
fn a_udp_client_that_spoke_too_early_recovers() {
    let none = |cluster: &mut Cluster| cluster.manifests.service(&web(), &[]);
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        none,
        |cluster| {
            let [a, _] = cluster.first_pods()?;
            let ways = |family| {
                [
                    (&a.place, at(web().ip(family), 80)),
                    (&cluster.client, at(cluster.a.ip(family), NODE_PORT)),
                ]
            };
            let request = |to| {
                Request::new(Proto::Udp, to, 1)
                    .from_port(20_500)
                    .udp(UdpSockets::Unconnected)
            };
            for (client, to) in Family::BOTH.into_iter().flat_map(ways) {
                let early = process::ask(client, &request(to))?;
                ensure!(early.failures().eq([Failure::Refused]), "{early:?}");
            }
            cluster.scale(&web(), &[Endpoint::pod(a)], 1)?;
            for (client, to) in Family::BOTH.into_iter().flat_map(ways) {
                let report = process::ask(client, &request(to))?;
                ensure!(
                    report.servers().keys().eq([&a.name()]),
                    "{} -> {to}: {report:?}",
                    client.name
                );
            }
            Ok(())
        },
    );
}
