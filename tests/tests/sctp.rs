//! SCTP on every way through the nodes (SEMANTICS 2.6), by packets of raw sockets: few kernels have sockets of SCTP itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::raw::{Raw, SCTP};
use integration::testbed::with_agents;
use integration::topology::addresses::{POD_PORT, cluster_ip, external_ip, hairpin};
use integration::topology::{Cluster, Family, Options, Pod, at};
use proxy_common::sim::build::Build;
use proxy_common::sim::oracle;

/// The first Service's node port; the next one's follows.
const NODE_PORT: u16 = 30_200;
const LIMIT: Duration = Duration::from_secs(5);

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

/// Chunks of an association from its beginning to its end, and whether the client sends them.
const LIFE: [(u8, bool); 9] = [
    (INIT, true),
    (INIT_ACK, false),
    // COOKIE ECHO and its answer.
    (10, true),
    (11, false),
    // DATA, a selective acknowledgement.
    (0, true),
    (3, false),
    // SHUTDOWN, its answer, and that one's.
    (7, true),
    (8, false),
    (14, true),
];

/// A packet with one chunk, without IP header.
fn packet(chunk: u8, src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
    let packet = Build::sctp(src, dst).chunk(chunk).payload(&[0x5a; 40]);
    let header = if src.is_ipv4() { 20 } else { 40 };
    packet.packet().split_off(header)
}

/// Ports and chunk type of a packet whose checksum holds.
fn read(packet: &[u8]) -> Option<(u16, u16, u8)> {
    let port = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let holds = packet.get(8..12) == Some(oracle::crc32c(packet).as_slice());
    holds.then_some((port(0)?, port(2)?, *packet.get(12)?))
}

/// Waits for `chunk` to `port`; who sent it.
fn receive(socket: &Raw, port: u16, chunk: u8) -> io::Result<SocketAddr> {
    socket.receive(LIMIT, |ip, packet| {
        let (sport, dport, kind) = read(packet)?;
        (dport == port && kind == chunk).then(|| SocketAddr::new(ip, sport))
    })
}

/// An association from `client` through `to` to the server `server`, which must see the client as `seen`.
fn associate(client: &Raw, port: u16, to: SocketAddr, server: &Raw, seen: IpAddr) -> Result<()> {
    let (client_addr, server_addr) = (at(client.ip(), port), at(server.ip(), POD_PORT));
    let mut peer = None;
    for (chunk, from_client) in LIFE {
        if from_client {
            client.send(to.ip(), &packet(chunk, client_addr, to))?;
            let from = receive(server, POD_PORT, chunk)
                .with_context(|| format!("chunk {chunk} does not reach the server"))?;
            ensure!(from.ip() == seen, "the server sees {from}, not {seen}");
            ensure!(
                *peer.get_or_insert(from) == from,
                "the client was {peer:?}, is {from}"
            );
        } else {
            let peer = peer.context("the server answers nobody")?;
            server.send(peer.ip(), &packet(chunk, server_addr, peer))?;
            let from = receive(client, port, chunk)
                .with_context(|| format!("chunk {chunk} does not reach the client"))?;
            ensure!(from == to, "the client sees {from}");
        }
    }
    Ok(())
}

/// A Service for the first pod of each node, then one without endpoints.
fn prepare(cluster: &mut Cluster) -> Result<()> {
    let [a, b] = cluster.first_pods()?.map(Endpoint::pod);
    for (index, endpoints) in [(1, vec![a]), (2, vec![b]), (3, vec![])] {
        let service = Service {
            sctp: true,
            external_ips: Family::BOTH
                .map(|family| external_ip(family, index))
                .to_vec(),
            ..Service::new(&format!("sctp-{index}"), index).node_port(NODE_PORT + u16::from(index))
        };
        cluster.manifests.service(&service, &endpoints)?;
    }
    Ok(())
}

/// Runs `check` for each family and each Service with its pod, and names what fails.
fn each(
    cluster: &Cluster,
    mut check: impl FnMut(Family, u8, &Pod, &Raw) -> Result<()>,
) -> Result<()> {
    for family in Family::BOTH {
        for (index, pod) in (1..).zip(cluster.first_pods()?) {
            let server = Raw::open(&pod.place, pod.ip(family), SCTP)?;
            check(family, index, pod, &server)
                .with_context(|| format!("{}, {}", family.name(), pod.name()))?;
        }
    }
    Ok(())
}

#[test]
fn pods_reach_every_frontend_and_themselves() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            each(cluster, |family, index, pod, server| {
                for (node, from) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
                    let client = Raw::open(&from.place, from.ip(family), SCTP)?;
                    let seen = if from.name() == pod.name() {
                        hairpin(family)
                    } else {
                        client.ip()
                    };
                    for (port, to) in (4000..).zip([
                        at(cluster_ip(family, index), 80),
                        at(external_ip(family, index), 80),
                        at(node.ip(family), NODE_PORT + u16::from(index)),
                    ]) {
                        associate(&client, port, to, server, seen)
                            .with_context(|| format!("{} to {to}", from.name()))?;
                    }
                }
                Ok(())
            })
        },
    );
}

#[test]
fn outside_reaches_every_frontend() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            each(cluster, |family, index, pod, server| {
                let client = Raw::open(&cluster.client, cluster.client_ip(family), SCTP)?;
                for (number, node) in (0..).zip(cluster.nodes()) {
                    let local = node.name() == pod.node;
                    let seen = if local { client.ip() } else { node.ip(family) };
                    let to = at(node.ip(family), NODE_PORT + u16::from(index));
                    // A port that SNAT may keep, and one that it may not.
                    for port in [4000 + number, 50_000 + number] {
                        associate(&client, port, to, server, seen)
                            .with_context(|| format!("client, port {port}, to {to}"))?;
                    }
                }
                // Routed to node-a.
                let seen = if pod.node == cluster.a.name() {
                    client.ip()
                } else {
                    cluster.a.ip(family)
                };
                for (port, to) in (6000..).zip([
                    at(cluster_ip(family, index), 80),
                    at(external_ip(family, index), 80),
                ]) {
                    associate(&client, port, to, server, seen)
                        .with_context(|| format!("client to {to}"))?;
                }
                Ok(())
            })
        },
    );
}

#[test]
fn associations_outlive_the_agent_and_their_endpoints() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let [a, b] = cluster.first_pods()?;
            let family = Family::V4;
            let (client, server) = (
                Raw::open(&a.place, a.ip(family), SCTP)?,
                Raw::open(&b.place, b.ip(family), SCTP)?,
            );
            let (from, to) = (at(client.ip(), 4000), at(cluster_ip(family, 2), 80));
            let backend = at(server.ip(), POD_PORT);
            client.send(to.ip(), &packet(INIT, from, to))?;
            receive(&server, POD_PORT, INIT)?;
            server.send(from.ip(), &packet(INIT_ACK, backend, from))?;
            receive(&client, 4000, INIT_ACK)?;
            cluster.a.agent()?.kill()?;
            cluster.manifests.endpoints(
                &Service {
                    sctp: true,
                    ..Service::new("sctp-2", 2)
                },
                &[],
            )?;
            let agent = cluster.a.agent()?;
            agent.restart()?;
            agent.wait_ready()?;
            // SEMANTICS 10.2: what is established goes on, what is new is refused (7.1).
            client.send(to.ip(), &packet(0, from, to))?;
            receive(&server, POD_PORT, 0)?;
            server.send(from.ip(), &packet(3, backend, from))?;
            ensure!(receive(&client, 4000, 3)? == to);
            let place = &cluster.first_pods()?[0].place;
            refused(place, at(client.ip(), 4001), to)
        },
    );
}

/// An INIT from `from` to `to` is refused by a port unreachable.
fn refused(place: &Place, from: SocketAddr, to: SocketAddr) -> Result<()> {
    let client = Raw::open(place, from.ip(), SCTP)?;
    client.connect(to.ip())?;
    client.send_connected(&packet(INIT, from, to))?;
    let heard = client.receive(LIMIT, |_, packet| read(packet));
    let error = heard.as_ref().err().and_then(io::Error::raw_os_error);
    ensure!(
        error == Some(libc::ECONNREFUSED),
        "{from} to {to}: {heard:?}"
    );
    Ok(())
}

#[test]
fn no_endpoints_is_refused() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            for family in Family::BOTH {
                for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
                    let (from, port) = (at(pod.ip(family), 4000), NODE_PORT + 3);
                    refused(&pod.place, from, at(cluster_ip(family, 3), 80))?;
                    refused(&pod.place, from, at(external_ip(family, 3), 80))?;
                    let client = at(cluster.client_ip(family), 4000);
                    refused(&cluster.client, client, at(node.ip(family), port))?;
                }
            }
            Ok(())
        },
    );
}
