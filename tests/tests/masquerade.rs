//! Whose source address is kept (SEMANTICS 9), and who counts as a pod of this node (9.4), by configuration.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::place::Place;
use integration::probe::{Failure, Request, process};
use integration::testbed::{configured, with_cluster};
use integration::topology::{Cluster, Options, at, matrix};

/// Node ports: of each node's first pod, then the same with externalTrafficPolicy Local.
const PORTS: [u16; 4] = [30_501, 30_502, 30_503, 30_504];

fn service(index: u8) -> Service {
    Service {
        external_local: index > 2,
        ..Service::new(&format!("web-{index}"), index).node_port(PORTS[usize::from(index) - 1])
    }
}

/// Runs `test` with agents that read `settings`: lines of a `KubeProxyConfiguration`, lines of a `KubeShuntConfiguration`.
fn with_config(settings: [&str; 2], test: impl FnOnce(&Cluster) -> Result<()>) {
    with_cluster(Options::default(), |cluster| {
        let [a, b] = cluster.first_pods()?.map(Endpoint::pod);
        for (index, pod) in [(1, &a), (2, &b), (3, &a), (4, &b)] {
            cluster
                .manifests
                .service(&service(index), std::slice::from_ref(pod))?;
        }
        let options = configured(cluster, settings)?;
        cluster.start_agents(&options)?;
        test(cluster)
    });
}

/// Asks `request` at `place`, whose address is `own`: the server must see that address, or must not.
fn keeps(checks: &mut Checks, place: &Place, own: IpAddr, request: &Request, kept: bool) {
    let outcome = process::ask(place, request).and_then(|report| {
        ensure!(report.failures().count() == 0, "{report:?}");
        let seen: Vec<IpAddr> = report.answers().map(|answer| answer.client.ip()).collect();
        ensure!(
            seen.iter().all(|ip| (*ip == own) == kept),
            "kept: {kept}, seen: {seen:?}"
        );
        Ok(())
    });
    checks.note("source address", place, request, outcome);
}

const CLUSTER_CIDR: &str =
    "detectLocalMode: ClusterCIDR\nclusterCIDR: \"10.244.0.0/16,fd00:244::/32\"";

#[test]
fn as_kube_proxy_masquerades() {
    with_config([CLUSTER_CIDR, "sourceIP: kube-proxy"], |cluster| {
        let mut checks = Checks::default();
        for (family, proto) in matrix() {
            let ask = |to| Request::new(proto, to, 3);
            for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
                let other = 3 - node.number();
                let own = pod.ip(family);
                let cluster_ip = ask(at(service(other).ip(family), 80));
                keeps(&mut checks, &pod.place, own, &cluster_ip, true);
                // Everybody is masqueraded on the way to a NodePort, unless its policy is Local.
                let cluster_wide = ask(at(node.ip(family), PORTS[usize::from(other) - 1]));
                keeps(&mut checks, &pod.place, own, &cluster_wide, false);
                let local = ask(at(node.ip(family), PORTS[usize::from(other) + 1]));
                keeps(&mut checks, &pod.place, own, &local, true);
                // The outside client, to a pod behind the node that it asks.
                let here = usize::from(node.number());
                let own = cluster.client_ip(family);
                let cluster_wide = ask(at(node.ip(family), PORTS[here - 1]));
                keeps(&mut checks, &cluster.client, own, &cluster_wide, false);
                let local = ask(at(node.ip(family), PORTS[here + 1]));
                keeps(&mut checks, &cluster.client, own, &local, true);
            }
            // ClusterIPs are routed to node-a.
            let own = cluster.client_ip(family);
            for index in [1, 2] {
                let request = ask(at(service(index).ip(family), 80));
                keeps(&mut checks, &cluster.client, own, &request, false);
            }
        }
        checks.verdict()
    });
}

#[test]
fn all_are_masqueraded_towards_cluster_ips() {
    let settings = [
        "iptables: {masqueradeAll: true}\nnftables: {masqueradeAll: true}",
        "",
    ];
    with_config(settings, |cluster| {
        let mut checks = Checks::default();
        for (family, proto) in matrix() {
            for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
                let other = 3 - node.number();
                let own = pod.ip(family);
                let request = Request::new(proto, at(service(other).ip(family), 80), 3);
                keeps(&mut checks, &pod.place, own, &request, false);
                // Not so towards other addresses (9.2), where the address is preserved by default.
                let to = at(node.ip(family), PORTS[usize::from(other) - 1]);
                keeps(
                    &mut checks,
                    &pod.place,
                    own,
                    &Request::new(proto, to, 3),
                    true,
                );
                let to = at(node.ip(family), PORTS[usize::from(node.number()) - 1]);
                let own = cluster.client_ip(family);
                keeps(
                    &mut checks,
                    &cluster.client,
                    own,
                    &Request::new(proto, to, 3),
                    true,
                );
            }
        }
        checks.verdict()
    });
}

/// A pod of this node reaches a pod elsewhere through its own node's address with policy Local (4.4 a); others are dropped.
fn detects(settings: &str, pods_of_a: bool, pods_of_b: bool) {
    with_config([settings, ""], |cluster| {
        let mut checks = Checks::default();
        for (family, proto) in matrix() {
            for ((node, pod), local) in cluster
                .nodes()
                .into_iter()
                .zip(cluster.first_pods()?)
                .zip([pods_of_a, pods_of_b])
            {
                let elsewhere = usize::from(3 - node.number());
                let to = at(node.ip(family), PORTS[elsewhere + 1]);
                if local {
                    let request = Request::new(proto, to, 3);
                    keeps(&mut checks, &pod.place, pod.ip(family), &request, true);
                } else {
                    let request = Request::new(proto, to, 1).timeout_ms(500);
                    checks.fails("no local pod", &pod.place, &request, Failure::Timeout);
                }
            }
        }
        checks.verdict()
    });
}

#[test]
fn local_pods_are_known_by_their_device() {
    detects("", true, true);
}

#[test]
fn local_pods_are_known_by_the_cluster_cidr() {
    detects(CLUSTER_CIDR, true, true);
}

#[test]
fn local_pods_are_known_by_the_first_cidr_of_the_cluster_only() {
    let settings = "detectLocalMode: ClusterCIDR\nclusterCIDR: \"10.244.2.0/24,fd00:244:2::/64\"";
    detects(settings, false, true);
}

#[test]
fn local_pods_are_known_by_the_cidrs_of_their_node() {
    detects("detectLocalMode: NodeCIDR", true, true);
}

#[test]
fn local_pods_are_known_by_the_bridge() {
    let settings = "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}";
    detects(settings, true, false);
}

#[test]
fn local_pods_are_known_by_the_prefix_of_their_device() {
    let settings = "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: cali}";
    detects(settings, false, true);
}
