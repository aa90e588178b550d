//! What no frontend serves: other ports of a `ClusterIP`, free addresses of a `ServiceCIDR` (SEMANTICS 4.10, 22.8), and ping.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::{Failure, Proto, Request};
use integration::raw::{ICMP, ICMPV6, Raw};
use integration::testbed::with_agents;
use integration::topology::addresses::{cluster_ip, external_ip};
use integration::topology::{Cluster, Family, Options, at, matrix};
use integration::wait;
use proxy_common::sim::oracle;

/// An external address that the router does not know: what is not answered on the node is not answered at all.
fn unrouted(family: Family) -> IpAddr {
    family.pick(
        Ipv4Addr::new(192, 0, 2, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 0x102, 0, 0, 0, 0, 1),
    )
}

/// Two Services, of which the second has no endpoints, and the `ServiceCIDR` that both are of.
fn prepare(cluster: &mut Cluster) -> Result<()> {
    let endpoints = cluster.first_pods()?.map(Endpoint::pod);
    let routed = Family::BOTH.map(|family| external_ip(family, 1));
    let live = Service {
        external_ips: [routed, Family::BOTH.map(unrouted)].concat(),
        ..Service::new("live", 1)
    };
    cluster.manifests.service(&live, &endpoints)?;
    cluster.manifests.service(&Service::new("dead", 2), &[])?;
    cluster.manifests.write(
        "cidrs",
        "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata:\n  name: kubernetes\nspec:\n  cidrs: [\"10.96.0.0/16\", \"fd00:10:96::/112\"]\n",
    )
}

#[test]
fn other_port_of_a_cluster_ip_is_refused() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
                    for place in [&pod.place, &node.host] {
                        let to = at(cluster_ip(family, 1), 81);
                        let request = Request::new(proto, to, 1).timeout_ms(4_000);
                        checks.fails("unknown port", place, &request, Failure::Refused);
                    }
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn free_address_of_a_service_cidr_is_dropped() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            for (family, proto) in matrix() {
                for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
                    let to = at(cluster_ip(family, 99), 80);
                    let request = Request::new(proto, to, 1).timeout_ms(500);
                    checks.fails("free address", &pod.place, &request, Failure::Timeout);
                    // A socket is told at once what a packet finds by time-out.
                    checks.fails("free address", &node.host, &request, Failure::Unreachable);
                }
            }
            checks.verdict()
        },
    );
}

/// Sends an echo request from `from` to `to`, and waits for the answer.
fn ping(place: &Place, from: IpAddr, to: IpAddr, limit: Duration) -> Result<io::Result<()>> {
    const ID: [u8; 4] = [0x12, 0x34, 0, 1];
    let (proto, request, reply) = if from.is_ipv4() {
        (ICMP, 8, 0)
    } else {
        (ICMPV6, 128, 129)
    };
    let socket = Raw::open(place, from, proto)?;
    let payload = b"an echo of fifty-six bytes or so, as ping(8) sends them";
    let mut message = [&[request, 0, 0, 0], ID.as_slice(), payload].concat();
    // The kernel fills in ICMPv6's.
    if from.is_ipv4() {
        let sum = !oracle::sum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    socket.send(to, &message)?;
    Ok(socket.receive(limit, |ip, answer| {
        let is_reply = answer.first() == Some(&reply) && answer.get(4..8) == Some(&ID);
        let whole =
            answer.get(8..) == Some(payload) && (!from.is_ipv4() || oracle::sum(answer) == 0xffff);
        (is_reply && whole && ip == to).then_some(())
    }))
}

#[test]
fn addresses_with_endpoints_answer_to_ping_and_others_do_not() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            for family in Family::BOTH {
                let live = [
                    cluster_ip(family, 1),
                    external_ip(family, 1),
                    unrouted(family),
                ];
                let mut clients: Vec<_> = cluster
                    .pods()
                    .map(|pod| (&pod.place, pod.ip(family)))
                    .collect();
                clients.extend(cluster.nodes().map(|node| (&node.host, node.ip(family))));
                // Routed to node-a.
                clients.push((&cluster.client, cluster.client_ip(family)));
                for (place, from) in clients {
                    let outside = place.name == cluster.client.name;
                    for to in live.into_iter().take(if outside { 2 } else { 3 }) {
                        ping(place, from, to, Duration::from_secs(5))?
                            .with_context(|| format!("ping {to} from {}", place.name))?;
                    }
                    for to in [cluster_ip(family, 2), cluster_ip(family, 99)] {
                        let heard = ping(place, from, to, Duration::from_millis(300))?;
                        ensure!(heard.is_err(), "{to} answers to {}", place.name);
                    }
                }
            }
            Ok(())
        },
    );
}

/// The router sends these to node-a, whose default route is the router.
#[test]
fn packets_to_closed_ports_of_external_addresses_do_not_go_round() {
    const DATAGRAMS: u32 = 5;
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let mut checks = Checks::default();
            for family in Family::BOTH {
                let to = at(external_ip(family, 1), 81);
                let request = Request::new(Proto::Udp, to, DATAGRAMS).timeout_ms(200);
                checks.fails("closed", &cluster.client, &request, Failure::Timeout);
            }
            checks.verdict()?;
            let series = r#"kubeshunt_outcomes_total{reason="routing_loop",hook="tc_ingress"}"#;
            let agent = cluster.a.agent()?;
            // Each once: none came a second time.
            wait::until("each is dropped once", wait::SOON, || {
                let dropped = agent.metric(series)?;
                let right = (dropped - f64::from(2 * DATAGRAMS)).abs() < 0.5;
                ensure!(right, "{dropped} were dropped");
                Ok(())
            })
        },
    );
}
