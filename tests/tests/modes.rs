//! `mode` and nodePortAddresses of a `KubeProxyConfiguration`: the differences that a client sees (SEMANTICS 3, 23).

use std::net::IpAddr;

use anyhow::{Result, ensure};
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::probe::process::Server;
use integration::probe::{Failure, Request};
use integration::testbed::{configured, with_cluster};
use integration::topology::addresses::{self, cluster_ip, external_ip};
use integration::topology::{Cluster, Family, Options, at, matrix};

const NODE_PORT: u16 = 30_800;
/// Of the Service without endpoints.
const EMPTY_PORT: u16 = 30_801;
/// A process of the node that has the same ports; who hears it was not served by us.
const NODE: &str = "in-the-node";
const ROUTER: &str = "router";

/// What a mode does.
struct Expected {
    /// Lines of the `KubeProxyConfiguration`.
    settings: &'static str,
    /// Answer of /proxyMode.
    mode: &'static str,
    /// `NodePorts` on the Node object's addresses, on the bridge's, on 127.0.0.1 and on `::1`.
    served: [bool; 4],
    /// Reject a `NodePort` without endpoints on every address, not only on the served ones.
    reject_everywhere: bool,
    /// What becomes of unknown ports and free addresses of the service network: left alone, or refused and dropped.
    unknown_passes: bool,
    /// A client in no source range of a Service without endpoints is refused, not dropped.
    blocked_is_refused: bool,
}

fn prepare(cluster: &Cluster) -> Result<()> {
    let [_, pod] = cluster.first_pods()?.map(Endpoint::pod);
    let manifests = &cluster.manifests;
    manifests.service(&Service::new("web", 1).node_port(NODE_PORT), &[pod])?;
    manifests.service(&Service::new("empty", 2).node_port(EMPTY_PORT), &[])?;
    let blocked = Service {
        load_balancer_ips: Family::BOTH.map(|family| external_ip(family, 3)).to_vec(),
        spec: "  loadBalancerSourceRanges: [192.0.2.0/24, \"2001:db8:dead::/48\"]\n".to_owned(),
        ..Service::new("blocked", 3)
    };
    manifests.service(&blocked, &[])?;
    manifests.write(
        "cidrs",
        "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata:\n  name: kubernetes\nspec:\n  cidrs: [\"10.96.0.0/16\", \"fd00:10:96::/112\"]\n",
    )
}

fn gateway(family: Family) -> IpAddr {
    let (v4, v6) = addresses::pod(1, 0);
    family.pick(v4, v6)
}

fn node_ports(cluster: &Cluster, expected: &Expected, checks: &mut Checks) -> Result<()> {
    let [_, pod] = cluster.first_pods()?;
    let host = &cluster.a.host;
    let [primary, bridge, loopback4, loopback6] = expected.served;
    for (family, proto) in matrix() {
        let loopback = if family == Family::V4 {
            loopback4
        } else {
            loopback6
        };
        for (ip, served, outside) in [
            (cluster.a.ip(family), primary, true),
            (gateway(family), bridge, true),
            (family.loopback(), loopback, false),
        ] {
            let clients = if outside {
                vec![host, &cluster.client]
            } else {
                vec![host]
            };
            for client in clients {
                let server = if served { pod.name() } else { NODE };
                let request = Request::new(proto, at(ip, NODE_PORT), 3);
                checks.answered_any_source(expected.settings, client, &request, &[server]);
                let refused = served || expected.reject_everywhere;
                let request = Request::new(proto, at(ip, EMPTY_PORT), 1).timeout_ms(4_000);
                if refused {
                    checks.fails(expected.settings, client, &request, Failure::Refused);
                } else {
                    checks.answered_any_source(expected.settings, client, &request, &[NODE]);
                }
            }
        }
    }
    Ok(())
}

fn others(cluster: &Cluster, expected: &Expected, checks: &mut Checks) -> Result<()> {
    let pod = &cluster.first_pods()?[1].place;
    let host = &cluster.b.host;
    for (family, proto) in matrix() {
        for client in [pod, host] {
            let is_host = client.name == host.name;
            let unreachable = if is_host {
                Failure::Unreachable
            } else {
                Failure::Timeout
            };
            for (index, port, failure) in [(1, 81, Failure::Refused), (99, 81, unreachable)] {
                let request = Request::new(proto, at(cluster_ip(family, index), port), 1);
                if expected.unknown_passes {
                    checks.answered_any_source(expected.settings, client, &request, &[ROUTER]);
                } else {
                    let slow = if failure == Failure::Timeout {
                        500
                    } else {
                        4_000
                    };
                    checks.fails(
                        expected.settings,
                        client,
                        &request.timeout_ms(slow),
                        failure,
                    );
                }
            }
            let request = Request::new(proto, at(external_ip(family, 3), 80), 1);
            if expected.blocked_is_refused {
                checks.fails(
                    expected.settings,
                    client,
                    &request.timeout_ms(4_000),
                    Failure::Refused,
                );
            } else {
                checks.fails(
                    expected.settings,
                    client,
                    &request.timeout_ms(500),
                    unreachable,
                );
            }
        }
    }
    Ok(())
}

fn follows(expected: &Expected) {
    with_cluster(Options::default(), |cluster| {
        prepare(cluster)?;
        let options = configured(cluster, [expected.settings, ""])?;
        cluster.start_agents(&options)?;
        // Packets that pass go to the router by the default route.
        cluster.router.own(
            &Family::BOTH
                .map(|family| [cluster_ip(family, 1), cluster_ip(family, 99)])
                .concat(),
        )?;
        let _router = Server::start(&cluster.router, ROUTER, 81)?;
        let _servers = [
            cluster.a.serve(NODE, NODE_PORT)?,
            cluster.a.serve(NODE, EMPTY_PORT)?,
        ];
        let mut checks = Checks::default();
        node_ports(cluster, expected, &mut checks)?;
        others(cluster, expected, &mut checks)?;
        checks.verdict()?;
        let answer = cluster.a.agent()?.http(10249, "/proxyMode")?;
        ensure!(answer.ends_with(expected.mode), "{answer}");
        Ok(())
    });
}

/// As with no mode at all.
const DEFAULT: Expected = Expected {
    settings: "",
    mode: "nftables",
    served: [true; 4],
    reject_everywhere: false,
    unknown_passes: false,
    blocked_is_refused: false,
};

const IPTABLES: Expected = Expected {
    settings: "mode: iptables",
    mode: "iptables",
    served: [true, true, true, false],
    reject_everywhere: true,
    unknown_passes: true,
    blocked_is_refused: true,
};

#[test]
fn semantics_23_without_a_mode() {
    follows(&DEFAULT);
}

#[test]
fn semantics_23_mode_iptables() {
    follows(&IPTABLES);
}

#[test]
fn semantics_23_mode_nftables() {
    follows(&Expected {
        settings: "mode: nftables",
        served: [true, false, false, false],
        ..DEFAULT
    });
}

#[test]
fn semantics_3_3_localhost_node_ports_off() {
    follows(&Expected {
        settings: "mode: iptables\niptables: {localhostNodePorts: false}",
        served: [true, true, false, false],
        ..IPTABLES
    });
}

/// SEMANTICS 3.6: `mode: iptables` rejects on every address of the node, wherever `NodePorts` are served.
#[test]
fn semantics_3_6_mode_iptables_with_primary_addresses() {
    follows(&Expected {
        settings: "mode: iptables\nnodePortAddresses: [primary]",
        served: [true, false, false, false],
        ..IPTABLES
    });
}

#[test]
fn semantics_3_1_localhost_and_networks() {
    follows(&Expected {
        settings: "nodePortAddresses: [localhost, 10.244.0.0/16, \"fd00:244::/32\"]",
        served: [false, true, true, true],
        ..DEFAULT
    });
}

#[test]
fn semantics_3_1_all_of_mode_nftables() {
    follows(&Expected {
        settings: "mode: nftables\nnodePortAddresses: [all]",
        served: [true, true, false, false],
        ..DEFAULT
    });
}
