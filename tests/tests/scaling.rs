//! Endpoints and Services come and go under traffic: new connections follow at once, and none fails.

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::maps::Frontends;
use integration::place::Place;
use integration::probe::process::Talk;
use integration::probe::{Proto, Request, process};
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
                cluster.scale(&web(), endpoints, u32::try_from(kept)?)?;
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
                cluster.scale(&web(), all.split_at(kept).0, u32::try_from(kept)?)?;
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
                    wait::until("the frontends follow the Service", wait::SOON, || {
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
                    })
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
