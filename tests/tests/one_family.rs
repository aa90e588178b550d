//! A cluster of one IP family: nodes and pods without an address of the other one, and Services of one family (SEMANTICS 1.4, 13.3).

use std::fmt::Write as _;

use anyhow::Result;
use integration::agent::AgentOptions;
use integration::expect::{Checks, MANY};
use integration::manifests::{Endpoint, Service};
use integration::probe::{Proto, Request};
use integration::testbed::with_cluster;
use integration::topology::addresses::external_ip;
use integration::topology::{Cluster, Family, Options, Pod, at};

const NODE_PORT: u16 = 30_960;

/// Takes the other family from nodes and pods, and writes objects of `family` only.
fn only(cluster: &Cluster, family: Family) -> Result<()> {
    let places = cluster
        .nodes()
        .into_iter()
        .map(|node| &node.host)
        .chain(cluster.pods().map(|pod| &pod.place));
    for place in places {
        match family {
            Family::V4 => place.sysctl(&[
                ("ipv6/conf/all/disable_ipv6", "1"),
                ("ipv6/conf/default/disable_ipv6", "1"),
            ])?,
            Family::V6 => drop(place.run("ip", &["-4", "addr", "flush", "scope", "global"])?),
        }
    }
    let (mut nodes, family_name) = (String::new(), family.name());
    for node in cluster.nodes() {
        writeln!(
            nodes,
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {}}}\nstatus: {{addresses: [{{type: InternalIP, address: \"{}\"}}]}}",
            node.name(),
            node.ip(family)
        )?;
    }
    cluster.manifests.write("nodes", &nodes)?;
    let (web, vip) = (Service::new("web", 1), external_ip(family, 1));
    let ip = web.ip(family);
    cluster.manifests.write(
        "service-web",
        &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: default}}\nspec:\n  type: LoadBalancer\n  clusterIP: \"{ip}\"\n  \
            clusterIPs: [\"{ip}\"]\n  ipFamilies: [{family_name}]\n  ports:\n  - {{name: tcp, protocol: TCP, port: 80, nodePort: {NODE_PORT}}}\n  \
            - {{name: udp, protocol: UDP, port: 80, nodePort: {NODE_PORT}}}\nstatus: {{loadBalancer: {{ingress: [{{ip: \"{vip}\"}}]}}}}\n"
        ),
    )?;
    let endpoints = cluster.first_pods()?.map(Endpoint::pod);
    cluster.manifests.slice(&web, family, &endpoints)
}

fn alone(family: Family) {
    with_cluster(Options::default(), |cluster| {
        only(cluster, family)?;
        cluster.start_agents(&AgentOptions::default())?;
        let mut checks = Checks::default();
        let servers = cluster.first_pods()?.map(Pod::name);
        for proto in Proto::BOTH {
            for (node, pod) in cluster.nodes().into_iter().zip(cluster.first_pods()?) {
                for place in [&pod.place, &node.host, &cluster.client] {
                    for to in [
                        at(Service::new("web", 1).ip(family), 80),
                        at(external_ip(family, 1), 80),
                        at(node.ip(family), NODE_PORT),
                    ] {
                        let request = Request::new(proto, to, MANY);
                        checks.answered_any_source(family.name(), place, &request, &servers);
                    }
                }
            }
        }
        checks.verdict()
    });
}

#[test]
fn ipv4_alone() {
    alone(Family::V4);
}

#[test]
fn ipv6_alone() {
    alone(Family::V6);
}
