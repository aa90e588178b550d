//! Pods appear and vanish at any time: a new one is served at once, a gone one leaves nothing behind.

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::probe::{Proto, Request, process};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Family, Options, at, matrix};
use integration::wait;
use proxy_common::layout::LAYOUT_VERSION;

fn web() -> Service {
    Service::new("web", 1)
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster
        .manifests
        .service(&web(), &cluster.first_pods()?.map(Endpoint::pod))
}

#[test]
fn a_new_pod_is_a_client_at_once() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            for _ in 0..5 {
                let state = &cluster.state;
                for node in [&mut cluster.a, &mut cluster.b] {
                    let index = node.plug_pod(state)?;
                    let pod = node.pods.get(index).context("no pod")?;
                    // Its first packet ever goes to a ClusterIP. A lost SYN would come again after a second.
                    let report = process::ask(
                        &pod.place,
                        &Request::new(Proto::Tcp, at(web().ip(Family::V4), 80), 1).timeout_ms(900),
                    )?;
                    ensure!(
                        report.answers().count() == 1,
                        "{}: {:?}",
                        pod.name(),
                        report.attempts
                    );
                }
            }
            Ok(())
        },
    );
}

#[test]
fn a_new_pod_is_a_backend_at_once() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            for index in 10..13 {
                let service = Service::new(&format!("late-{index}"), index)
                    .node_port(30_000 + u16::from(index));
                let added = cluster.b.add_pod(&cluster.state)?;
                let pod = cluster.b.pods.get(added).context("no pod")?;
                cluster.manifests.service(&service, &[Endpoint::pod(pod)])?;
                cluster.programmed(&service, 1)?;
                let mut checks = Checks::default();
                for (family, proto) in matrix() {
                    for client in cluster.first_pods()? {
                        checks.answered(
                            "late pod",
                            &client.place,
                            &Request::new(proto, at(service.ip(family), 80), 2).timeout_ms(900),
                            &[pod.name()],
                            client.ip(family),
                        );
                    }
                    let request =
                        Request::new(proto, at(cluster.b.ip(family), service.node_port), 2)
                            .timeout_ms(900);
                    checks.answered(
                        "late pod",
                        &cluster.client,
                        &request,
                        &[pod.name()],
                        cluster.client_ip(family),
                    );
                }
                checks.verdict()?;
            }
            Ok(())
        },
    );
}

/// Pins whose name ends in a number: one for each device and direction.
fn device_pins(cluster: &Cluster) -> Result<Vec<String>> {
    let links = cluster
        .a
        .bpf_root()
        .join(format!("v{LAYOUT_VERSION}/links"));
    let names = std::fs::read_dir(&links).with_context(|| format!("list {}", links.display()))?;
    Ok(names
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("tc-"))
        .collect())
}

#[test]
fn a_gone_pod_leaves_nothing_behind() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let before = device_pins(cluster)?;
            for _ in 0..10 {
                cluster.a.plug_pod(&cluster.state)?;
            }
            let covered = |cluster: &Cluster, pods: usize| {
                wait::until("the devices are followed", wait::SOON, || {
                    let now = device_pins(cluster)?;
                    // Below Linux 6.6 nothing is pinned for devices.
                    let expected = if before.is_empty() {
                        0
                    } else {
                        before.len() + 2 * pods
                    };
                    ensure!(now.len() == expected, "{now:?} instead of {expected}");
                    Ok(())
                })
            };
            covered(cluster, 10)?;
            cluster.a.pods.truncate(2);
            covered(cluster, 0)?;
            let [client, _] = cluster.first_pods()?;
            let report = process::ask(
                &client.place,
                &Request::new(Proto::Tcp, at(web().ip(Family::V6), 80), 5),
            )?;
            ensure!(report.answers().count() == 5, "{report:?}");
            Ok(())
        },
    );
}
