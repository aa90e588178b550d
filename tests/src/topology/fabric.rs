//! What is between the nodes: a router that is also their switch, and how pod traffic crosses it.

use std::fmt::Write as _;

use anyhow::Result;

use super::addresses::{
    self, CLIENT_GATEWAY4, CLIENT_GATEWAY6, CLIENT4, CLIENT6, EXTERNAL4, EXTERNAL6, ROUTER4,
    ROUTER6, SERVICES4, SERVICES6,
};
use super::node::Node;
use crate::place::Place;

/// How pod traffic gets to the other node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fabric {
    /// Routes between the nodes, no tunnel.
    Native,
    /// A vxlan device with fixed peers, as flannel makes it: an ordinary device, by its routes.
    Vxlan,
    /// A vxlan device that takes its peer from the route: a redirect to it would lose that.
    VxlanByRoute,
}

/// Settings of every namespace: no duplicate address detection (addresses work at once), no router advertisements, every ICMP error
/// is sent, however many there were.
pub(super) const QUIET: [(&str, &str); 6] = [
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
];

/// What a host needs to forward.
pub(super) const FORWARD: [(&str, &str); 2] =
    [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];

/// Given, as CNI plugins give it: else a bridge takes the lowest MAC of its ports, and a new port makes its neighbours wrong.
pub(super) const SWITCH_MAC: &str = "02:18:00:00:ff:01";

/// Connects router, client and nodes, and gives them addresses and default routes.
pub(super) fn wire(router: &Place, client: &Place, nodes: &[&Node]) -> Result<()> {
    for place in [router, client]
        .into_iter()
        .chain(nodes.iter().map(|node| &node.host))
    {
        place.sysctl(&QUIET)?;
    }
    for place in [router]
        .into_iter()
        .chain(nodes.iter().map(|node| &node.host))
    {
        place.sysctl(&FORWARD)?;
    }
    router.sysctl(&[
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
    ])?;
    let mut script = format!(
        "link set lo up
        link add switch address {SWITCH_MAC} type bridge forward_delay 0 mcast_snooping 0
        addr add {ROUTER4}/24 dev switch
        addr add {ROUTER6}/64 dev switch nodad
        link set switch up
        link add client type veth peer name eth0 netns {}
        addr add {CLIENT_GATEWAY4}/24 dev client
        addr add {CLIENT_GATEWAY6}/64 dev client nodad
        link set client up\n",
        client.ns().name()
    );
    for node in nodes {
        let (name, (pods4, pods6)) = (&node.host.name, addresses::pod_networks(node.number()));
        write!(
            script,
            "link add {name} type veth peer name eth0 netns {}
            link set {name} master switch up
            route add {pods4} via {}
            route add {pods6} via {}\n",
            node.host.ns().name(),
            node.addr4,
            node.addr6
        )?;
    }
    if let Some(first) = nodes.first() {
        for range in [SERVICES4, EXTERNAL4] {
            writeln!(script, "route add {range} via {}", first.addr4)?;
        }
        for range in [SERVICES6, EXTERNAL6] {
            writeln!(script, "route add {range} via {}", first.addr6)?;
        }
    }
    router.ip(&script)?;
    client.ip(&host(
        &CLIENT4.to_string(),
        &CLIENT6.to_string(),
        &CLIENT_GATEWAY4.to_string(),
        &CLIENT_GATEWAY6.to_string(),
    ))?;
    for node in nodes {
        node.host.ip(&host(
            &node.addr4.to_string(),
            &node.addr6.to_string(),
            &ROUTER4.to_string(),
            &ROUTER6.to_string(),
        ))?;
        node.host.wait_up("eth0")?;
        router.wait_up(&node.host.name)?;
    }
    client.wait_up("eth0")?;
    router.wait_up("client")
}

fn host(v4: &str, v6: &str, gateway4: &str, gateway6: &str) -> String {
    format!(
        "link set lo up
        addr add {v4}/24 dev eth0
        addr add {v6}/64 dev eth0 nodad
        link set eth0 up
        route add default via {gateway4}
        route add default via {gateway6}\n"
    )
}

/// Routes the pod networks of each node to the other.
pub(super) fn join(fabric: Fabric, a: &Node, b: &Node) -> Result<()> {
    for (node, other) in [(a, b), (b, a)] {
        let (pods4, pods6) = addresses::pod_networks(other.number());
        let script = match fabric {
            Fabric::Native => format!(
                "route add {pods4} via {}\nroute add {pods6} via {}\n",
                other.addr4, other.addr6
            ),
            Fabric::Vxlan => tunnel(
                node,
                other,
                &format!("id 1 local {} dev eth0 dstport 8472 nolearning", node.addr4),
                "",
            ),
            Fabric::VxlanByRoute => tunnel(
                node,
                other,
                "external dstport 4789",
                &format!("encap ip id 7 dst {}", other.addr4),
            ),
        };
        node.host.ip(&script)?;
        if fabric == Fabric::Vxlan {
            node.host.run(
                "bridge",
                &[
                    "fdb",
                    "append",
                    &mac(other),
                    "dev",
                    TUNNEL,
                    "dst",
                    &other.addr4.to_string(),
                ],
            )?;
        }
    }
    Ok(())
}

/// The vxlan device.
const TUNNEL: &str = "vxlan1";

/// The other node's device is a neighbour with a known MAC, as flannel has it.
fn tunnel(node: &Node, other: &Node, kind: &str, encap: &str) -> String {
    let (near, far) = (node.number(), other.number());
    let (pods4, pods6) = addresses::pod_networks(far);
    format!(
        "link add {TUNNEL} address {} type vxlan {kind}
        addr add 10.244.{near}.0/32 dev {TUNNEL}
        addr add fd00:244:{near}::/128 dev {TUNNEL} nodad
        link set {TUNNEL} mtu 1430 up
        neigh add 10.244.{far}.0 lladdr {peer} dev {TUNNEL} nud permanent
        neigh add fd00:244:{far}:: lladdr {peer} dev {TUNNEL} nud permanent
        route add {pods4} {encap} via 10.244.{far}.0 dev {TUNNEL} onlink
        route add {pods6} {encap} via fd00:244:{far}:: dev {TUNNEL} onlink\n",
        mac(node),
        peer = mac(other),
    )
}

fn mac(node: &Node) -> String {
    format!("02:18:00:00:00:{:02x}", node.number())
}
