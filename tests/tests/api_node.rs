//! A Node that leaves, and pods that are published before they are ready, through a real API server (SEMANTICS 11.2, 16.3, 21.16).

use anyhow::{Context as _, Result, ensure};
use integration::control_plane::frame::{Api, with_api};
use integration::control_plane::objects::{self, NODES, SERVICES, SLICES};
use integration::control_plane::traffic::service_ips;
use integration::topology::Family;
use integration::wait::{self, SOON};
use serde_json::{Value, json};

/// What 10256 of node-a answers to a client outside, over both families by one listener.
fn health(api: &Api<'_>, path: &str, code: u16, eligible: Option<bool>) -> Result<()> {
    for family in Family::BOTH {
        let ip = api.cluster.a.ip(family);
        let url = match family {
            Family::V4 => format!("http://{ip}:10256{path}"),
            Family::V6 => format!("http://[{ip}]:10256{path}"),
        };
        wait::until(&format!("{url} answers {code}"), SOON, || {
            let answer = api
                .cluster
                .client
                .run("curl", &["--silent", "--include", "--max-time", "5", &url])?;
            ensure!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
            let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
            let body: Value = serde_json::from_str(body)?;
            ensure!(body["nodeEligible"] == json!(eligible), "{body}");
            ensure!(
                body["status"]["IPv4"]["healthy"] == true
                    && body["status"]["IPv6"]["healthy"] == true,
                "{body}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn semantics_11_2_and_16_3_node_that_leaves_drains_and_serves_on() {
    with_api(|api| {
        let (ips, client) = (service_ips(70), api.plane.client.clone());
        let [a, _] = api.cluster.first_pods()?;
        let name = a.name().to_owned();
        // No selector: the controller would take endpoints away whose Node is gone.
        client.create(SERVICES, &objects::service("web", None, ips))?;
        for family in Family::BOTH {
            client.create(SLICES, &objects::slice("web", family, &[a]))?;
        }
        api.answers("before", ips, 80, &[&name])?;
        health(api, "/healthz", 200, Some(true))?;
        health(api, "/livez", 200, None)?;

        let node = format!("{NODES}/{}", api.cluster.a.name());
        let taint = json!([{ "key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule" }]);
        client.patch(&node, &json!({ "spec": { "taints": taint } }))?;
        health(api, "/healthz", 503, Some(false))?;
        health(api, "/livez", 200, None)?;
        api.answers("while it leaves", ips, 80, &[&name])?;
        client.patch(&node, &json!({ "spec": { "taints": null } }))?;
        health(api, "/healthz", 200, Some(true))?;
        client.delete(&node)?;
        health(api, "/healthz", 503, Some(false))?;
        health(api, "/livez", 200, None)?;
        let series = r#"kubeproxy_proxy_healthz_total{code="503"}"#;
        let agent = api.cluster.a.agent()?;
        ensure!(agent.metric(series)? >= 4.0, "answers are not counted");
        api.answers("without its Node", ips, 80, &[&name])
    });
}

#[test]
fn semantics_21_16_addresses_that_are_published_before_they_are_ready_are_served() {
    with_api(|api| {
        let (ips, client) = (service_ips(71), api.plane.client.clone());
        let [a, b] = api.cluster.first_pods()?;
        let names = [a.name().to_owned(), b.name().to_owned()];
        for pod in [a, b] {
            api.register_pod(pod, "web")?;
            api.set_ready(pod, false)?;
        }
        let mut service = objects::service("web", Some("web"), ips);
        service["spec"]["publishNotReadyAddresses"] = json!(true);
        client.create(SERVICES, &service)?;
        let names = [names[0].as_str(), names[1].as_str()];
        api.answers("published", ips, 80, &names)?;
        let change = json!({ "spec": { "publishNotReadyAddresses": false } });
        client.patch(&format!("{SERVICES}/web"), &change)?;
        api.silent("not published, not ready", ips, 80)?;
        api.set_ready(api.cluster.first_pods()?[1], true)?;
        api.answers("the ready one", ips, 80, &names[1..])
    });
}
