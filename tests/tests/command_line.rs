//! `services`, `backends`, `flows`, `version`: from the pinned maps, with and without an agent; names while it runs.

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::probe::process::Talk;
use integration::probe::{Mode, Proto, Request};
use integration::testbed::with_agents;
use integration::topology::{Cluster, Family, Options, at};

fn web() -> Service {
    Service::new("web", 1).node_port(30100)
}

fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster
        .manifests
        .service(&web(), &cluster.first_pods()?.map(Endpoint::pod))
}

fn talking(cluster: &Cluster) -> Result<Talk> {
    let [pod, _] = cluster.first_pods()?;
    Talk::start(
        &pod.place,
        &Request::new(Proto::Tcp, at(web().ip(Family::V4), 80), 3)
            .from_port(20_777)
            .mode(Mode::PingPong { pause_us: 2_000 }),
    )?
    .talking()
}

#[test]
fn with_an_agent_there_are_names() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let talk = talking(cluster)?;
            let addresses = cluster
                .first_pods()?
                .map(|pod| (pod.addr4.to_string(), pod.addr6.to_string()));
            let agent = cluster.a.agent.as_ref().context("no agent")?;
            let text = |args: &[&str]| -> Result<String> {
                let output = agent.cli(args)?;
                ensure!(
                    output.status.success(),
                    "{args:?}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                Ok(String::from_utf8(output.stdout)?)
            };
            for (what, wanted) in [
                (
                    "services",
                    vec!["default/web", "10.96.0.1", "fd00:10:96::1", "30100"],
                ),
                (
                    "backends",
                    addresses
                        .iter()
                        .flat_map(|(v4, v6)| [v4.as_str(), v6.as_str()])
                        .collect(),
                ),
                ("flows", vec!["20777", "10.96.0.1"]),
            ] {
                let table = text(&[what])?;
                let json = agent.cli_json(&[what])?.to_string();
                for word in wanted {
                    ensure!(
                        table.contains(word),
                        "`{what}` does not show {word}:\n{table}"
                    );
                    ensure!(
                        json.contains(word.trim_start_matches("default/")),
                        "`{what} --output json` does not show {word}:\n{json}"
                    );
                }
            }
            ensure!(
                talk.finish()?.failures().count() == 0,
                "the connections broke"
            );
            Ok(())
        },
    );
}

#[test]
fn without_an_agent_there_are_addresses() {
    with_agents(
        Options::default(),
        &AgentOptions::default(),
        prepare,
        |cluster| {
            let talk = talking(cluster)?;
            let agent = cluster.a.agent()?;
            agent.kill()?;
            for (what, word) in [
                ("services", "10.96.0.1"),
                ("backends", "10.244.1.10"),
                ("flows", "20777"),
            ] {
                let json = agent.cli_json(&[what])?.to_string();
                ensure!(json.contains(word), "`{what}` does not show {word}: {json}");
            }
            ensure!(
                talk.finish()?.failures().count() == 0,
                "the connections broke"
            );
            Ok(())
        },
    );
}

#[test]
fn version_needs_nothing() {
    with_agents(
        Options {
            pods: 0,
            ..Options::default()
        },
        &AgentOptions::default(),
        |_| Ok(()),
        |cluster| {
            let output = cluster
                .a
                .host
                .command(integration::binaries::kube_shunt()?)?
                .arg("version")
                .output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            ensure!(
                output.status.success() && text.contains(env!("CARGO_PKG_VERSION")),
                "{text}"
            );
            Ok(())
        },
    );
}
