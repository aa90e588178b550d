//! The choice among backends by the annotation `kube-shunt.io/algorithm`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::maps::Frontends;
use integration::place::Place;
use integration::probe::{Mode, Proto, Request, UdpSockets, process};
use integration::testbed::with_agents;
use integration::topology::addresses::cluster_ip;
use integration::topology::{Cluster, Family, Options, at, matrix};
use integration::wait;

/// Services by algorithm, in the order of their numbers.
const ALGORITHMS: [&str; 3] = ["round-robin", "maglev", "least-connections"];

fn service(index: u8) -> Service {
    let algorithm = ALGORITHMS[usize::from(index) - 1];
    Service {
        algorithm,
        ..Service::new(algorithm, index)
    }
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    for index in [1, 2, 3] {
        cluster
            .manifests
            .service(&service(index), &cluster.endpoints())?;
    }
    Ok(())
}

/// How many of `count` requests each server answered.
fn servers(
    place: &Place,
    proto: Proto,
    family: Family,
    index: u8,
    count: u32,
) -> Result<BTreeMap<String, usize>> {
    let request = Request::new(proto, at(cluster_ip(family, index), 80), count);
    let report = process::ask(place, &request.udp(UdpSockets::Connected))?;
    ensure!(report.failures().count() == 0, "{}: {report:?}", place.name);
    Ok(report
        .servers()
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect())
}

/// A pod and the host of each node.
fn places(cluster: &Cluster) -> Result<Vec<&Place>> {
    let [a, b] = cluster.first_pods()?;
    Ok(vec![&a.place, &b.place, &cluster.a.host, &cluster.b.host])
}

#[test]
fn round_robin_takes_turns() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            for (family, proto) in matrix() {
                for place in places(cluster)? {
                    let servers = servers(place, proto, family, 1, 20)?;
                    // A UDP socket that gets the port of an earlier one goes on with its flow: no turn.
                    ensure!(
                        servers.len() == 4 && servers.values().all(|count| (4..=6).contains(count)),
                        "{} {}: {servers:?}",
                        place.name,
                        proto.name()
                    );
                }
            }
            Ok(())
        },
    );
}

/// Waits until both nodes have the tables of Service `index`: they are built beside the sync.
fn tables_built(cluster: &Cluster, index: u8) -> Result<()> {
    for node in cluster.nodes() {
        let frontends = Frontends::open(node.bpf_root())?;
        wait::until("the Maglev tables are built", wait::SOON, || {
            for (family, proto) in matrix() {
                let frontend = frontends.get(cluster_ip(family, index), 80, proto)?;
                let tables = frontend.context("no frontend")?.tables;
                ensure!(tables[0] != 0, "{} has none", family.name());
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn maglev_gives_a_client_one_server_whoever_chooses() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            tables_built(cluster, 2)?;
            for family in Family::BOTH {
                let mut all = Vec::new();
                for pod in cluster.pods() {
                    let by_tcp = servers(&pod.place, Proto::Tcp, family, 2, 10)?;
                    ensure!(by_tcp.len() == 1, "{}: {by_tcp:?}", pod.name());
                    let again = servers(&pod.place, Proto::Tcp, family, 2, 1)?;
                    ensure!(again.keys().eq(by_tcp.keys()), "{by_tcp:?}, then {again:?}");
                    all.extend(by_tcp.into_keys());
                }
                ensure!(all.len() == 4, "{all:?}");
                // Through either node the outside client reaches the same one.
                let request = Request::new(Proto::Tcp, at(cluster_ip(family, 2), 80), 10);
                let report = process::ask(&cluster.client, &request)?;
                ensure!(report.servers().len() == 1, "{report:?}");
            }
            Ok(())
        },
    );
}

#[test]
fn least_connections_fills_up_who_has_few() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let [a, _] = cluster.first_pods()?.map(Endpoint::pod);
            cluster.manifests.service(&service(3), &[a])
        },
        |cluster| {
            let [pod, _] = cluster.first_pods()?;
            for family in Family::BOTH {
                // Many connections stay open with the one that is alone, then the others come.
                let to = at(cluster_ip(family, 3), 80);
                let open =
                    Request::new(Proto::Tcp, to, 100).mode(Mode::PingPong { pause_us: 100_000 });
                cluster.scale(&service(3), &[Endpoint::pod(pod)], 1)?;
                let talk = process::Talk::start(&pod.place, &open)?.talking()?;
                cluster.scale(&service(3), &cluster.endpoints(), 4)?;
                // Each choice is the better of two: the loaded one is taken only where both are it, one in sixteen, so 16 times in
                // the mean, and 38 times in a run of ten millions. By chance alone it would be 64 times.
                let servers = servers(&pod.place, Proto::Tcp, family, 3, 256)?;
                let loaded = servers.get(pod.name()).copied().unwrap_or(0);
                let report = talk.finish()?;
                ensure!(report.failures().count() == 0, "{report:?}");
                ensure!(
                    loaded < 38,
                    "{loaded} of 256 went to the loaded one: {servers:?}"
                );
                ensure!(servers.len() >= 3, "{servers:?}");
            }
            Ok(())
        },
    );
}
