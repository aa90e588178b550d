//! The API server is late, or not where it was: the agent waits, finds it, and needs no `ClusterIP` for it (DESIGN 7).

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::control_plane::frame::{Api, with_control_plane};
use integration::control_plane::objects::{self, SERVICES, SLICES};
use integration::control_plane::rbac;
use integration::control_plane::traffic::service_ips;
use integration::topology::addresses::ROUTER4;
use integration::wait::{self, SOON};
use serde_json::json;

fn options(api: &Api<'_>) -> Result<AgentOptions> {
    let client = &api.plane.client;
    rbac::install(client, &rbac::render(&[])?)?;
    let kubeconfig = Some(api.plane.kubeconfig("agent", &rbac::token(client)?)?);
    let options = AgentOptions {
        kubeconfig,
        ..AgentOptions::default()
    };
    Ok(options.with("watch-backoff-max-milliseconds", "500"))
}

/// A Service with the first pod of node-a behind it.
fn serve(api: &Api<'_>, name: &str, index: u8) -> Result<()> {
    let pod = api.cluster.a.pods.first().context("node-a has no pods")?;
    api.register_pod(pod, name)?;
    api.plane.client.create(
        SERVICES,
        &objects::service(name, Some(name), service_ips(index)),
    )?;
    Ok(())
}

#[test]
fn agent_that_starts_before_the_api_server_waits_and_then_serves() {
    with_control_plane(|api| {
        api.register_nodes()?;
        let options = options(api)?;
        serve(api, "web", 70)?;
        api.plane.kill_api()?;
        for node in [&mut api.cluster.a, &mut api.cluster.b] {
            node.start_agent(std::path::Path::new("/unused"), &options)?;
            let agent = node.agent()?;
            wait::until(
                "the agent tells that it is alive and not ready",
                SOON,
                || {
                    let live = agent.http(10256, "/livez")?;
                    ensure!(live.starts_with("HTTP/1.1 200"), "{live}");
                    let ready = agent.http(10256, "/healthz")?;
                    ensure!(ready.starts_with("HTTP/1.1 503"), "{ready}");
                    let errors = agent.metric(r#"kubeshunt_watch_errors_total{kind="Service"}"#)?;
                    ensure!(errors >= 1.0, "it did not try yet");
                    Ok(())
                },
            )?;
        }
        api.plane.start_api()?;
        for node in [&mut api.cluster.a, &mut api.cluster.b] {
            node.agent()?.wait_ready()?;
        }
        let first = api.cluster.first_pods()?[0].name().to_owned();
        api.answers("after a late start", service_ips(70), 80, &[&first])
    });
}

#[test]
fn api_server_is_found_again_at_a_remembered_endpoint() {
    with_control_plane(|api| {
        api.register_nodes()?;
        let options = options(api)?;
        // What API servers write of themselves; here the test does.
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
            "addressType": "IPv4",
            "ports": [{ "name": "https", "protocol": "TCP", "port": 6443 }],
            "endpoints": [{ "addresses": [ROUTER4], "conditions": { "ready": true } }],
        });
        api.plane.client.create(SLICES, &slice)?;
        api.cluster.start_agents(&options)?;
        let agent = api.cluster.a.agent()?;
        // By a task of its own.
        wait::until("the endpoint is remembered", SOON, || {
            let text = std::fs::read_to_string(agent.state_dir().join("apiserver-addresses.json"))?;
            ensure!(text.contains(&ROUTER4.to_string()), "{text}");
            Ok(())
        })?;
        agent.stop()?;

        // The next start finds nobody at the configured address.
        let file = options.kubeconfig.as_ref().context("no kubeconfig")?;
        let text = std::fs::read_to_string(file)?;
        std::fs::write(file, text.replace(":6443", ":6444"))?;
        agent.restart()?;
        agent.wait_ready()?;
        let log = agent.log();
        ensure!(log.contains("remembered endpoint"), "{log}");
        serve(api, "web", 71)?;
        let first = api.cluster.first_pods()?[0].name().to_owned();
        api.answers(
            "watched through the remembered address",
            service_ips(71),
            80,
            &[&first],
        )
    });
}
