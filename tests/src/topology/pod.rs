//! A pod: a namespace of its own, connected to its node in the node's style.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::addresses::{self, Family};
use super::fabric::QUIET;
use super::node::{Node, Style};
use crate::place::Place;
use crate::probe::process::Server;

/// The next hop of routed pods: answered by proxy ARP, as Calico does.
const NEXT_HOP4: &str = "169.254.1.1";
/// MAC of the host's end of all routed pods, as Calico sets it.
const NEXT_HOP_MAC: &str = "ee:ee:ee:ee:ee:ee";
/// The link-local address that follows from [`NEXT_HOP_MAC`].
const NEXT_HOP6: &str = "fe80::ecee:eeff:feee:eeee";

/// A pod. Its namespace, device and routes go when it is dropped.
#[derive(Debug)]
pub struct Pod {
    servers: Vec<Server>,
    /// Where its processes run.
    pub place: Place,
    /// Its address.
    pub addr4: Ipv4Addr,
    /// Its address.
    pub addr6: Ipv6Addr,
    /// The host's end of its veth.
    pub device: String,
    /// The node it is on.
    pub node: String,
}

impl Pod {
    pub(super) fn plug(node: &Node, place: Place, index: u8) -> Result<Self> {
        let (addr4, addr6) = addresses::pod(node.number(), index);
        let ns = place.ns().name();
        place.sysctl(&QUIET)?;
        let device = match node.style {
            Style::Bridge => format!("veth{index:08x}"),
            Style::Routed => format!("cali{index:011x}"),
        };
        match node.style {
            Style::Bridge => {
                node.host.ip(&format!("link add {device} type veth peer name eth0 netns {ns}\nlink set {device} master cni0 up\n"))?;
                let (gateway4, gateway6) = addresses::pod(node.number(), 0);
                place.ip(&format!(
                    "link set lo up
                    addr add {addr4}/24 dev eth0
                    addr add {addr6}/64 dev eth0 nodad
                    link set eth0 up
                    route add default via {gateway4}
                    route add default via {gateway6}\n"
                ))?;
            }
            Style::Routed => {
                node.host.ip(&format!(
                    "link add {device} address {NEXT_HOP_MAC} type veth peer name eth0 netns {ns}
                    link set {device} up
                    route add {addr4}/32 dev {device} scope link
                    route add {addr6}/128 dev {device}\n"
                ))?;
                let (v4, v6) = (
                    format!("ipv4/conf/{device}/proxy_arp"),
                    format!("ipv6/conf/{device}/proxy_ndp"),
                );
                node.host.sysctl(&[
                    (&v4, "1"),
                    (&v6, "1"),
                    (&format!("ipv4/neigh/{device}/proxy_delay"), "0"),
                ])?;
                place.ip(&format!(
                    "link set lo up
                    addr add {addr4}/32 dev eth0
                    addr add {addr6}/128 dev eth0 nodad
                    link set eth0 up
                    route add {NEXT_HOP4} dev eth0 scope link
                    route add default via {NEXT_HOP4}
                    route add default via {NEXT_HOP6} dev eth0\n"
                ))?;
            }
        }
        node.host.wait_up(&device)?;
        place.wait_up("eth0")?;
        Ok(Self {
            servers: Vec::new(),
            place,
            addr4,
            addr6,
            device,
            node: node.name().to_owned(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Its address.
    pub fn ip(&self, family: Family) -> IpAddr {
        family.pick(self.addr4, self.addr6)
    }

    /// Starts a server under the pod's name.
    pub fn serve(&mut self, port: u16) -> Result<()> {
        self.servers
            .push(Server::start(&self.place, &self.place.name, port)?);
        Ok(())
    }

    /// Ends its servers.
    pub fn stop_serving(&mut self) {
        self.servers.clear();
    }
}
