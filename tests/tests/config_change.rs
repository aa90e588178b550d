//! An agent whose configuration file changes ends, and its supervisor starts it with the new settings (SEMANTICS 13.6); the kernel serves meanwhile.

use anyhow::{Result, ensure};
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::Request;
use integration::testbed::{configured, with_cluster};
use integration::topology::{Cluster, Options, Pod, at, matrix};

const NODE_PORT: u16 = 30_950;

fn served(cluster: &Cluster, what: &str) -> Result<()> {
    let mut checks = Checks::default();
    let servers = cluster.first_pods()?.map(Pod::name);
    for (family, proto) in matrix() {
        for (place, to) in [
            (
                &cluster.first_pods()?[0].place,
                at(Service::new("web", 1).ip(family), 80),
            ),
            (&cluster.a.host, at(Service::new("web", 1).ip(family), 80)),
            (&cluster.client, at(cluster.a.ip(family), NODE_PORT)),
        ] {
            checks.answered_any_source(what, place, &Request::new(proto, to, MANY), &servers);
        }
    }
    checks.verdict()
}

#[test]
fn semantics_13_6_changed_file_ends_the_agent_and_is_obeyed_by_the_next() {
    with_cluster(Options::default(), |cluster| {
        let service = Service::new("web", 1).node_port(NODE_PORT);
        let endpoints = cluster.first_pods()?.map(Endpoint::pod);
        cluster.manifests.service(&service, &endpoints)?;
        let options = configured(cluster, ["mode: nftables", ""])?;
        cluster.start_agents(&options)?;
        served(cluster, "before")?;
        configured(
            cluster,
            ["mode: iptables\nconntrack: {tcpEstablishedTimeout: 1h}", ""],
        )?;
        for node in [&mut cluster.a, &mut cluster.b] {
            let status = node.agent()?.wait_ended(integration::wait::SOON)?;
            ensure!(!status.success(), "it ended as if all were well: {status}");
            let log = node.agent()?.log();
            ensure!(
                log.contains("config.yaml"),
                "the log does not say why:\n{log}"
            );
        }
        served(cluster, "without agents")?;
        for node in [&mut cluster.a, &mut cluster.b] {
            node.agent()?.restart()?;
            node.agent()?.wait_ready()?;
            let mode = node.agent()?.http(10249, "/proxyMode")?;
            ensure!(mode.ends_with("\r\niptables"), "{mode}");
            let configz = node.agent()?.http(10249, "/configz")?;
            ensure!(
                configz.contains(r#""tcpEstablishedTimeout":"1h0m0s""#),
                "{configz}"
            );
            // SEMANTICS 10.6.
            let file = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established";
            let seconds = node.host.enter(|| std::fs::read_to_string(file))??;
            ensure!(seconds.trim() == "3600", "{file}: {seconds}");
        }
        served(cluster, "with the new settings")
    });
}
