//! Events beside the objects that they are about, in a real API server (SEMANTICS 13.17).

use anyhow::{Context as _, Result, ensure};
use integration::control_plane::client::Client;
use integration::control_plane::frame::with_api;
use integration::control_plane::objects::{self, SERVICES};
use integration::control_plane::traffic::service_ips;
use integration::topology::Family;
use integration::topology::addresses::external_ip;
use integration::wait::{self, SOON};
use serde_json::{Value, json};

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

/// Waits until exactly `count` events about `name` have `reason`; one of them.
fn event(client: &Client, name: &str, reason: &str, count: usize) -> Result<Value> {
    wait::until(
        &format!("{count} events {reason} about {name}"),
        SOON,
        || {
            let all = client.get(EVENTS)?;
            let found: Vec<&Value> = all["items"]
                .as_array()
                .context("no items")?
                .iter()
                .filter(|event| event["regarding"]["name"] == *name && event["reason"] == *reason)
                .collect();
            ensure!(found.len() == count, "{found:?}");
            found
                .first()
                .map(|event| (*event).clone())
                .context("none was asked for")
        },
    )
}

#[test]
fn semantics_13_17_start_bad_objects_and_lost_frontends_are_events() {
    with_api(|api| {
        let client = api.plane.client.clone();
        for node in ["node-a", "node-b"] {
            let start = event(&client, node, "Starting", 1)?;
            ensure!(
                start["action"] == "StartKubeProxy" && start["type"] == "Normal",
                "{start}"
            );
            ensure!(start["regarding"]["uid"] == *node, "{start}");
        }

        let [a, b] = api.cluster.first_pods()?;
        api.register_pod(a, "old")?;
        api.register_pod(b, "new")?;
        let (old, new) = (a.name().to_owned(), b.name().to_owned());
        let vips = Family::BOTH.map(|family| external_ip(family, 60));
        let with_vip = |name: &str, index: u8, vip: Value| {
            let mut service = objects::service(name, Some(name), service_ips(index));
            service["spec"]["externalIPs"] = vip;
            service
        };
        client.create(SERVICES, &with_vip("old", 60, json!(vips)))?;
        api.answers("the older Service has the address", vips, 80, &[&old])?;
        // Services are as old as their second.
        let made = client.get(&format!("{SERVICES}/old"))?["metadata"]["creationTimestamp"].clone();
        wait::until("a second has passed", SOON, || {
            let probe = client.create(
                "/api/v1/namespaces",
                &json!({ "metadata": { "generateName": "clock-" } }),
            )?;
            ensure!(
                probe["metadata"]["creationTimestamp"] != made,
                "it is still the same second"
            );
            Ok(())
        })?;
        client.create(SERVICES, &with_vip("new", 61, json!(vips)))?;
        // Both nodes see it; it is one event for each of the four frontends.
        let lost = event(&client, "new", "FrontendTaken", 4)?;
        ensure!(
            lost["type"] == "Warning" && lost["note"].to_string().contains("default/old"),
            "{lost}"
        );
        api.answers("still the older one", vips, 80, &[&old])?;
        client.delete(&format!("{SERVICES}/old"))?;
        api.answers("handed over", vips, 80, &[&new])?;

        let own = api.cluster.a.ip(Family::V4);
        client.create(SERVICES, &with_vip("foot-gun", 62, json!([own])))?;
        let told = event(&client, "foot-gun", "ExternalIPIsNodeAddress", 1)?;
        ensure!(
            told["note"].to_string().contains(&own.to_string()),
            "{told}"
        );

        let series = r#"kubeshunt_relists_total{kind="ServiceCIDR"}"#;
        let agent = api.cluster.a.agent()?;
        wait::until("ServiceCIDRs are watched", SOON, || {
            ensure!(agent.metric(series)? >= 1.0, "no list of them");
            Ok(())
        })?;
        let errors = agent.metric(r#"kubeshunt_watch_errors_total{kind="ServiceCIDR"}"#)?;
        ensure!(errors < 1.0, "watching ServiceCIDRs fails");
        let programmed =
            r#"kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"}"#;
        wait::until("a change of endpoints is timed", SOON, || {
            ensure!(agent.metric(programmed)? >= 1.0, "none was");
            Ok(())
        })
    });
}
