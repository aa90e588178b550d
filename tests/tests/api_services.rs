//! Services and `EndpointSlices` made, changed and deleted through a real API server reach the kernel and carry traffic.

use anyhow::{Context as _, Result};
use integration::control_plane::frame::with_api;
use integration::control_plane::objects::{self, SERVICES, SLICES};
use integration::control_plane::traffic::service_ips;
use integration::topology::{Family, Pod};
use serde_json::{Value, json};

const NODE_PORT: u16 = 30080;

fn path(collection: &str, name: &str) -> String {
    format!("{collection}/{name}")
}

/// The first pod of either node, which serve; the last ones only ask.
fn servers<'a>(api: &'a integration::control_plane::frame::Api<'_>) -> Result<[&'a Pod; 2]> {
    let [a, b] = api.cluster.nodes().map(|node| node.pods.first());
    Ok([
        a.context("node-a has no pods")?,
        b.context("node-b has no pods")?,
    ])
}

#[test]
fn service_with_selector_follows_its_pods() {
    with_api(|api| {
        let web = service_ips(20);
        let client = api.plane.client.clone();
        client.create(SERVICES, &objects::service("web", Some("web"), web))?;
        api.silent("a Service without pods", web, 80)?;

        let [a, b] = servers(api)?;
        api.register_pod(a, "web")?;
        api.answers("the first pod", web, 80, &[a.name()])?;
        api.register_pod(b, "web")?;
        api.answers("the second pod", web, 80, &[a.name(), b.name()])?;
        api.set_ready(a, false)?;
        api.answers("a pod is not ready", web, 80, &[b.name()])?;
        api.set_ready(a, true)?;
        api.answers("it is ready again", web, 80, &[a.name(), b.name()])?;
        api.remove_pod(b)?;
        api.answers("a pod is gone", web, 80, &[a.name()])?;
        let name = a.name().to_owned();

        let ports = json!([{ "name": "tcp", "protocol": "TCP", "port": 81, "targetPort": 8080, "nodePort": NODE_PORT },
            { "name": "udp", "protocol": "UDP", "port": 81, "targetPort": 8080, "nodePort": NODE_PORT }]);
        client.patch(
            &path(SERVICES, "web"),
            &json!({ "spec": { "type": "NodePort", "ports": ports } }),
        )?;
        api.answers("on its new port", web, 81, &[&name])?;
        api.silent("its old port", web, 80)?;
        for node in api.cluster.nodes() {
            let ips = Family::BOTH.map(|family| node.ip(family));
            api.answers_to(
                "from outside",
                &api.cluster.client,
                ips,
                NODE_PORT,
                &[&name],
            )?;
        }

        client.delete(&path(SERVICES, "web"))?;
        api.forgotten("web")?;
        api.silent("a deleted Service", web, 81)
    });
}

#[test]
fn slices_written_by_others_are_followed() {
    with_api(|api| {
        let (ips, client) = (service_ips(21), api.plane.client.clone());
        let [a, b] = servers(api)?;
        client.create(SERVICES, &objects::service("manual", None, ips))?;
        let write = |name: &str, pods: &[&Pod]| -> Result<()> {
            Family::BOTH.into_iter().try_for_each(|family| {
                let mut slice = objects::slice("manual", family, pods);
                let suffixed = format!("{}-{name}", objects::slice_name("manual", family));
                slice["metadata"]["name"] = Value::String(suffixed);
                client.create(SLICES, &slice).map(drop)
            })
        };
        let each = |name: &str| {
            Family::BOTH.map(|family| {
                path(
                    SLICES,
                    &format!("{}-{name}", objects::slice_name("manual", family)),
                )
            })
        };

        write("one", &[a])?;
        api.answers("one slice", ips, 80, &[a.name()])?;
        write("two", &[b])?;
        api.answers("two slices are one set", ips, 80, &[a.name(), b.name()])?;
        for slice in each("one") {
            client.patch(&slice, &json!({ "endpoints": [] }))?;
        }
        api.answers("the first slice is empty", ips, 80, &[b.name()])?;
        for slice in each("two") {
            client.delete(&slice)?;
        }
        api.silent("no endpoints are left", ips, 80)
    });
}

#[test]
fn service_of_another_proxy_is_left_alone() {
    with_api(|api| {
        let (ips, client) = (service_ips(22), api.plane.client.clone());
        let [a, _] = servers(api)?;
        api.register_pod(a, "mesh")?;
        client.create(SERVICES, &objects::service("mesh", Some("mesh"), ips))?;
        let name = a.name().to_owned();
        api.answers("ours", ips, 80, &[&name])?;

        let label = |value: Value| json!({ "metadata": { "labels": { "service.kubernetes.io/service-proxy-name": value } } });
        client.patch(&path(SERVICES, "mesh"), &label(json!("other")))?;
        api.forgotten("mesh")?;
        api.silent("another proxy's", ips, 80)?;
        client.patch(&path(SERVICES, "mesh"), &label(Value::Null))?;
        api.answers("ours again", ips, 80, &[&name])
    });
}
