//! Which addresses a Service opens (SEMANTICS 1.2 to 1.4, 2) and which it leaves to whoever has them: here the router, as a balancer of its own.

use std::net::IpAddr;

use anyhow::Result;
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::process::Server;
use integration::probe::{Failure, Proto, Request};
use integration::testbed::with_agents;
use integration::topology::addresses::{cluster_ip, external_ip};
use integration::topology::{Cluster, Family, Options, Pod, at, matrix};

const NODE_PORT: u16 = 30_700;
const BALANCER: &str = "balancer";

/// A pod and the processes of either node, and who is outside.
fn clients(cluster: &Cluster) -> Result<Vec<&Place>> {
    let mut clients = vec![&cluster.client];
    for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
        clients.extend([&pod.place, &node.host]);
    }
    Ok(clients)
}

/// Gives `ips` to the router, which answers on port 80 of all of them.
fn balancer(cluster: &Cluster, ips: &[IpAddr]) -> Result<Server> {
    cluster.router.own(ips)?;
    Server::start(&cluster.router, BALANCER, 80)
}

#[test]
fn semantics_2_2_address_with_ip_mode_proxy_is_the_balancers() {
    let service = || Service {
        load_balancer_ips: Family::BOTH.map(|family| external_ip(family, 1)).to_vec(),
        ip_mode: "Proxy",
        // 2.2: without effect then.
        spec: "  loadBalancerSourceRanges: [192.0.2.0/24, \"2001:db8:dead::/48\"]\n".to_owned(),
        ..Service::new("proxied", 1).node_port(NODE_PORT)
    };
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let endpoints = cluster.first_pods()?.map(Endpoint::pod);
            cluster.manifests.service(&service(), &endpoints)
        },
        |cluster| {
            let _balancer = balancer(cluster, &service().load_balancer_ips)?;
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            for (family, proto) in matrix() {
                for client in clients(cluster)? {
                    let request = Request::new(proto, at(external_ip(family, 1), 80), 3);
                    checks.answered_any_source("its address", client, &request, &[BALANCER]);
                    for ip in [service().ip(family), cluster.a.ip(family)] {
                        let port = if ip == cluster.a.ip(family) {
                            NODE_PORT
                        } else {
                            80
                        };
                        let request = Request::new(proto, at(ip, port), MANY);
                        checks.answered_any_source("its others", client, &request, &servers);
                    }
                }
            }
            checks.verdict()
        },
    );
}

/// Services that open nothing, and the reason; each has node port `NODE_PORT` + number, and endpoints.
const NOT_OURS: [(u8, &str, &str); 5] = [
    (1, "type: ExternalName\n  externalName: example.org", ""),
    (2, "type: NodePort", "service.kubernetes.io/headless: \"\""),
    (
        3,
        "type: NodePort",
        "service.kubernetes.io/service-proxy-name: other",
    ),
    (
        4,
        "type: NodePort",
        "service.kubernetes.io/service-proxy-name: \"\"",
    ),
    (5, "type: LoadBalancer\n  clusterIP: None", ""),
];

fn not_ours(cluster: &Cluster) -> Result<()> {
    let endpoints = cluster.first_pods()?.map(Endpoint::pod);
    for (index, kind, label) in NOT_OURS {
        let name = format!("other-{index}");
        let [v4, v6] = Family::BOTH.map(|family| cluster_ip(family, index));
        let [vip4, vip6] = Family::BOTH.map(|family| external_ip(family, index));
        let addresses = if kind.contains("None") {
            "clusterIPs: [None]".to_owned()
        } else {
            format!("clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]")
        };
        let port = |protocol: &str| {
            let node_port = NODE_PORT + u16::from(index);
            format!(
                "  - {{name: {}, protocol: {protocol}, port: 80, nodePort: {node_port}}}\n",
                protocol.to_lowercase()
            )
        };
        let yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: default\n  labels: {{{label}}}\nspec:\n  {kind}\n  {addresses}\n  \
            externalIPs: [{vip4}, \"{vip6}\"]\n  ports:\n{}{}",
            port("TCP"),
            port("UDP")
        );
        let service = Service::new(&name, index);
        cluster.manifests.endpoints(&service, &endpoints)?;
        cluster.manifests.write(&format!("service-{name}"), &yaml)?;
    }
    cluster
        .manifests
        .service(&Service::new("ours", 9), &endpoints)
}

#[test]
fn semantics_1_2_and_1_3_services_that_are_not_ours_open_nothing() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| not_ours(cluster),
        |cluster| {
            let ips = |family, index| [cluster_ip(family, index), external_ip(family, index)];
            let all: Vec<IpAddr> = NOT_OURS
                .iter()
                .flat_map(|(index, ..)| Family::BOTH.map(|family| ips(family, *index)))
                .flatten()
                .collect();
            let _balancer = balancer(cluster, &all)?;
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            for (family, proto) in matrix() {
                for client in clients(cluster)? {
                    for (index, kind, label) in NOT_OURS {
                        let what = format!("{kind} {label}");
                        for ip in ips(family, index) {
                            let request = Request::new(proto, at(ip, 80), 2);
                            checks.answered_any_source(&what, client, &request, &[BALANCER]);
                        }
                        let to = at(cluster.a.ip(family), NODE_PORT + u16::from(index));
                        let request = Request::new(proto, to, 1).timeout_ms(4_000);
                        checks.fails(&what, client, &request, Failure::Refused);
                    }
                    let request = Request::new(proto, at(cluster_ip(family, 9), 80), MANY);
                    checks.answered_any_source("ours", client, &request, &servers);
                }
            }
            checks.verdict()
        },
    );
}

/// A Service of one family, and one without node ports.
fn partial(cluster: &Cluster) -> Result<()> {
    let endpoints = cluster.first_pods()?.map(Endpoint::pod);
    for family in Family::BOTH {
        let (index, ip) = (
            family_index(family),
            cluster_ip(family, family_index(family)),
        );
        let [vip4, vip6] = Family::BOTH.map(|family| external_ip(family, index));
        let name = format!("only-{}", family.name().to_lowercase());
        let node_port = NODE_PORT + u16::from(index);
        let yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  type: LoadBalancer\n  clusterIP: \"{ip}\"\n  \
            clusterIPs: [\"{ip}\"]\n  ipFamilies: [{}]\n  ipFamilyPolicy: SingleStack\n  externalIPs: [{vip4}, \"{vip6}\"]\n  ports:\n  \
            - {{name: tcp, protocol: TCP, port: 80, nodePort: {node_port}}}\n  - {{name: udp, protocol: UDP, port: 80, nodePort: {node_port}}}\n",
            family.name(),
        );
        cluster
            .manifests
            .endpoints(&Service::new(&name, index), &endpoints)?;
        cluster.manifests.write(&format!("service-{name}"), &yaml)?;
    }
    let unallocated = Service {
        load_balancer_ips: Family::BOTH.map(|family| external_ip(family, 3)).to_vec(),
        spec: "  allocateLoadBalancerNodePorts: false\n".to_owned(),
        ..Service::new("unallocated", 3)
    };
    cluster.manifests.service(&unallocated, &endpoints)
}

const fn family_index(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}

#[test]
fn semantics_1_4_and_2_10_a_family_or_node_ports_that_were_not_asked_for_are_not_there() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| partial(cluster),
        |cluster| {
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            for (family, proto) in matrix() {
                let other = if family == Family::V4 {
                    Family::V6
                } else {
                    Family::V4
                };
                let frontends = |index: u8| {
                    let node_port = NODE_PORT + u16::from(index);
                    [
                        at(external_ip(family, index), 80),
                        at(cluster.a.ip(family), node_port),
                    ]
                };
                for client in clients(cluster)? {
                    for to in frontends(family_index(family)) {
                        let request = Request::new(proto, to, MANY);
                        checks.answered_any_source("its family", client, &request, &servers);
                    }
                    let [_, to] = frontends(family_index(other));
                    let request = Request::new(proto, to, 1).timeout_ms(4_000);
                    checks.fails("the other family", client, &request, Failure::Refused);
                    let request = Request::new(proto, at(external_ip(family, 3), 80), MANY);
                    checks.answered_any_source("no node ports", client, &request, &servers);
                }
            }
            let services = cluster.a.agent()?.cli_json(&["services"])?;
            let text = services.to_string();
            let of_family =
                |name: &str, ip: IpAddr| text.contains(name) && text.contains(&ip.to_string());
            anyhow::ensure!(
                Family::BOTH.into_iter().all(|family| {
                    let other = if family == Family::V4 {
                        Family::V6
                    } else {
                        Family::V4
                    };
                    let index = family_index(family);
                    of_family("unallocated", external_ip(family, index))
                        && !text.contains(&external_ip(other, index).to_string())
                }),
                "{services:#}"
            );
            checks.verdict()
        },
    );
}

/// SEMANTICS 2.6: one address and port, one node port number, and another Service for each protocol.
#[test]
fn semantics_2_6_one_address_and_port_of_two_services_by_protocol() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let pods = cluster.first_pods()?.map(Endpoint::pod);
            for ((index, protocol), pod) in [(1, "TCP"), (2, "UDP")].into_iter().zip(pods) {
                let name = format!("one-{}", protocol.to_lowercase());
                let [v4, v6] = Family::BOTH.map(|family| cluster_ip(family, index));
                let [vip4, vip6] = Family::BOTH.map(|family| external_ip(family, 1));
                let yaml = format!(
                    "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  type: NodePort\n  clusterIP: {v4}\n  \
                    clusterIPs: [{v4}, \"{v6}\"]\n  externalIPs: [{vip4}, \"{vip6}\"]\n  ports:\n  \
                    - {{name: {}, protocol: {protocol}, port: 80, nodePort: {NODE_PORT}}}\n",
                    protocol.to_lowercase(),
                );
                cluster
                    .manifests
                    .endpoints(&Service::new(&name, index), &[pod])?;
                cluster.manifests.write(&format!("service-{name}"), &yaml)?;
            }
            Ok(())
        },
        |cluster| {
            let mut checks = Checks::default();
            let [a, b] = cluster.first_pods()?.map(Pod::name);
            for (family, proto) in matrix() {
                let server = if proto == Proto::Tcp { a } else { b };
                for client in clients(cluster)? {
                    for to in [
                        at(external_ip(family, 1), 80),
                        at(cluster.a.ip(family), NODE_PORT),
                    ] {
                        let request = Request::new(proto, to, 5);
                        checks.answered_any_source("by protocol", client, &request, &[server]);
                    }
                }
            }
            checks.verdict()
        },
    );
}
