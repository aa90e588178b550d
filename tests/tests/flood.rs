//! More new connections than the tables hold: those that live are left alone, whatever comes.

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::process::Talk;
use integration::probe::{Mode, Proto, Request, process};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Options, at, matrix};

const NODE_PORT: u16 = 30100;
/// Connections that live through the flood.
const LIVING: u32 = 10;
/// The smallest table of new connections there is would be full many times.
const FLOOD: u32 = 5_000;

fn web() -> Service {
    Service::new("web", 1).node_port(NODE_PORT)
}

/// Has pods of its own: a server that cannot keep up would lose the others' datagrams too.
fn flooded() -> Service {
    Service::new("flooded", 2).node_port(NODE_PORT + 1)
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    let last: Vec<Endpoint> = cluster
        .nodes()
        .into_iter()
        .filter_map(|node| node.pods.last())
        .map(Endpoint::pod)
        .collect();
    cluster.manifests.service(&flooded(), &last)?;
    cluster
        .manifests
        .service(&web(), &cluster.first_pods()?.map(Endpoint::pod))
}

/// Clients that talk all the time: from a pod and from outside, in both families, over TCP and UDP.
fn talks(cluster: &Cluster, count: u32) -> Result<Vec<Talk>> {
    let [pod, _] = cluster.first_pods()?;
    let mut talks = Vec::new();
    for (family, proto) in matrix() {
        let ways: [(&Place, _); 2] = [
            (&pod.place, at(web().ip(family), 80)),
            (&cluster.client, at(cluster.a.ip(family), NODE_PORT)),
        ];
        for (client, to) in ways {
            let request = Request::new(proto, to, count).mode(Mode::PingPong { pause_us: 2_000 });
            talks.push(Talk::start(client, &request)?.talking()?);
        }
    }
    Ok(talks)
}

fn all_lived(talks: Vec<Talk>) -> Result<()> {
    for talk in talks {
        let report = talk.finish()?;
        let failures: Vec<_> = report.failures().collect();
        ensure!(
            failures.is_empty() && report.sent == report.answered,
            "{} sent, {} answered, {failures:?}",
            report.sent,
            report.answered
        );
    }
    Ok(())
}

#[test]
fn a_flood_of_new_flows_evicts_no_connection() {
    let small = AgentOptions::production()
        .with("map-flows-entries", "1024")
        .with("map-embryos-entries", "64");
    with_agents(Options::default(), &small, prepare, |cluster| {
        let talks = talks(cluster, LIVING)?;
        for (family, _) in matrix() {
            let to = at(cluster.a.ip(family), flooded().node_port);
            let flood = process::ask(
                &cluster.client,
                &Request::new(Proto::Udp, to, FLOOD).mode(Mode::Scatter),
            )?;
            ensure!(flood.sent == u64::from(FLOOD), "{flood:?}");
        }
        all_lived(talks)
    });
}

#[test]
fn new_connections_come_through_during_a_flood() {
    let small = AgentOptions::production().with("map-embryos-entries", "4096");
    with_agents(Options::default(), &small, prepare, |cluster| {
        let [pod, _] = cluster.first_pods()?;
        for (family, proto) in matrix() {
            let to = at(cluster.a.ip(family), flooded().node_port);
            let scatter = Request::new(Proto::Udp, to, 10 * FLOOD).mode(Mode::Scatter);
            let flood = Talk::start(&cluster.client, &scatter)?.talking()?;
            for (client, to) in [
                (&pod.place, at(web().ip(family), 80)),
                (&cluster.client, at(cluster.a.ip(family), NODE_PORT)),
            ] {
                let report = process::ask(client, &Request::new(proto, to, 100))?;
                let failures: Vec<_> = report.failures().collect();
                ensure!(failures.is_empty(), "{failures:?}");
            }
            ensure!(flood.finish()?.sent > 4_096, "no flood");
        }
        Ok(())
    });
}

#[test]
fn a_full_flow_table_keeps_what_it_has_and_empties() {
    // Room for 32 connections of each family.
    let tiny = AgentOptions::production()
        .with("map-flows-entries", "64")
        .with("map-embryos-entries", "1024");
    with_agents(Options::default(), &tiny, prepare, |cluster| {
        let living = talks(cluster, 2)?;
        let [pod, _] = cluster.first_pods()?;
        let to = at(web().ip(integration::topology::Family::V4), 80);
        let greedy = Request::new(Proto::Tcp, to, 40)
            .timeout_ms(300)
            .mode(Mode::PingPong { pause_us: 5_000 });
        let refused = Talk::start(&pod.place, &greedy)?.talking()?.finish()?;
        ensure!(
            refused.failures().count() > 0,
            "40 connections fit where 32 should"
        );
        all_lived(living)?;
        // They ended, so there is room again: closed connections are forgotten within seconds.
        integration::wait::until(
            "new connections are served again",
            integration::wait::SOON,
            || {
                let few = Request::new(Proto::Tcp, to, 5).timeout_ms(500);
                let report = process::ask(&pod.place, &few)?;
                ensure!(report.failures().count() == 0, "{:?}", report.servers());
                Ok(())
            },
        )
    });
}
