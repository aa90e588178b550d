//! Row "host process -> any frontend": translated in the socket calls, so that the process sees what it addressed.

use anyhow::{Context as _, Result};
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::{Failure, Mode, Proto, Request, UdpSockets, mapped};
use integration::testbed::with_agents;
use integration::topology::addresses::external_ip;
use integration::topology::{Cluster, Family, Options, Pod, at, matrix};

const NODE_PORT: u16 = 30100;

const UDP: [UdpSockets; 4] = [
    UdpSockets::Connected,
    UdpSockets::Unconnected,
    UdpSockets::OneConnected,
    UdpSockets::OneUnconnected,
];

fn web() -> Service {
    Service {
        external_ips: Family::BOTH.map(|family| external_ip(family, 1)).to_vec(),
        load_balancer_ips: Family::BOTH.map(|family| external_ip(family, 2)).to_vec(),
        ..Service::new("web", 1).node_port(NODE_PORT)
    }
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster
        .manifests
        .service(&web(), &cluster.first_pods()?.map(Endpoint::pod))
}

#[test]
fn every_frontend_from_every_kind_of_socket() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            for (family, proto) in matrix() {
                for node in cluster.nodes() {
                    let frontends = [
                        at(web().ip(family), 80),
                        at(external_ip(family, 1), 80),
                        at(external_ip(family, 2), 80),
                        at(node.ip(family), NODE_PORT),
                        at(family.loopback(), NODE_PORT),
                    ];
                    let uses: &[UdpSockets] = if proto == Proto::Udp { &UDP } else { &UDP[..1] };
                    for (to, &udp) in frontends
                        .into_iter()
                        .flat_map(|to| uses.iter().map(move |udp| (to, udp)))
                    {
                        // One socket has one backend, as one flow of packets has; all other uses have both.
                        let request = Request::new(proto, to, MANY).udp(udp);
                        let one = proto == Proto::Udp
                            && matches!(udp, UdpSockets::OneConnected | UdpSockets::OneUnconnected);
                        if one {
                            one_server(&mut checks, cluster, &node.host, &request);
                        } else {
                            checks.answered_any_source(
                                &format!("host, {udp:?}"),
                                &node.host,
                                &request,
                                &servers,
                            );
                        }
                        let request = Request {
                            to: mapped(to),
                            ..request
                        };
                        if family == Family::V4 && one {
                            one_server(&mut checks, cluster, &node.host, &request);
                        } else if family == Family::V4 {
                            checks.answered_any_source(
                                &format!("host, AF_INET6, {udp:?}"),
                                &node.host,
                                &request,
                                &servers,
                            );
                        }
                    }
                }
            }
            checks.verdict()
        },
    );
}

fn one_server(
    checks: &mut Checks,
    cluster: &Cluster,
    host: &integration::place::Place,
    request: &Request,
) {
    let outcome = integration::probe::process::ask(host, request).and_then(|report| {
        let server = report.answers().next().context("no answer")?.name.clone();
        anyhow::ensure!(
            cluster
                .first_pods()?
                .map(Pod::name)
                .contains(&server.as_str()),
            "{server}"
        );
        integration::expect::answered(&report, request.to, &[&server], None)
    });
    checks.note("host, one socket", host, request, outcome);
}

#[test]
fn other_addresses_and_ports_are_left_alone() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                for node in cluster.nodes() {
                    let _server = node.serve("in-the-node", 9000)?;
                    for to in [at(node.ip(family), 9000), at(family.loopback(), 9000)] {
                        let request = Request::new(proto, to, 3).udp(UdpSockets::OneUnconnected);
                        checks.answered(
                            "host to itself",
                            &node.host,
                            &request,
                            &["in-the-node"],
                            to.ip(),
                        );
                    }
                    let closed = Request::new(proto, at(family.loopback(), NODE_PORT + 1), 1);
                    checks.fails(
                        "host to a closed port",
                        &node.host,
                        &closed,
                        Failure::Refused,
                    );
                }
            }
            checks.verdict()
        },
    );
}

/// Pods are in the node's cgroup too, but in namespaces of their own: the packet path serves them.
#[test]
fn pods_sockets_are_left_alone() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let translated = |cluster: &Cluster| -> Result<[u64; 2]> {
                let agent = cluster.a.agent.as_ref().context("no agent")?;
                let by = |hook| -> Result<u64> {
                    let labels = format!("{{reason=\"new_flow\",hook=\"{hook}\"}}");
                    let count = agent.metric(&format!("kubeshunt_outcomes_total{labels}"))?;
                    Ok(count.to_string().parse()?)
                };
                Ok([by("socket")?, by("tc_ingress")?])
            };
            let count = |client: &integration::place::Place| -> Result<()> {
                let request = Request::new(Proto::Tcp, at(web().ip(Family::V6), 80), MANY);
                let report = integration::probe::process::ask(client, &request)?;
                anyhow::ensure!(report.failures().count() == 0, "{report:?}");
                Ok(())
            };
            let before = translated(cluster)?;
            count(&cluster.first_pods()?[0].place)?;
            let after_pod = translated(cluster)?;
            count(&cluster.a.host)?;
            let after_host = translated(cluster)?;
            let many = u64::from(MANY);
            anyhow::ensure!(
                after_pod == [before[0], before[1] + many],
                "a pod: {before:?}, then {after_pod:?}"
            );
            anyhow::ensure!(
                after_host == [after_pod[0] + many, after_pod[1]],
                "the host: {after_pod:?}, then {after_host:?}"
            );
            Ok(())
        },
    );
}

#[test]
fn bulk_data_arrives_intact() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            for family in Family::BOTH {
                for (node, mode) in cluster.nodes().into_iter().flat_map(|node| {
                    [
                        Mode::Upload { bytes: 500_003 },
                        Mode::Download { bytes: 500_003 },
                    ]
                    .map(|mode| (node, mode))
                }) {
                    let request = Request::new(Proto::Tcp, at(web().ip(family), 80), MANY)
                        .mode(mode)
                        .timeout_ms(10_000);
                    checks.answered_any_source("host, bulk", &node.host, &request, &servers);
                }
            }
            checks.verdict()
        },
    );
}
