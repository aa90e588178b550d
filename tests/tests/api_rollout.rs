//! Rolling updates, as a Deployment makes them, without one failed request (SEMANTICS 16.1, 16.2).

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use integration::control_plane::client::Client;
use integration::control_plane::frame::{Api, with_api};
use integration::control_plane::objects::{self, PODS, SERVICES, SLICES};
use integration::control_plane::traffic::service_ips;
use integration::place::Place;
use integration::probe::{Proto, Request, process};
use integration::topology::addresses::POD_PORT;
use integration::topology::{Family, at};
use integration::wait::{self, SOON};
use serde_json::json;

const NODE_PORT: u16 = 30081;
/// What one client saw.
#[derive(Debug, Default)]
struct Seen {
    answered: usize,
    failures: Vec<String>,
}

/// Opens connection after connection until told to stop.
fn load(client: &Place, to: std::net::SocketAddr, stop: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        // Longer than anything but a lost packet takes.
        let request = Request::new(Proto::Tcp, to, 10).timeout_ms(3_000);
        let report = process::ask(client, &request)?;
        seen.answered += report.answers().count();
        let failures = report.failures();
        seen.failures
            .extend(failures.map(|failure| format!("{} -> {to}: {failure:?}", client.name)));
    }
    Ok(seen)
}

/// Waits until the controller has marked the Service's only endpoint as terminating and still serving.
fn terminating(client: &Client, pod: &str) -> Result<()> {
    wait::until("the endpoint terminates", SOON, || {
        let slices = client.get(&format!(
            "{SLICES}?labelSelector=kubernetes.io/service-name=web"
        ))?;
        let all = slices["items"].as_array().context("no items")?;
        let endpoints = all.iter().filter_map(|slice| slice["endpoints"].as_array());
        let of_pod = endpoints
            .flatten()
            .filter(|endpoint| endpoint["targetRef"]["name"] == *pod);
        let conditions: Vec<_> = of_pod.map(|endpoint| &endpoint["conditions"]).collect();
        let wanted = json!({ "ready": false, "serving": true, "terminating": true });
        ensure!(
            conditions.len() == 2 && conditions.iter().all(|found| **found == wanted),
            "{conditions:?}"
        );
        Ok(())
    })
}

/// One round: the old pod is asked to end, the new one comes, the old one goes. `gap`: the old one is all there is meanwhile.
fn replace(api: &mut Api<'_>, from_a: bool, gap: bool) -> Result<()> {
    let ips = service_ips(40);
    let client = api.plane.client.clone();
    let pods = api.cluster.first_pods()?;
    let (old, new) = if from_a {
        (pods[0], pods[1])
    } else {
        (pods[1], pods[0])
    };
    let names = (old.name().to_owned(), new.name().to_owned());
    let grace = format!("{PODS}/{}?gracePeriodSeconds=60", names.0);
    if gap {
        client.delete(&grace)?;
        terminating(&client, &names.0)?;
        api.answers("only a terminating pod", ips, 80, &[&names.0])?;
        api.register_pod(new, "web")?;
    } else {
        api.register_pod(new, "web")?;
        api.answers("both pods", ips, 80, &[&names.0, &names.1])?;
        client.delete(&grace)?;
    }
    api.answers("only the new pod", ips, 80, &[&names.1])?;
    let outside = Family::BOTH.map(|family| api.cluster.a.ip(family));
    api.answers_to(
        "from outside",
        &api.cluster.client,
        outside,
        NODE_PORT,
        &[&names.1],
    )?;
    for node in [&mut api.cluster.a, &mut api.cluster.b] {
        node.pods
            .iter_mut()
            .filter(|pod| pod.name() == names.0)
            .for_each(integration::topology::Pod::stop_serving);
    }
    let old = api
        .cluster
        .first_pods()?
        .into_iter()
        .find(|pod| pod.name() == names.0);
    api.remove_pod(old.context("the old pod is gone")?)
}

fn serve_again(api: &mut Api<'_>) -> Result<()> {
    let pod = api
        .cluster
        .a
        .pods
        .first_mut()
        .context("node-a has no pods")?;
    pod.serve(POD_PORT)
}

#[test]
fn semantics_16_2_rolling_updates_fail_no_request() {
    with_api(|api| {
        let ips = service_ips(40);
        let mut service = objects::service("web", Some("web"), ips);
        service["spec"]["type"] = json!("NodePort");
        service["spec"]["ports"][0]["nodePort"] = json!(NODE_PORT);
        service["spec"]["ports"][1]["nodePort"] = json!(NODE_PORT);
        api.plane.client.create(SERVICES, &service)?;
        let [first, _] = api.cluster.first_pods()?;
        api.register_pod(first, "web")?;
        api.answers("the first pod", ips, 80, &[first.name()])?;

        let mut clients = Vec::new();
        for client in api.clients()? {
            clients.extend(ips.map(|ip| (client.clone(), at(ip, 80))));
        }
        for family in Family::BOTH {
            clients.push((
                api.cluster.client.clone(),
                at(api.cluster.a.ip(family), NODE_PORT),
            ));
        }
        let stop = AtomicBool::new(false);
        let (outcome, seen) = std::thread::scope(|scope| {
            let stop = &stop;
            let start = |(client, to): &(Place, std::net::SocketAddr)| {
                let (client, to) = (client.clone(), *to);
                scope.spawn(move || load(&client, to, stop))
            };
            let running: Vec<_> = clients.iter().map(start).collect();
            let outcome = replace(api, true, false)
                .and_then(|()| serve_again(api))
                .and_then(|()| replace(api, false, true));
            stop.store(true, Ordering::Relaxed);
            let seen: Vec<_> = running
                .into_iter()
                .map(|one| one.join().expect("a client does not panic"))
                .collect();
            (outcome, seen)
        });
        outcome?;
        for (one, (client, to)) in seen.into_iter().zip(&clients) {
            let Seen { answered, failures } = one?;
            ensure!(
                failures.is_empty(),
                "{} of {answered} failed: {:?}",
                failures.len(),
                failures.first()
            );
            ensure!(
                answered > 0,
                "{} -> {to} asked nothing, which proves nothing",
                client.name
            );
        }
        Ok(())
    });
}
