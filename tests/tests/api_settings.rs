//! Settings that a real API server or a busy port decides about: `bindAddressHardFail`, podCIDRs that change, a `ServiceCIDR` that comes
//! (SEMANTICS 11.3, 13.5, 4.11).

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Result, ensure};
use integration::control_plane::frame::{Api, with_api, with_control_plane};
use integration::control_plane::objects::{self, NODES};
use integration::topology::Family;
use integration::wait::{self, SOON};
use serde_json::{Value, json};

/// Starts the agent of node-a with `flag`, beside what the chart gives it.
fn start(api: &mut Api<'_>, flag: &str) -> Result<()> {
    let mut options = api.agent_options()?;
    options.flags.push(format!("--{flag}"));
    let manifests = api.cluster.manifests.dir().to_owned();
    api.cluster.a.start_agent(&manifests, &options)
}

/// Waits for an event about node-a for this reason.
fn event(api: &Api<'_>, reason: &str) -> Result<()> {
    wait::until(reason, SOON, || {
        let events = api
            .plane
            .client
            .get("/api/v1/namespaces/default/events?limit=500")?;
        let items = events["items"].as_array().cloned().unwrap_or_default();
        let told = items.iter().any(|event| event["reason"] == reason);
        ensure!(told, "none of {} events", items.len());
        Ok(())
    })
}

#[test]
fn semantics_11_3_busy_port_ends_the_agent_that_must_have_it() {
    with_control_plane(|api| {
        api.register_nodes()?;
        let address: SocketAddr = "127.0.0.1:10249".parse()?;
        let busy = api.cluster.a.host.enter(|| TcpListener::bind(address))??;
        start(api, "bind-address-hard-fail=true")?;
        let status = api.cluster.a.agent()?.wait_ended(SOON)?;
        ensure!(!status.success(), "it ended as if all were well: {status}");
        let log = api.cluster.a.agent()?.log();
        ensure!(log.contains("10249"), "no word of the port:\n{log}");
        event(api, "FailedToStartMetricServer")?;
        drop(busy);
        api.cluster.a.agent()?.restart()?;
        api.cluster.a.agent()?.wait_ready()
    });
}

/// A Node whose pods have the addresses of `cidrs`.
fn node(api: &Api<'_>, cidrs: [&str; 2]) -> Value {
    let mut object = objects::node(&api.cluster.a);
    object["spec"] = json!({ "podCIDR": cidrs[0], "podCIDRs": cidrs });
    object
}

#[test]
fn semantics_13_5_node_that_comes_back_with_other_pod_cidrs_ends_the_agent() {
    with_control_plane(|api| {
        let client = api.plane.client.clone();
        let path = format!("{NODES}/{}", api.cluster.a.name());
        let first = node(api, ["10.244.1.0/24", "fd00:244:1::/64"]);
        client.create(NODES, &first)?;
        start(api, "detect-local-mode=NodeCIDR")?;
        api.cluster.a.agent()?.wait_ready()?;
        client.delete(&path)?;
        client.create(NODES, &node(api, ["10.244.7.0/24", "fd00:244:7::/64"]))?;
        let status = api.cluster.a.agent()?.wait_ended(SOON)?;
        ensure!(!status.success(), "it ended as if all were well: {status}");
        let log = api.cluster.a.agent()?.log();
        ensure!(log.contains("10.244.7.0/24"), "it does not say why:\n{log}");
        Ok(())
    });
}

/// What the programs that serve say of a connection from the node to `to`.
fn verdict(api: &mut Api<'_>, family: Family, to: IpAddr) -> Result<Value> {
    let from = api.cluster.a.ip(family).to_string();
    let to = SocketAddr::new(to, 80).to_string();
    let args = ["explain", "--src", &from, "--dst", &to, "--proto", "tcp"];
    Ok(api.cluster.a.agent()?.cli_json(&args)?["verdict"].clone())
}

#[test]
fn semantics_4_11_service_cidr_that_comes_and_goes_is_followed() {
    const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    with_api(|api| {
        let client = api.plane.client.clone();
        let free: [IpAddr; 2] = ["10.97.0.99".parse()?, "fd00:10:97::99".parse()?];
        let expect = |api: &mut Api<'_>, wanted: &str| {
            for (family, ip) in Family::BOTH.into_iter().zip(free) {
                wait::until(&format!("{ip}: {wanted}"), SOON, || {
                    let verdict = verdict(api, family, ip)?;
                    ensure!(verdict == wanted, "{verdict}");
                    Ok(())
                })?;
            }
            anyhow::Ok(())
        };
        expect(api, "pass")?;
        let object = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": { "name": "more" },
            "spec": { "cidrs": ["10.97.0.0/24", "fd00:10:97::/112"] },
        });
        client.create(CIDRS, &object)?;
        expect(api, "drop")?;
        client.delete(&format!("{CIDRS}/more"))?;
        expect(api, "pass")
    });
}
