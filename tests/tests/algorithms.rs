//! The choice among backends by the annotation `kube-shunt.io/algorithm`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::maps::Frontends;
use integration::place::Place;
use integration::probe::{Mode, Proto, Request, UdpSockets, process};
use integration::testbed::{configured, with_agents, with_cluster};
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

/// Whoever asks Service `index` meets its backends in turn.
fn takes_turns(cluster: &Cluster, index: u8) -> Result<()> {
    for (family, proto) in matrix() {
        for place in places(cluster)? {
            let servers = servers(place, proto, family, index, 20)?;
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

/// Every client of Service `index` has one server.
fn one_server_each(cluster: &Cluster, index: u8) -> Result<()> {
    tables_built(cluster, index)?;
    for family in Family::BOTH {
        let mut all = Vec::new();
        for pod in cluster.pods() {
            let by_tcp = servers(&pod.place, Proto::Tcp, family, index, 10)?;
            ensure!(by_tcp.len() == 1, "{}: {by_tcp:?}", pod.name());
            let again = servers(&pod.place, Proto::Tcp, family, index, 1)?;
            ensure!(again.keys().eq(by_tcp.keys()), "{by_tcp:?}, then {again:?}");
            all.extend(by_tcp.into_keys());
        }
        ensure!(all.len() == 4, "{all:?}");
        // Through either node the outside client reaches the same one.
        let request = Request::new(Proto::Tcp, at(cluster_ip(family, index), 80), 10);
        let report = process::ask(&cluster.client, &request)?;
        ensure!(report.servers().len() == 1, "{report:?}");
    }
    Ok(())
}

/// A backend of `service` with many connections gets few of the next ones.
fn fills_up(cluster: &Cluster, service: &Service) -> Result<()> {
    let [pod, _] = cluster.first_pods()?;
    for family in Family::BOTH {
        // Many connections stay open with the one that is alone, then the others come.
        let to = at(service.ip(family), 80);
        let open = Request::new(Proto::Tcp, to, 100).mode(Mode::PingPong { pause_us: 100_000 });
        cluster.scale(service, &[Endpoint::pod(pod)], 1)?;
        let talk = process::Talk::start(&pod.place, &open)?.talking()?;
        cluster.scale(service, &cluster.endpoints(), 4)?;
        // Each choice is the better of two: the loaded one is taken only where both are it, one in sixteen, so 16 times in the mean,
        // and 38 times in a run of ten millions. By chance alone it would be 64 times.
        let servers = servers(&pod.place, Proto::Tcp, family, service.index, 256)?;
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
}

#[test]
fn round_robin_takes_turns() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| takes_turns(cluster, 1),
    );
}

#[test]
fn maglev_gives_a_client_one_server_whoever_chooses() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| one_server_each(cluster, 2),
    );
}

#[test]
fn least_connections_fills_up_who_has_few() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| fills_up(cluster, &service(3)),
    );
}

/// Runs `test` with a Service that names no algorithm, and agents that read `scheduler` from the configuration of kube-proxy.
fn scheduled(scheduler: &str, test: impl FnOnce(&Cluster, &Service) -> Result<()>) {
    with_cluster(Options::default(), |cluster| {
        let web = Service::new("web", 1);
        cluster.manifests.service(&web, &cluster.endpoints())?;
        let settings = format!("mode: ipvs\nipvs: {{scheduler: {scheduler}}}");
        let options = configured(cluster, [&settings, ""])?;
        cluster.start_agents(&options)?;
        test(cluster, &web)
    });
}

#[test]
fn ipvs_scheduler_rr_takes_turns() {
    scheduled("rr", |cluster, web| takes_turns(cluster, web.index));
}

#[test]
fn ipvs_scheduler_sh_gives_a_client_one_server() {
    scheduled("sh", |cluster, web| one_server_each(cluster, web.index));
}

#[test]
fn ipvs_scheduler_lc_fills_up_who_has_few() {
    scheduled("lc", fills_up);
}

/// Services with Maglev tables of the largest size, which take long to build.
const LARGE: u8 = 14;
/// Endpoints of each, in each family; no two have the same.
const MANY_ENDPOINTS: u16 = 200;

/// A Service with very many endpoints, and their slices.
fn large(index: u8) -> Result<String> {
    let name = format!("large-{index}");
    let [v4, v6] = Family::BOTH.map(|family| cluster_ip(family, 100 + index));
    let mut yaml = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default, annotations: {{kube-shunt.io/algorithm: maglev}}}}\nspec:\n  \
        clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n  ports: [{{name: tcp, protocol: TCP, port: 80}}]\n"
    );
    for family in Family::BOTH {
        let kind = family.name();
        write!(
            yaml,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-{}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}\n\
            addressType: {kind}\nports: [{{name: tcp, protocol: TCP, port: 8080}}]\nendpoints:\n",
            kind.to_lowercase()
        )?;
        for number in 0..MANY_ENDPOINTS {
            let [high, low] = number.to_be_bytes();
            let ip = family.pick(
                Ipv4Addr::new(10, 160 + index, high, low),
                Ipv6Addr::new(0xfd00, 0x245, index.into(), 0, 0, 0, 0, number),
            );
            writeln!(
                yaml,
                "- {{addresses: [\"{ip}\"], conditions: {{ready: true}}}}"
            )?;
        }
    }
    Ok(yaml)
}

/// How many of the large Services' tables are built.
fn built(frontends: &Frontends) -> Result<usize> {
    let mut built = 0;
    for (index, family) in (1..=LARGE).flat_map(|index| Family::BOTH.map(|f| (index, f))) {
        let frontend = frontends.get(cluster_ip(family, 100 + index), 80, Proto::Tcp)?;
        let frontend = frontend.with_context(|| format!("no large-{index}"))?;
        ensure!(
            frontend.slices[0].count == u32::from(MANY_ENDPOINTS),
            "{frontend:?}"
        );
        built += usize::from(frontend.tables[0] != 0);
    }
    Ok(built)
}

#[test]
fn a_change_does_not_wait_for_large_tables() {
    let web = Service::new("web", 1);
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| cluster.manifests.service(&web, &cluster.endpoints()),
        |cluster| {
            let frontends = Frontends::open(cluster.a.bpf_root())?;
            let all: Result<String> = (1..=LARGE).map(large).collect();
            cluster.manifests.write("large", &all?)?;
            wait::until("the large Services are there", wait::SOON, || {
                built(&frontends).map(drop)
            })?;
            let [one, _] = cluster.first_pods()?.map(Endpoint::pod);
            cluster.scale(&web, &[one], 1)?;
            // Had the change waited for all of them to be built, at least half would be in the kernel with it.
            let before = built(&frontends)?;
            let all = 2 * usize::from(LARGE);
            println!("the change came after {before} of {all} tables");
            ensure!(
                before < all / 2,
                "the change came after {before} of {all} tables"
            );
            wait::until("the tables are built", wait::SOON, || {
                let built = built(&frontends)?;
                ensure!(built == all, "{built} of {all}");
                Ok(())
            })
        },
    );
}
