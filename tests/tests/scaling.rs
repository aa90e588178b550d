//! Endpoints come and go under traffic: new connections follow at once, TCP connections are left to finish, UDP flows move.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::maps::Frontends;
use integration::place::Place;
use integration::probe::process::Talk;
use integration::probe::{Failure, Mode, Proto, Request, UdpSockets, process};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Family, Options, Pod, at, matrix};
use integration::wait;

const NODE_PORT: u16 = 30100;

fn web() -> Service {
    Service::new("web", 1).node_port(NODE_PORT)
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster
        .manifests
        .service(&web(), &cluster.first_pods()?.map(Endpoint::pod))
}

/// Writes the endpoints and waits until both kernels have `count` of them.
fn scale(cluster: &Cluster, endpoints: &[Endpoint], count: u32) -> Result<()> {
    cluster.manifests.endpoints(&web(), endpoints)?;
    for node in cluster.nodes() {
        let frontends = Frontends::open(node.bpf_root())?;
        wait::until(
            "the endpoints are in the kernel",
            Duration::from_secs(10),
            || {
                for (family, proto) in matrix() {
                    let counts = frontends.counts(web().ip(family), 80, proto)?;
                    ensure!(counts == Some([count; 3]), "{counts:?}");
                }
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn new_connections_follow_the_endpoints() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let all = cluster.endpoints();
            for kept in [1, 4, 2, 3] {
                let endpoints = all.split_at(kept).0;
                scale(cluster, endpoints, u32::try_from(kept)?)?;
                let names: Vec<&str> = cluster.pods().take(kept).map(Pod::name).collect();
                let mut checks = Checks::default();
                for (family, proto) in matrix() {
                    let request = Request::new(proto, at(web().ip(family), 80), 2 * MANY);
                    for client in cluster.first_pods()? {
                        checks.answered_any_source(
                            "after scaling",
                            &client.place,
                            &request,
                            &names,
                        );
                    }
                    checks.answered_any_source("after scaling", &cluster.a.host, &request, &names);
                    checks.answered_any_source(
                        "after scaling",
                        &cluster.client,
                        &Request {
                            to: at(cluster.b.ip(family), NODE_PORT),
                            ..request
                        },
                        &names,
                    );
                }
                checks.verdict()?;
            }
            Ok(())
        },
    );
}

#[test]
fn no_request_fails_while_endpoints_change() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let [pod, _] = cluster.first_pods()?;
            let ways: [(&Place, _); 3] = [
                (&pod.place, at(web().ip(Family::V4), 80)),
                (&cluster.b.host, at(web().ip(Family::V6), 80)),
                (&cluster.client, at(cluster.a.addr4, NODE_PORT)),
            ];
            let talks = ways.map(|(client, to)| {
                Talk::start(client, &Request::new(Proto::Tcp, to, 1_000))?.talking()
            });
            let all = cluster.endpoints();
            for kept in [1, 2, 3, 4].into_iter().cycle().take(24) {
                scale(cluster, all.split_at(kept).0, u32::try_from(kept)?)?;
            }
            for talk in talks {
                let report = talk?.finish()?;
                let failures: Vec<_> = report.failures().collect();
                ensure!(failures.is_empty(), "{failures:?}");
            }
            Ok(())
        },
    );
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
            let request = Request::new(proto, to, 8).mode(Mode::PingPong { pause_us: 2_000 });
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
            scale(cluster, &[Endpoint::pod(a)], 1)?;
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
            scale(cluster, &[Endpoint::pod(a)], 1)?;
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
            scale(
                cluster,
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
            scale(cluster, &[Endpoint::pod(a)], 1)?;
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

#[test]
fn services_come_and_go() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let [a, _] = cluster.first_pods()?;
            let frontends = Frontends::open(cluster.a.bpf_root())?;
            let service = Service::new("late", 9).node_port(30109);
            for _ in 0..3 {
                cluster.manifests.service(&service, &[Endpoint::pod(a)])?;
                let exists = |wanted: bool| {
                    wait::until(
                        "the frontends follow the Service",
                        Duration::from_secs(10),
                        || {
                            for (family, proto) in matrix() {
                                let unspecified = family.pick(
                                    std::net::Ipv4Addr::UNSPECIFIED,
                                    std::net::Ipv6Addr::UNSPECIFIED,
                                );
                                for (ip, port) in [(service.ip(family), 80), (unspecified, 30109)] {
                                    let found = frontends.counts(ip, port, proto)?;
                                    ensure!(
                                        found.map_or(0, |counts| counts[0]) == u32::from(wanted)
                                            && found.is_some() == wanted,
                                        "{ip}:{port}: {found:?}"
                                    );
                                }
                            }
                            Ok(())
                        },
                    )
                };
                exists(true)?;
                let report = process::ask(
                    &a.place,
                    &Request::new(Proto::Udp, at(cluster.a.addr4, 30109), 3),
                )?;
                ensure!(report.servers().keys().eq([&a.name()]), "{report:?}");
                cluster.manifests.remove_service("late")?;
                exists(false)?;
            }
            Ok(())
        },
    );
}
