//! `hostRouting: bpf`: connections to pods of the node past its stack. Netfilter drops all that it is given to forward.

use anyhow::Result;
use integration::expect::Checks;
use integration::manifests::{Endpoint, Service};
use integration::probe::{Failure, Mode, Proto, Request, UdpSockets};
use integration::testbed::{configured, with_cluster};
use integration::topology::{Cluster, Options, at, matrix};

const NODE_PORTS: [u16; 2] = [30_601, 30_602];

const RULES: &str = "table inet other {
    chain forward {
        type filter hook forward priority filter; policy accept;
        meta l4proto { tcp, udp } counter drop
    }
}";

/// A Service with the first pod of node-a, and one with that of node-b.
fn service(index: usize) -> Service {
    let names = ["on-a", "on-b"];
    let number = if index == 0 { 1 } else { 2 };
    Service::new(names[index], number).node_port(NODE_PORTS[index])
}

/// Runs `test` with agents whose `hostRouting` is `way`.
fn with_routing(way: &str, test: impl FnOnce(&mut Cluster) -> Result<()>) {
    with_cluster(Options::default(), |cluster| {
        for node in cluster.nodes() {
            node.host.run("nft", &[RULES])?;
        }
        for (index, pod) in cluster.first_pods()?.map(Endpoint::pod).iter().enumerate() {
            cluster
                .manifests
                .service(&service(index), std::slice::from_ref(pod))?;
        }
        let options = configured(cluster, ["", &format!("hostRouting: {way}")])?;
        cluster.start_agents(&options)?;
        test(cluster)
    });
}

fn ask_everywhere(cluster: &Cluster, checks: &mut Checks, mode: Option<Mode>) -> Result<()> {
    let pods = cluster.first_pods()?;
    for (family, proto) in matrix() {
        for (index, node) in cluster.nodes().into_iter().enumerate() {
            let server = [pods[index].name()];
            let outside = at(node.ip(family), NODE_PORTS[index]);
            let inside = at(service(index).ip(family), 80);
            let neighbour = &node.pods[1];
            for (place, to, own) in [
                (&cluster.client, outside, cluster.client_ip(family)),
                (&neighbour.place, inside, neighbour.ip(family)),
                (&neighbour.place, outside, neighbour.ip(family)),
            ] {
                match mode {
                    Some(mode) if proto == Proto::Tcp => {
                        let request = Request::new(proto, to, 2).mode(mode).timeout_ms(10_000);
                        checks.answered("much", place, &request, &server, own);
                    }
                    Some(_) => {}
                    None => {
                        for udp in [UdpSockets::Connected, UdpSockets::OneUnconnected] {
                            let request = Request::new(proto, to, 5).udp(udp);
                            checks.answered("a little", place, &request, &server, own);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn pods_of_the_node_are_reached_past_netfilter_and_see_their_clients() {
    with_routing("bpf", |cluster| {
        let mut checks = Checks::default();
        ask_everywhere(cluster, &mut checks, None)?;
        for mode in [
            Mode::Upload { bytes: 4_000_003 },
            Mode::Download { bytes: 4_000_003 },
        ] {
            ask_everywhere(cluster, &mut checks, Some(mode))?;
        }
        checks.verdict()
    });
}

#[test]
fn otherwise_netfilter_sees_them() {
    with_routing("stack", |cluster| {
        let mut checks = Checks::default();
        for (family, proto) in matrix() {
            let request = Request::new(proto, at(cluster.a.ip(family), NODE_PORTS[0]), 1);
            checks.fails(
                "through netfilter",
                &cluster.client,
                &request.timeout_ms(300),
                Failure::Timeout,
            );
        }
        checks.verdict()
    });
}
