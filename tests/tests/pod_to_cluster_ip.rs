//! Row "pod -> ClusterIP": another pod of the node, a pod of another node, itself. The backend sees the pod's own address.

use anyhow::Result;
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::{Mode, Proto, Request, UdpSockets};
use integration::testbed::with_agents;
use integration::topology::addresses::{cluster_ip, hairpin};
use integration::topology::{Cluster, Options, at, matrix};

/// One Service for each pod, in the order of the pods, then one for all.
fn a_service_for_each_pod(cluster: &mut Cluster) -> Result<()> {
    for (index, pod) in (1..).zip(cluster.pods()) {
        cluster
            .manifests
            .service(&Service::new(pod.name(), index), &[Endpoint::pod(pod)])?;
    }
    cluster
        .manifests
        .service(&Service::new("all", 100), &cluster.endpoints())
}

fn every_pod_reaches_every_pod(cluster: &mut Cluster) -> Result<()> {
    let mut checks = Checks::default();
    for (family, proto) in matrix() {
        for client in cluster.pods() {
            for (index, server) in (1..).zip(cluster.pods()) {
                let seen = if client.name() == server.name() {
                    hairpin(family)
                } else {
                    client.ip(family)
                };
                let to = at(cluster_ip(family, index), 80);
                for udp in [UdpSockets::Connected, UdpSockets::OneUnconnected] {
                    checks.answered(
                        "pod to ClusterIP",
                        &client.place,
                        &Request::new(proto, to, 3).udp(udp),
                        &[server.name()],
                        seen,
                    );
                }
            }
        }
    }
    checks.verdict()
}

#[test]
fn each_pod_by_its_own_service() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        a_service_for_each_pod,
        every_pod_reaches_every_pod,
    );
}

#[test]
fn without_bridge_netfilter() {
    // The reply between two ports of a bridge never enters the stack: the case that kube-proxy cannot do.
    let options = Options {
        bridge_netfilter: false,
        ..Options::default()
    };
    with_agents(
        options,
        &AgentOptions::default(),
        a_service_for_each_pod,
        every_pod_reaches_every_pod,
    );
}

#[test]
fn all_backends_take_part() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        a_service_for_each_pod,
        |cluster| {
            let mut checks = Checks::default();
            let names: Vec<&str> = cluster
                .pods()
                .map(integration::topology::Pod::name)
                .collect();
            for (family, proto) in matrix() {
                for client in cluster.pods() {
                    let request = Request::new(proto, at(cluster_ip(family, 100), 80), 2 * MANY);
                    checks.answered_any_source("pod to four pods", &client.place, &request, &names);
                }
            }
            checks.verdict()
        },
    );
}

#[test]
fn bulk_data_arrives_intact() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        a_service_for_each_pod,
        |cluster| {
            let mut checks = Checks::default();
            for (family, mode) in
                integration::topology::Family::BOTH
                    .into_iter()
                    .flat_map(|family| {
                        [
                            Mode::Upload { bytes: 4_000_003 },
                            Mode::Download { bytes: 4_000_003 },
                        ]
                        .map(|mode| (family, mode))
                    })
            {
                for client in cluster.pods() {
                    for (index, server) in (1..).zip(cluster.pods()) {
                        let request =
                            Request::new(Proto::Tcp, at(cluster_ip(family, index), 80), 1)
                                .mode(mode)
                                .timeout_ms(10_000);
                        checks.answered_any_source(
                            "4 MB",
                            &client.place,
                            &request,
                            &[server.name()],
                        );
                    }
                }
            }
            checks.verdict()
        },
    );
}
