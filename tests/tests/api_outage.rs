//! The API server dies, comes back, and forgets its history: traffic flows on, and no change is missed.

use anyhow::{Context as _, Result, ensure};
use integration::control_plane::frame::{Api, with_api};
use integration::control_plane::objects::{self, SERVICES};
use integration::control_plane::traffic::service_ips;
use integration::probe::process::Talk;
use integration::probe::{Mode, Proto, Request};
use integration::topology::at;
use integration::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A Service with the first pod of node-a behind it; the pod's name.
fn serve(api: &Api<'_>, service: &str, index: u8) -> Result<String> {
    let pod = api.cluster.a.pods.first().context("node-a has no pods")?;
    api.register_pod(pod, service)?;
    api.plane.client.create(
        SERVICES,
        &objects::service(service, Some(service), service_ips(index)),
    )?;
    api.answers(service, service_ips(index), 80, &[pod.name()])?;
    Ok(pod.name().to_owned())
}

#[test]
fn api_server_killed_and_restarted_loses_nothing() {
    with_api(|api| {
        let ips = service_ips(30);
        let first = serve(api, "web", 30)?;
        let mut talks = Vec::new();
        for client in api.clients()? {
            for ip in ips {
                let request = Request::new(Proto::Tcp, at(ip, 80), 2)
                    .mode(Mode::PingPong { pause_us: 2_000 });
                talks.push(Talk::start(client, &request)?.talking()?);
            }
        }
        api.plane.kill_api()?;
        for node in [&mut api.cluster.a, &mut api.cluster.b] {
            let agent = node.agent()?;
            // Nothing waits to be applied, so the node is as healthy as before.
            let health = agent.http(10256, "/healthz")?;
            ensure!(
                health.contains(" 200 "),
                "{}: unhealthy without the API server: {health}",
                node.name()
            );
        }
        api.answers("new connections without the API server", ips, 80, &[&first])?;
        api.plane.start_api()?;

        let second = api.cluster.b.pods.first().context("node-b has no pods")?;
        api.register_pod(second, "web")?;
        api.answers(
            "a pod that came after the restart",
            ips,
            80,
            &[&first, second.name()],
        )?;
        for talk in talks {
            let report = talk.finish()?;
            let failures: Vec<_> = report.failures().collect();
            ensure!(
                failures.is_empty() && report.sent == report.answered,
                "connections were lost: {failures:?}"
            );
            ensure!(
                report.answered > 0,
                "a connection that said nothing proves nothing"
            );
        }
        Ok(())
    });
}

/// Agents that do not run are agents that miss everything.
fn signal_agents(api: &mut Api<'_>, signal: Signal) -> Result<()> {
    for node in [&mut api.cluster.a, &mut api.cluster.b] {
        let pid = node.agent()?.pid().context("no agent runs")?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal)?;
    }
    Ok(())
}

#[test]
fn compacted_history_is_relisted() {
    with_api(|api| {
        let (kept, gone, made) = (service_ips(31), service_ips(32), service_ips(33));
        let first = serve(api, "kept", 31)?;
        let client = api.plane.client.clone();
        client.create(SERVICES, &objects::service("gone", Some("kept"), gone))?;
        api.answers("gone, while it lives", gone, 80, &[&first])?;
        let before = client.get("/api/v1/services?limit=1")?;
        let before = before["metadata"]["resourceVersion"]
            .as_str()
            .context("no resourceVersion")?
            .to_owned();

        // The agents sleep through the end of their watches, the changes, and the end of the history. The server is
        // restarted before the changes, which must not wait in the agents' sockets, and after them: it remembers a while.
        signal_agents(api, Signal::SIGSTOP)?;
        api.plane.kill_api()?;
        api.plane.start_api()?;
        client.delete(&format!("{SERVICES}/gone"))?;
        client.create(SERVICES, &objects::service("made", Some("kept"), made))?;
        api.plane.compact()?;
        api.plane.kill_api()?;
        api.plane.start_api()?;
        expired(api, &before)?;
        signal_agents(api, Signal::SIGCONT)?;

        api.answers("a Service that no watch told of", made, 80, &[&first])?;
        api.answers("a Service that did not change", kept, 80, &[&first])?;
        api.forgotten("gone")?;
        api.silent("a Service whose end no watch told of", gone, 80)
    });
}

/// Proves that a watch from `revision` on cannot go on any more.
fn expired(api: &Api<'_>, revision: &str) -> Result<()> {
    let path = format!("/api/v1/services?watch=1&timeoutSeconds=1&resourceVersion={revision}");
    wait::until("the history is gone", wait::SOON, || {
        let (_, answer) = api
            .plane
            .client
            .send("GET", &path, "application/json", "")?;
        ensure!(
            answer.contains("\"code\":410"),
            "the API server still knows revision {revision}: {answer}"
        );
        Ok(())
    })
}
