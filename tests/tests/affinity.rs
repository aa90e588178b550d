//! `sessionAffinity: ClientIP` (SEMANTICS 8): one record per client for every frontend and hook, with a time limit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::{Proto, Request, process};
use integration::testbed::with_agents;
use integration::topology::addresses::external_ip;
use integration::topology::{Cluster, Family, Options, at, matrix};
use integration::wait;

const NODE_PORT: u16 = 30_300;
/// As the API server fills it in.
const DEFAULT: u32 = 10_800;

fn sticky(seconds: u32) -> Service {
    Service {
        external_ips: Family::BOTH.map(|family| external_ip(family, 1)).to_vec(),
        spec: format!(
            "  sessionAffinity: ClientIP\n  sessionAffinityConfig:\n    clientIP:\n      timeoutSeconds: {seconds}\n"
        ),
        ..Service::new("sticky", 1).node_port(NODE_PORT)
    }
}

/// The Service with the first pod of each node.
fn prepare(cluster: &mut Cluster, seconds: u32) -> Result<()> {
    let endpoints = cluster.first_pods()?.map(Endpoint::pod);
    cluster.manifests.service(&sticky(seconds), &endpoints)
}

/// Every client, and the frontends that lead it through one and the same node.
fn clients(cluster: &Cluster, family: Family) -> Vec<(&Place, Vec<SocketAddr>)> {
    let mut clients = Vec::new();
    for node in cluster.nodes() {
        let all = vec![
            at(sticky(DEFAULT).ip(family), 80),
            at(external_ip(family, 1), 80),
            at(node.ip(family), NODE_PORT),
        ];
        clients.extend(node.pods.iter().map(|pod| (&pod.place, all.clone())));
        let loopback = at(family.loopback(), NODE_PORT);
        clients.push((&node.host, [all, vec![loopback]].concat()));
    }
    clients.push((&cluster.client, vec![at(cluster.a.ip(family), NODE_PORT)]));
    clients
}

/// What each client was given, by name, family and protocol.
type Given = BTreeMap<(String, &'static str, &'static str), String>;

/// Asks through every frontend; each client must hear one server from all of them.
fn ask_all(cluster: &Cluster) -> Result<Given> {
    let mut given = Given::new();
    for (family, proto) in matrix() {
        for (place, frontends) in clients(cluster, family) {
            let server = one_server(place, proto, &frontends)?;
            given.insert((place.name.clone(), family.name(), proto.name()), server);
        }
    }
    Ok(given)
}

/// The only server that answers at all of `frontends`.
fn one_server(place: &Place, proto: Proto, frontends: &[SocketAddr]) -> Result<String> {
    one_server_of(place, proto, frontends, |request| request)
}

/// The same for requests that are `changed`.
fn one_server_of(
    place: &Place,
    proto: Proto,
    frontends: &[SocketAddr],
    changed: impl Fn(Request) -> Request,
) -> Result<String> {
    let mut servers = BTreeMap::new();
    for to in frontends {
        let report = process::ask(place, &changed(Request::new(proto, *to, 3)))?;
        ensure!(
            report.failures().count() == 0,
            "{} to {to} {}: {report:?}",
            place.name,
            proto.name()
        );
        for server in report.servers().into_keys() {
            servers.insert(server.to_owned(), *to);
        }
    }
    ensure!(
        servers.len() == 1,
        "{} {} was answered by {servers:?}",
        place.name,
        proto.name()
    );
    servers.into_keys().next().context("no server")
}

#[test]
fn record_holds_for_every_frontend_and_over_new_endpoints_and_a_restart() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| prepare(cluster, DEFAULT),
        |cluster| {
            // SEMANTICS 8.1: the frontend's address and the client's port do not matter.
            let given = ask_all(cluster)?;
            ensure!(
                given
                    .values()
                    .any(|server| Some(server) != given.values().next()),
                "all clients have one server: {given:?}"
            );
            // 8.5: more endpoints disturb no record.
            cluster.scale(&sticky(DEFAULT), &cluster.endpoints(), 4)?;
            let scaled = ask_all(cluster)?;
            ensure!(scaled == given, "{given:?}, with more endpoints {scaled:?}");
            // 8.8.
            for node in [&mut cluster.a, &mut cluster.b] {
                let agent = node.agent()?;
                agent.kill()?;
                agent.restart()?;
                agent.wait_ready()?;
            }
            let restarted = ask_all(cluster)?;
            ensure!(
                restarted == given,
                "{given:?}, after a restart {restarted:?}"
            );
            Ok(())
        },
    );
}

#[test]
fn endpoint_that_is_not_ready_is_left_and_its_client_stays_with_the_next() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| prepare(cluster, DEFAULT),
        |cluster| {
            ask_all(cluster)?;
            let [a, b] = cluster.first_pods()?.map(Endpoint::pod);
            // SEMANTICS 8.6.
            cluster.scale(&sticky(DEFAULT), &[a.clone().unready(), b.clone()], 1)?;
            let moved = ask_all(cluster)?;
            ensure!(moved.values().all(|server| server == "pod-b1"), "{moved:?}");
            // 8.3: the new connection made a new record.
            cluster.scale(&sticky(DEFAULT), &[a, b], 2)?;
            let back = ask_all(cluster)?;
            ensure!(back == moved, "{back:?}");
            Ok(())
        },
    );
}

#[test]
fn record_lives_as_long_as_the_timeout_after_the_last_new_connection() {
    const SECONDS: u32 = 6;
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| prepare(cluster, SECONDS),
        |cluster| {
            let mut ports = 20_000..;
            let mut all = |cluster: &Cluster| -> Result<Vec<String>> {
                // Each round by a port of its own: an older UDP flow would lead where it led.
                let port = ports.next().context("no port is left")?;
                // Few enough clients that one round is over long before the timeout.
                let [a, b] = cluster.first_pods()?;
                let mut servers = Vec::new();
                for (place, node) in [(&a.place, &cluster.a), (&b.place, &cluster.b)]
                    .into_iter()
                    .chain(cluster.nodes().map(|node| (&node.host, node)))
                {
                    for (family, proto) in matrix() {
                        let to = at(node.ip(family), NODE_PORT);
                        servers.push(one_server_of(place, proto, &[to], |one| {
                            one.from_port(port)
                        })?);
                    }
                }
                Ok(servers)
            };
            let mut before = Instant::now();
            let mut given = all(cluster)?;
            cluster.scale(&sticky(SECONDS), &cluster.endpoints(), 4)?;
            // Time is what is tested: each round is within the timeout of the one before, all together are not. A round that a busy
            // machine makes too long proves nothing, and it begins anew.
            let mut kept = 0;
            for round in 0.. {
                let start = Instant::now();
                let again = all(cluster)?;
                let late = before.elapsed() > Duration::from_secs(u64::from(SECONDS) - 1);
                before = start;
                ensure!(
                    late || again == given,
                    "round {round}: {given:?}, then {again:?}"
                );
                ensure!(round < 20, "no three rounds were in time");
                kept = if late { 0 } else { kept + 1 };
                given = again;
                if kept == 3 {
                    break;
                }
                wait::pass(Duration::from_secs(3));
            }
            wait::pass(Duration::from_secs(u64::from(SECONDS) + 1));
            // Sixteen clients choose anew, among twice as many.
            let anew = all(cluster)?;
            ensure!(anew != given, "{given:?} is kept for ever");
            Ok(())
        },
    );
}

/// An address of the nodes' network that can move from node to node, as a failover moves it.
fn movable(family: Family, number: u8) -> IpAddr {
    family.pick(
        Ipv4Addr::new(172, 18, 0, number),
        Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, number.into()),
    )
}

/// `ip` at a device, in words of ip(8).
fn on_uplink(ip: IpAddr) -> String {
    if ip.is_ipv4() {
        format!("{ip}/24 dev eth0\n")
    } else {
        format!("{ip}/64 dev eth0 nodad\n")
    }
}

/// SEMANTICS 8.1: the address is the client, whether it is that of packets or what a process of the node is bound to.
#[test]
fn record_is_one_for_the_packets_and_the_sockets_of_an_address() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            cluster
                .manifests
                .service(&sticky(DEFAULT), &cluster.endpoints())
        },
        |cluster| {
            let (here, elsewhere) = (&cluster.a.host, &cluster.b.host);
            let mut all = BTreeSet::new();
            for (number, family) in (70..76).flat_map(|number| Family::BOTH.map(|f| (number, f))) {
                let ip = movable(family, number);
                let cluster_ip = at(sticky(DEFAULT).ip(family), 80);
                // The other node leaves this to the one that has it (3.8).
                let node_port = at(cluster.a.ip(family), NODE_PORT);
                let packets = (elsewhere, vec![node_port]);
                let sockets = (here, vec![cluster_ip, node_port]);
                // Half of them come as packets first, half as sockets.
                let ways = if number % 2 == 0 {
                    [packets, sockets]
                } else {
                    [sockets, packets]
                };
                let mut given = Vec::new();
                for (place, frontends) in ways {
                    place.ip(&format!("addr add {}", on_uplink(ip)))?;
                    for proto in Proto::BOTH {
                        given.push(one_server_of(place, proto, &frontends, |one| one.from(ip))?);
                    }
                    place.ip(&format!("addr del {}", on_uplink(ip)))?;
                }
                let (first, second) = given.split_at(Proto::BOTH.len());
                ensure!(first == second, "{ip} was given {first:?}, then {second:?}");
                all.extend(given);
            }
            ensure!(all.len() > 1, "all have one server: {all:?}");
            Ok(())
        },
    );
}
