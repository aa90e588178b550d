//! `NodePorts` are served on all addresses of the node, or on those that --nodeport-addresses names; addresses come and go.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, TcpStream};

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::probe::{Failure, Proto, Request, process};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Family, Options, addresses, at, matrix};
use integration::wait;

const NODE_PORT: u16 = 30100;
/// An address that node-a gets later, as a failover would bring it.
const LATE: &str = "172.18.0.77";

fn prepare(cluster: &mut Cluster) -> Result<()> {
    let [_, pod] = cluster.first_pods()?.map(Endpoint::pod);
    cluster
        .manifests
        .service(&Service::new("web", 1).node_port(NODE_PORT), &[pod])
}

/// The bridge's address of node-a.
fn gateway(family: Family) -> IpAddr {
    let (v4, v6) = addresses::pod(1, 0);
    family.pick(v4, v6)
}

#[test]
fn all_of_them() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            let [a, b] = cluster.first_pods()?;
            for (family, proto) in matrix() {
                for to in [gateway(family), cluster.a.ip(family)] {
                    let request = Request::new(proto, at(to, NODE_PORT), 3);
                    checks.answered("from a pod", &a.place, &request, &[b.name()], a.ip(family));
                    checks.answered_any_source(
                        "from the host",
                        &cluster.a.host,
                        &request,
                        &[b.name()],
                    );
                    checks.answered_any_source(
                        "from outside",
                        &cluster.client,
                        &request,
                        &[b.name()],
                    );
                    checks.answered_any_source(
                        "from the other node",
                        &cluster.b.host,
                        &request,
                        &[b.name()],
                    );
                    checks.answered_any_source(
                        "from the nodes' own network",
                        &cluster.router,
                        &request,
                        &[b.name()],
                    );
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn only_those_that_are_named() {
    let options = AgentOptions::default().with("nodeport-addresses", "172.18.0.0/24,fd00:18::/64");
    with_agents(Options::default(), &options, prepare, |cluster| {
        let mut checks = Checks::default();
        let [a, b] = cluster.first_pods()?;
        for (family, proto) in matrix() {
            let named = Request::new(proto, at(cluster.a.ip(family), NODE_PORT), 3);
            let other = Request::new(proto, at(gateway(family), NODE_PORT), 1);
            let loopback = Request::new(proto, at(family.loopback(), NODE_PORT), 1);
            for client in [&a.place, &cluster.a.host, &cluster.client] {
                checks.answered_any_source("a named address", client, &named, &[b.name()]);
                checks.fails("another address", client, &other, Failure::Refused);
            }
            checks.fails(
                "loopback is not named",
                &cluster.a.host,
                &loopback,
                Failure::Refused,
            );
        }
        checks.verdict()
    });
}

#[test]
fn addresses_that_come_and_go() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let [_, b] = cluster.first_pods()?;
            let request =
                Request::new(Proto::Tcp, at(LATE.parse::<IpAddr>()?, NODE_PORT), 1).timeout_ms(500);
            for _ in 0..3 {
                cluster
                    .a
                    .host
                    .ip(&format!("addr add {LATE}/24 dev eth0\n"))?;
                wait::until("the new address serves NodePorts", wait::SOON, || {
                    let report = process::ask(&cluster.client, &request)?;
                    ensure!(report.servers().keys().eq([&b.name()]), "{report:?}");
                    Ok(())
                })?;
                cluster
                    .a
                    .host
                    .ip(&format!("addr del {LATE}/24 dev eth0\n"))?;
                wait::until("the gone address serves nothing", wait::SOON, || {
                    let report = process::ask(&cluster.client, &request)?;
                    ensure!(report.failures().count() == 1, "{report:?}");
                    Ok(())
                })?;
            }
            Ok(())
        },
    );
}

/// The Service's health-check node port.
const CHECK_PORT: u16 = 30_101;

fn checked(cluster: &mut Cluster) -> Result<()> {
    let [pod, _] = cluster.first_pods()?.map(Endpoint::pod);
    let service = Service {
        external_local: true,
        load_balancer_ips: Family::BOTH
            .map(|family| addresses::external_ip(family, 1))
            .to_vec(),
        spec: format!("  healthCheckNodePort: {CHECK_PORT}\n"),
        ..Service::new("web", 1).node_port(NODE_PORT)
    };
    cluster.manifests.service(&service, &[pod])
}

/// What a client outside hears from the health-check node port at `ip`: the first line of the answer.
fn health(cluster: &Cluster, ip: IpAddr) -> Result<String> {
    cluster.client.enter(|| {
        let mut stream = TcpStream::connect(at(ip, CHECK_PORT))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    })?
}

/// SEMANTICS 11.1.
fn health_checks(options: &AgentOptions, on_bridge: bool) {
    with_agents(Options::default(), options, checked, |cluster| {
        for family in Family::BOTH {
            let own = cluster.a.ip(family);
            wait::until("the health check answers", wait::SOON, || {
                let line = health(cluster, own)?;
                ensure!(line.starts_with("HTTP/1.0 200 "), "{own}: {line}");
                Ok(())
            })?;
            if on_bridge {
                wait::until("on all addresses", wait::SOON, || {
                    health(cluster, gateway(family)).map(drop)
                })?;
            }
        }
        for family in Family::BOTH {
            let heard = health(cluster, gateway(family));
            ensure!(heard.is_ok() == on_bridge, "{heard:?}");
        }
        Ok(())
    });
}

#[test]
fn semantics_11_1_health_checks_listen_on_all_of_them() {
    health_checks(&AgentOptions::default(), true);
}

#[test]
fn semantics_11_1_health_checks_listen_only_on_those_that_are_named() {
    let options = AgentOptions::default().with("nodeport-addresses", "172.18.0.0/24,fd00:18::/64");
    health_checks(&options, false);
}
