//! Broken files and malformed objects are named, counted, and never stop the others.

use anyhow::{Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::maps::Frontends;
use integration::probe::{Proto, Request, process};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Family, Options, at, matrix};
use integration::wait;

/// Each with a fault of its own; the name says which.
const BAD: [(&str, &str); 11] = [
    (
        "no-ports",
        "apiVersion: v1\nkind: Service\nmetadata: {name: no-ports, namespace: default}\nspec: {clusterIP: 10.96.1.1, clusterIPs: [10.96.1.1]}\n",
    ),
    (
        "unknown-protocol",
        "apiVersion: v1\nkind: Service\nmetadata: {name: unknown-protocol, namespace: default}\nspec:\n  clusterIP: 10.96.1.2\n  clusterIPs: [10.96.1.2]\n  ports: [{port: 80, protocol: CARRIER-PIGEON}]\n",
    ),
    (
        "bad-address",
        "apiVersion: v1\nkind: Service\nmetadata: {name: bad-address, namespace: default}\nspec:\n  clusterIP: 10.96.1.300\n  clusterIPs: [10.96.1.300]\n  ports: [{port: 80}]\n",
    ),
    (
        "port-over-range",
        "apiVersion: v1\nkind: Service\nmetadata: {name: port-over-range, namespace: default}\nspec:\n  clusterIP: 10.96.1.4\n  clusterIPs: [10.96.1.4]\n  ports: [{port: 70000, protocol: TCP}]\n",
    ),
    (
        "fqdn-slice",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: fqdn, namespace: default, labels: {kubernetes.io/service-name: web}}\naddressType: FQDN\nendpoints: [{addresses: [example.com]}]\nports: [{name: tcp, port: 8080, protocol: TCP}]\n",
    ),
    (
        "wrong-family",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: wrong-family, namespace: default, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nendpoints: [{addresses: [\"fd00::1\"]}]\nports: [{name: tcp, port: 8080, protocol: TCP}]\n",
    ),
    (
        "nulls",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: nulls, namespace: default, labels: null}\naddressType: IPv4\nendpoints: null\nports: null\n",
    ),
    (
        "null-conditions",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: null-conditions, namespace: default, labels: {kubernetes.io/service-name: other}}\naddressType: IPv4\nendpoints: [{addresses: [10.244.9.9], conditions: null, nodeName: null}]\nports: [{name: tcp, port: 8080, protocol: null}]\n",
    ),
    (
        "takes-anothers-address",
        "apiVersion: v1\nkind: Service\nmetadata: {name: zz, namespace: default}\nspec:\n  clusterIP: 10.96.0.1\n  clusterIPs: [10.96.0.1, \"fd00:10:96::1\"]\n  ports: [{name: tcp, port: 80, protocol: TCP}, {name: udp, port: 80, protocol: UDP}]\n",
    ),
    (
        "stranger",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: stranger}\nspec: {replicas: 3}\n",
    ),
    (
        "broken-yaml",
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: [unclosed\n",
    ),
];

fn web() -> Service {
    Service::new("web", 1)
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster
        .manifests
        .service(&web(), &cluster.first_pods()?.map(Endpoint::pod))
}

fn still_served(cluster: &Cluster) -> Result<()> {
    let [a, b] = cluster.first_pods()?;
    for (family, proto) in matrix() {
        let report = process::ask(&a.place, &Request::new(proto, at(web().ip(family), 80), 40))?;
        ensure!(
            report.servers().keys().eq([&a.name(), &b.name()]),
            "{report:?}"
        );
    }
    Ok(())
}

#[test]
fn there_from_the_start() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        |cluster| {
            BAD.iter()
                .try_for_each(|(name, yaml)| cluster.manifests.write(name, yaml))?;
            prepare(cluster)
        },
        |cluster| {
            still_served(cluster)?;
            let log = cluster.a.agent()?.log();
            for name in [
                "broken-yaml.yaml",
                "unknown-protocol",
                "bad-address",
                "port-over-range",
            ] {
                ensure!(log.contains(name), "the log does not name {name}:\n{log}");
            }
            Ok(())
        },
    );
}

#[test]
fn the_last_good_state_of_a_broken_file_stays() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            // Half of the file, as an editor without rename would leave it for a moment.
            cluster.manifests.write("service-web", "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: default\nspec:\n  clusterIP: [10.96\n")?;
            let agent = cluster.a.agent()?;
            wait::until(
                "the broken file is named, with its line",
                wait::SOON,
                || {
                    let log = agent.log();
                    ensure!(
                        log.lines().any(|line| line.contains("service-web.yaml:7:")),
                        "{log}"
                    );
                    Ok(())
                },
            )?;
            still_served(cluster)?;
            // Mended, and changed: the change arrives.
            let [a, _] = cluster.first_pods()?;
            cluster
                .manifests
                .service(&Service { port: 81, ..web() }, &[Endpoint::pod(a)])?;
            let frontends = Frontends::open(cluster.a.bpf_root())?;
            wait::until("the mended file is in the kernel", wait::SOON, || {
                let counts = (
                    frontends.counts(web().ip(Family::V6), 81, Proto::Udp)?,
                    frontends.counts(web().ip(Family::V4), 80, Proto::Tcp)?,
                );
                ensure!(counts == (Some([1; 3]), None), "{counts:?}");
                Ok(())
            })
        },
    );
}

#[test]
fn a_malformed_object_leaves_the_others_of_its_file_alone() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            // Documents of one file; a port is no number while the object is malformed.
            let write = |ports: [&str; 2]| {
                let documents = ports.iter().zip(1..).map(|(port, number)| {
                    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: default}}\nspec: {{clusterIP: 10.96.2.{number}, clusterIPs: [10.96.2.{number}], ports: [{{port: {port}}}]}}\n")
                });
                cluster
                    .manifests
                    .write("mixed", &documents.collect::<String>())
            };
            let frontends = Frontends::open(cluster.a.bpf_root())?;
            let served = |number: u8, port: u16| -> Result<bool> {
                let ip = std::net::Ipv4Addr::new(10, 96, 2, number).into();
                Ok(frontends.get(ip, port, Proto::Tcp)?.is_some())
            };
            let arrives = |expected: [bool; 3]| {
                wait::until("the good objects", wait::SOON, || {
                    let found = [served(1, 80)?, served(1, 81)?, served(2, 80)?];
                    ensure!(found == expected, "{found:?}");
                    Ok(())
                })
            };
            write(["80", "http"])?;
            arrives([true, false, false])?;
            write(["http", "80"])?;
            arrives([true, false, true])?;
            let agent = cluster.a.agent()?;
            let log = agent.log();
            for number in [1, 2] {
                let named = format!("object=Service default/s{number} problem=\"malformed\"");
                ensure!(log.contains(&named), "{named} is missing in\n{log}");
            }
            let metrics = agent.http(10249, "/metrics")?;
            let counted = "kubeshunt_object_errors_total{kind=\"malformed\"} 2";
            ensure!(metrics.lines().any(|line| line == counted), "{metrics}");
            write(["81", "80"])?;
            arrives([false, true, true])?;
            still_served(cluster)
        },
    );
}

#[test]
fn faults_are_counted() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            for (name, yaml) in BAD {
                cluster.manifests.write(name, yaml)?;
            }
            let agent = cluster.a.agent()?;
            wait::until("the faults are counted", wait::SOON, || {
                let text = agent.http(10249, "/metrics")?;
                let total: f64 = text
                    .lines()
                    .filter(|line| line.starts_with("kubeshunt_object_errors_total{"))
                    .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                    .sum();
                ensure!(total >= 3.0, "{total} faults:\n{text}");
                Ok(())
            })?;
            still_served(cluster)
        },
    );
}

/// More endpoints than any Service has, in one object of more than a megabyte.
#[test]
fn a_megabyte_of_endpoints() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            const ENDPOINTS: u32 = 20_000;
            let huge = Service::new("huge", 2);
            cluster.manifests.service(&huge, &[])?;
            let addresses = (0..ENDPOINTS).map(|number| {
                let ip = std::net::Ipv4Addr::from_bits(0x0ac0_0000 + number);
                format!("- {{addresses: [{ip}], conditions: {{ready: true, serving: true, terminating: false}}}}\n")
            });
            let head = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: huge-many, namespace: default, labels: {kubernetes.io/service-name: huge}}\naddressType: IPv4\nports: [{name: tcp, port: 8080, protocol: TCP}]\nendpoints:\n";
            let yaml = head.to_owned() + &addresses.collect::<String>();
            ensure!(
                yaml.len() > 1_000_000,
                "{} bytes are no megabyte",
                yaml.len()
            );
            cluster.manifests.write("slice-huge-many", &yaml)?;
            let frontends = Frontends::open(cluster.a.bpf_root())?;
            wait::until("all endpoints are in the kernel", wait::SOON, || {
                let counts = frontends.counts(huge.ip(Family::V4), 80, Proto::Tcp)?;
                ensure!(counts == Some([ENDPOINTS; 3]), "{counts:?}");
                Ok(())
            })?;
            still_served(cluster)
        },
    );
}
