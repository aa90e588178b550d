//! Objects that nobody sane would write, through the real agent: obeyed where kube-proxy obeys, and never at the cost of others.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::maps::Frontends;
use integration::probe::{Proto, Request, process};
use integration::testbed::with_agents;
use integration::topology::addresses::{cluster_ip, external_ip};
use integration::topology::{Cluster, Family, Options, Pod, at, matrix};
use integration::wait::{self, SOON};

/// The first pods of both nodes answer at `ip`:`port`, whoever asks.
fn served(
    cluster: &Cluster,
    checks: &mut Checks,
    what: &str,
    ip: impl Fn(Family) -> IpAddr,
    port: u16,
    servers: &[&str],
) -> Result<()> {
    for (family, proto) in matrix() {
        let request = Request::new(proto, at(ip(family), port), MANY);
        let pod = &cluster.first_pods()?[1].place;
        for place in [pod, &cluster.a.host, &cluster.client] {
            checks.answered_any_source(what, place, &request, servers);
        }
    }
    Ok(())
}

#[test]
fn semantics_21_8_external_ip_that_is_the_ssh_address_of_a_node_is_obeyed_and_told_once() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let ssh = Service {
                port: 22,
                external_ips: Family::BOTH.map(|family| cluster.a.ip(family)).to_vec(),
                ..Service::new("ssh", 1)
            };
            cluster
                .manifests
                .service(&ssh, &cluster.first_pods()?.map(Endpoint::pod))
        },
        |cluster| {
            let _ssh = cluster.a.serve("sshd", 22)?;
            let _other = cluster.a.serve("other", 23)?;
            let mut checks = Checks::default();
            let servers = cluster.first_pods()?.map(Pod::name);
            let own = |family| cluster.a.ip(family);
            served(cluster, &mut checks, "taken", own, 22, &servers)?;
            served(cluster, &mut checks, "its other ports", own, 23, &["other"])?;
            checks.verdict()?;
            // The Service changes, and is still the same.
            for port in [2222, 22] {
                let ssh = Service {
                    port,
                    external_ips: Family::BOTH.map(own).to_vec(),
                    ..Service::new("ssh", 1)
                };
                cluster.manifests.service(&ssh, &cluster.endpoints())?;
                let frontends = Frontends::open(cluster.a.bpf_root())?;
                wait::until("the change is in the kernel", SOON, || {
                    let counts = frontends.counts(own(Family::V4), port, Proto::Tcp)?;
                    ensure!(counts == Some([4; 3]), "{counts:?}");
                    Ok(())
                })?;
            }
            let addresses = Family::BOTH.map(own);
            let log = cluster.a.agent()?.log();
            for ip in addresses {
                let told = log
                    .matches(&format!("external IP {ip} is an address of node node-a"))
                    .count();
                ensure!(told == 1, "{ip} was told {told} times:\n{log}");
            }
            let log = cluster.b.agent()?.log();
            ensure!(!log.contains("is an address of node"), "{log}");
            Ok(())
        },
    );
}

/// An owner of the external address 1, made at `time`.
fn owner(cluster: &Cluster, name: &str, index: u8, time: &str, pod: &Pod) -> Result<()> {
    let [v4, v6] = Family::BOTH.map(|family| cluster_ip(family, index));
    let [vip4, vip6] = Family::BOTH.map(|family| external_ip(family, 1));
    let yaml = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default, creationTimestamp: \"{time}\"}}\nspec:\n  clusterIP: {v4}\n  \
        clusterIPs: [{v4}, \"{v6}\"]\n  externalIPs: [{vip4}, \"{vip6}\"]\n  ports:\n  - {{name: tcp, protocol: TCP, port: 80}}\n  - {{name: udp, protocol: UDP, port: 80}}\n"
    );
    cluster
        .manifests
        .endpoints(&Service::new(name, index), &[Endpoint::pod(pod)])?;
    cluster.manifests.write(&format!("service-{name}"), &yaml)
}

#[test]
fn semantics_2_13_frontend_of_two_services_is_the_olders_and_handed_over() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            let [a, b] = cluster.first_pods()?;
            // By name and by file the younger one comes first.
            owner(cluster, "alpha", 1, "2026-01-02T00:00:00Z", a)?;
            owner(cluster, "beta", 2, "2026-01-01T00:00:00Z", b)
        },
        |cluster| {
            let vip = |family| external_ip(family, 1);
            let [young, old] = cluster.first_pods()?.map(Pod::name);
            let mut checks = Checks::default();
            served(cluster, &mut checks, "the older", vip, 80, &[old])?;
            served(
                cluster,
                &mut checks,
                "what only the younger asks for",
                |family| cluster_ip(family, 1),
                80,
                &[young],
            )?;
            checks.verdict()?;
            // Each node follows in its own time.
            let taken_by = |server: &str| -> Result<()> {
                for place in [&cluster.a.host, &cluster.b.host] {
                    for (family, proto) in matrix() {
                        let request = Request::new(proto, at(vip(family), 80), 5).timeout_ms(1_000);
                        wait::until(&format!("{server} has the address"), SOON, || {
                            let report = process::ask(place, &request)?;
                            ensure!(report.servers().keys().eq([&server]), "{report:?}");
                            Ok(())
                        })?;
                    }
                }
                Ok(())
            };
            cluster.manifests.remove_service("beta")?;
            taken_by(young)?;
            owner(
                cluster,
                "beta",
                2,
                "2026-01-01T00:00:00Z",
                cluster.first_pods()?[1],
            )?;
            taken_by(old)?;
            let mut checks = Checks::default();
            served(cluster, &mut checks, "the older again", vip, 80, &[old])?;
            checks.verdict()?;
            let log = cluster.a.agent()?.log();
            ensure!(
                log.contains("default/beta") && log.contains("duplicate_frontend"),
                "{log}"
            );
            Ok(())
        },
    );
}

/// SEMANTICS 21.4: there is no limit.
#[test]
fn semantics_21_4_ten_thousand_ports_of_one_service() {
    const PORTS: u16 = 10_000;
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            cluster.manifests.service(
                &Service::new("web", 1),
                &cluster.first_pods()?.map(Endpoint::pod),
            )
        },
        |cluster| {
            let [v4, v6] = Family::BOTH.map(|family| cluster_ip(family, 2));
            let mut service = format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: wide, namespace: default}}\nspec:\n  clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n  ports:\n"
            );
            let mut ports = String::new();
            for port in 1..=PORTS {
                writeln!(
                    service,
                    "  - {{name: p{port}, protocol: TCP, port: {port}}}"
                )?;
                writeln!(ports, "- {{name: p{port}, protocol: TCP, port: 8080}}")?;
            }
            let [pod, _] = cluster.first_pods()?;
            for family in Family::BOTH {
                let yaml = format!(
                    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: wide-{name}, namespace: default, labels: {{kubernetes.io/service-name: wide}}}}\n\
                    addressType: {name}\nendpoints:\n- {{addresses: [\"{}\"], nodeName: node-a, conditions: {{ready: true}}}}\nports:\n{ports}",
                    pod.ip(family),
                    name = family.name(),
                );
                cluster
                    .manifests
                    .write(&format!("slice-wide-{}", family.name()), &yaml)?;
            }
            cluster.manifests.write("service-wide", &service)?;
            for node in cluster.nodes() {
                let frontends = Frontends::open(node.bpf_root())?;
                wait::until("all ports are in the kernel", SOON, || {
                    for port in 1..=PORTS {
                        for ip in [v4, v6] {
                            let counts = frontends.counts(ip, port, Proto::Tcp)?;
                            ensure!(counts == Some([1; 3]), "{ip}:{port}: {counts:?}");
                        }
                    }
                    Ok(())
                })?;
            }
            let mut checks = Checks::default();
            for family in Family::BOTH {
                for port in [1, 4_096, PORTS] {
                    for place in [
                        &cluster.first_pods()?[1].place,
                        &cluster.a.host,
                        &cluster.client,
                    ] {
                        let request = Request::new(Proto::Tcp, at(cluster_ip(family, 2), port), 3);
                        checks.answered_any_source("one of many", place, &request, &[pod.name()]);
                    }
                }
            }
            let servers = cluster.first_pods()?.map(Pod::name);
            served(
                cluster,
                &mut checks,
                "the others",
                |family| cluster_ip(family, 1),
                80,
                &servers,
            )?;
            checks.verdict()?;
            cluster.manifests.remove("service-wide")?;
            let frontends = Frontends::open(cluster.a.bpf_root())?;
            wait::until("all ports are gone", SOON, || {
                for port in 1..=PORTS {
                    let found = frontends.get(v4, port, Proto::Tcp)?;
                    found
                        .is_none()
                        .then_some(())
                        .with_context(|| format!("port {port}"))?;
                }
                Ok(())
            })
        },
    );
}
