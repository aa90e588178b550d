//! The agent in a container as the Helm chart makes it: with the capabilities of the chart and no others, all hooks work.

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::control_plane::rbac;
use integration::expect::{Checks, MANY};
use integration::manifests::Service;
use integration::probe::Request;
use integration::testbed::with_agents;
use integration::topology::{Cluster, Options, at, matrix};

const NODE_PORT: u16 = 30110;

/// The chart's list, in the words of setpriv(1). What this machine's root does not have, the agent cannot be given.
fn capabilities() -> Result<Vec<String>> {
    let documents = rbac::render(&[])?.concat();
    let (_, list) = documents
        .split_once("add:")
        .context("the chart adds no capabilities")?;
    let list: Vec<String> = list
        .lines()
        .skip(1)
        .map_while(|line| line.trim().strip_prefix("- "))
        .map(str::to_lowercase)
        .collect();
    ensure!(!list.is_empty(), "the chart adds no capabilities");
    Ok(list)
}

fn traffic(cluster: &mut Cluster) -> Result<()> {
    let mut checks = Checks::default();
    let servers: Vec<String> = cluster.pods().map(|pod| pod.name().to_owned()).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    let web = Service::new("web", 1);
    for (family, proto) in matrix() {
        for node in cluster.nodes() {
            let pod = node.pods.first().context("a node without pods")?;
            for client in [&pod.place, &node.host] {
                let request = Request::new(proto, at(web.ip(family), 80), 2 * MANY);
                checks.answered_any_source("to ClusterIP", client, &request, &servers);
            }
            let request = Request::new(proto, at(node.ip(family), NODE_PORT), 2 * MANY);
            checks.answered_any_source("to NodePort", &cluster.client, &request, &servers);
        }
    }
    checks.verdict()
}

#[test]
fn chart_capabilities_are_enough() {
    if !rbac::available("chart_capabilities_are_enough") {
        return;
    }
    let capabilities = capabilities().unwrap_or_else(|error| panic!("{error:#}"));
    let options = AgentOptions {
        capabilities,
        ..AgentOptions::default()
    };
    let prepare = |cluster: &mut Cluster| {
        let service = Service::new("web", 1).node_port(NODE_PORT);
        cluster.manifests.service(&service, &cluster.endpoints())
    };
    with_agents(Options::default(), &options, prepare, traffic);
}
