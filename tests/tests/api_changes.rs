//! Services, slices and Nodes that change while they are used, through a real API server.

use anyhow::{Context as _, Result, ensure};
use integration::control_plane::frame::{Api, with_api};
use integration::control_plane::objects::{self, NODES, SERVICES, SLICES};
use integration::control_plane::traffic::service_ips;
use integration::topology::addresses::external_ip;
use integration::topology::{Family, Node};
use integration::wait::{self, SOON};
use serde_json::{Value, json};

const NODE_PORT: u16 = 30082;
const CHECK_PORT: u16 = 30083;
fn patch(api: &Api<'_>, name: &str, change: &Value) -> Result<()> {
    api.plane
        .client
        .patch(&format!("{SERVICES}/{name}"), change)
        .map(drop)
}

fn ports(names: [&str; 2], node_port: Option<u16>) -> Value {
    let port = |(name, protocol): (&str, &str)| {
        let mut port =
            json!({ "name": name, "protocol": protocol, "port": 80, "targetPort": 8080 });
        if let Some(number) = node_port {
            port["nodePort"] = json!(number);
        }
        port
    };
    names.into_iter().zip(["TCP", "UDP"]).map(port).collect()
}

/// What the health-check node port of `node` answers to a client outside, over both families: the code, and the body's count.
fn check(api: &Api<'_>, node: &Node, code: u16, endpoints: usize) -> Result<()> {
    for family in Family::BOTH {
        let url = match family {
            Family::V4 => format!("http://{}:{CHECK_PORT}/any/path", node.ip(family)),
            Family::V6 => format!("http://[{}]:{CHECK_PORT}/any/path", node.ip(family)),
        };
        wait::until(&format!("{url} answers {code}"), SOON, || {
            let answer = api
                .cluster
                .client
                .run("curl", &["--silent", "--include", "--max-time", "5", &url])?;
            ensure!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
            let body =
                format!("\t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": true\n}}");
            ensure!(answer.ends_with(&body), "{answer}");
            let weight = format!("x-load-balancing-endpoint-weight: {endpoints}\r\n");
            ensure!(answer.contains(&weight), "{answer}");
            Ok(())
        })?;
    }
    Ok(())
}

fn check_closed(api: &Api<'_>, node: &Node) -> Result<()> {
    let url = format!("http://{}:{CHECK_PORT}/", node.ip(Family::V4));
    wait::until("the health-check node port is closed", SOON, || {
        let answer = api
            .cluster
            .client
            .run("curl", &["--silent", "--max-time", "5", &url]);
        ensure!(answer.is_err(), "{answer:?}");
        Ok(())
    })
}

#[test]
fn semantics_11_1_and_21_1_service_types_change_under_traffic() {
    with_api(|api| {
        let ips = service_ips(50);
        let [a, _] = api.cluster.first_pods()?;
        let name = a.name().to_owned();
        api.register_pod(a, "web")?;
        api.plane
            .client
            .create(SERVICES, &objects::service("web", Some("web"), ips))?;
        api.answers("a ClusterIP", ips, 80, &[&name])?;

        patch(
            api,
            "web",
            &json!({ "spec": { "type": "NodePort", "ports": ports(["tcp", "udp"], Some(NODE_PORT)) } }),
        )?;
        let outside = &api.cluster.client;
        for node in api.cluster.nodes() {
            let ips = Family::BOTH.map(|family| node.ip(family));
            api.answers_to("a NodePort", outside, ips, NODE_PORT, &[&name])?;
        }

        let vips = Family::BOTH.map(|family| external_ip(family, 50));
        let local = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": CHECK_PORT });
        patch(api, "web", &json!({ "spec": local }))?;
        let ingress: Vec<_> = vips.iter().map(|ip| json!({ "ip": ip })).collect();
        api.plane.client.patch(
            &format!("{SERVICES}/web/status"),
            &json!({ "status": { "loadBalancer": { "ingress": ingress } } }),
        )?;
        // The router sends these to node-a, where the pod is.
        api.answers_to("a load balancer's address", outside, vips, 80, &[&name])?;
        let [node_a, node_b] = api.cluster.nodes();
        check(api, node_a, 200, 1)?;
        check(api, node_b, 503, 0)?;
        api.set_ready(a, false)?;
        check(api, node_a, 503, 0)?;
        api.set_ready(a, true)?;
        check(api, node_a, 200, 1)?;

        patch(
            api,
            "web",
            &json!({ "spec": { "type": "ClusterIP", "externalTrafficPolicy": null, "healthCheckNodePort": null, "allocateLoadBalancerNodePorts": null, "ports": ports(["tcp", "udp"], None) } }),
        )?;
        check_closed(api, node_a)?;
        api.answers("a ClusterIP again", ips, 80, &[&name])?;

        patch(
            api,
            "web",
            &json!({ "spec": { "type": "ExternalName", "externalName": "example.org", "clusterIP": null, "clusterIPs": null, "ipFamilies": null, "ipFamilyPolicy": null } }),
        )?;
        api.forgotten("web")?;
        api.silent("an ExternalName", ips, 80)?;
        patch(
            api,
            "web",
            &json!({ "spec": { "type": "ClusterIP", "externalName": null, "clusterIP": ips[0], "clusterIPs": ips, "ipFamilyPolicy": "RequireDualStack" } }),
        )?;
        api.answers("a ClusterIP once more", ips, 80, &[&name])
    });
}

#[test]
fn semantics_21_2_renamed_ports_are_served_on() {
    with_api(|api| {
        let ips = service_ips(51);
        let [a, b] = api.cluster.first_pods()?;
        for pod in [a, b] {
            api.register_pod(pod, "web")?;
        }
        let both = [a.name().to_owned(), b.name().to_owned()];
        let both = [both[0].as_str(), both[1].as_str()];
        api.plane
            .client
            .create(SERVICES, &objects::service("web", Some("web"), ips))?;
        api.answers("before", ips, 80, &both)?;
        for names in [["t", "u"], ["u", "t"], ["tcp", "udp"]] {
            patch(
                api,
                "web",
                &json!({ "spec": { "ports": ports(names, None) } }),
            )?;
            api.answers(&format!("ports {names:?}"), ips, 80, &both)?;
        }
        Ok(())
    });
}

#[test]
fn semantics_21_14_slices_before_their_service_are_used_when_it_comes_and_outlive_it() {
    with_api(|api| {
        let (ips, client) = (service_ips(52), api.plane.client.clone());
        let [a, _] = api.cluster.first_pods()?;
        let name = a.name().to_owned();
        for family in Family::BOTH {
            client.create(SLICES, &objects::slice("late", family, &[a]))?;
        }
        for _ in 0..2 {
            client.create(SERVICES, &objects::service("late", None, ips))?;
            api.answers("a Service after its slices", ips, 80, &[&name])?;
            client.delete(&format!("{SERVICES}/late"))?;
            api.forgotten("late")?;
            api.silent("a deleted Service", ips, 80)?;
        }
        Ok(())
    });
}

#[test]
fn semantics_5_7_node_that_moves_to_another_zone_uses_that_zones_endpoints() {
    with_api(|api| {
        let (ips, client) = (service_ips(53), api.plane.client.clone());
        let [a, b] = api.cluster.first_pods()?;
        let names = [a.name().to_owned(), b.name().to_owned()];
        client.create(SERVICES, &objects::service("near", None, ips))?;
        for family in Family::BOTH {
            let mut slice = objects::slice("near", family, &[a, b]);
            for (number, endpoint) in slice["endpoints"]
                .as_array_mut()
                .context("no endpoints")?
                .iter_mut()
                .enumerate()
            {
                endpoint["hints"] =
                    json!({ "forZones": [{ "name": format!("zone-{}", number + 1) }] });
            }
            client.create(SLICES, &slice)?;
        }
        let on_a = |what: &str, server: &str| -> Result<()> {
            let node = &api.cluster.a;
            let pod = node.pods.last().context("node-a has no pods")?;
            api.answers_to(what, &pod.place, ips, 80, &[server])?;
            api.answers_to(what, &node.host, ips, 80, &[server])
        };
        let path = format!("{NODES}/{}", api.cluster.a.name());
        let zone = |zone: &str| json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": zone } } });
        on_a("its own zone", &names[0])?;
        client.patch(&path, &zone("zone-2"))?;
        on_a("the other zone", &names[1])?;
        client.patch(&path, &zone("zone-1"))?;
        on_a("its own zone again", &names[0])
    });
}
