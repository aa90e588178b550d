//! What is asked about: the maps of one node, what its devices are, and the names behind the numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use anyhow::Context as _;
use proxy_common::addr::Addr;
use proxy_common::be::Be16;
use proxy_common::explain;
use proxy_common::flags::{AddrFlags, BackendFlags, detect};
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, Device, Frontend, Settings};
use proxy_model::MemoryMaps;

use super::question::{Question, Side};

/// A network and the length of its prefix.
pub type Network = (IpAddr, u8);

/// One node, as its programs see it.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Everything that the planner writes.
    pub maps: MemoryMaps,
    /// The node's own bits of ADDRS; loopback stands under 127.0.0.1 and `::1`.
    pub addrs: BTreeMap<IpAddr, AddrFlags>,
    /// DEVICES.
    pub devices: BTreeMap<u32, Device>,
    /// The device that a packet from a pod enters by.
    pub pod_device: Option<u32>,
    /// The device that a packet from outside enters by.
    pub outside_device: Option<u32>,
    /// SETTINGS.
    pub settings: Settings,
    /// Addresses of this node.
    pub host: BTreeSet<IpAddr>,
    /// Endpoints on this node; see [`State::local_backends`].
    pub local: BTreeSet<IpAddr>,
    /// Networks whose addresses are pods of this node, where it is not the maps that say so.
    pub pods: Vec<Network>,
    /// `namespace/name:port` by service id.
    pub names: HashMap<u32, String>,
}

impl State {
    /// Where a flow begins whose question does not say so: an address of the node is a process of the node, one that the local
    /// detector knows is a pod, any other is outside.
    pub fn side(&self, question: &Question) -> Side {
        let src = question.src.ip;
        if let Some(side) = question.from {
            side
        } else if src.is_loopback() || src.is_unspecified() || self.host.contains(&src) {
            Side::Host
        } else if self.knows(src) {
            Side::Pod
        } else {
            Side::Outside
        }
    }

    /// Whether the local detector takes the address for one of a pod (SEMANTICS 9.4). One that goes by devices is asked about the
    /// node's pod networks, and about the endpoints on this node.
    fn knows(&self, ip: IpAddr) -> bool {
        let MemoryMaps { cidrs4, cidrs6, .. } = &self.maps;
        match self.settings.detect {
            detect::CIDR => {
                let v4 = cidrs4.0.map(|(addr, bits)| (addr.ip(), bits));
                let v6 = cidrs6.0.map(|(addr, bits)| (addr.ip(), bits));
                v4.into_iter().chain(v6).any(|net| within(net, ip))
            }
            detect::DEVICE => {
                self.pods.iter().any(|net| within(*net, ip)) || self.local.contains(&ip)
            }
            _ => false,
        }
    }

    /// The device that a flow enters by.
    pub fn entry(&self, side: Side) -> anyhow::Result<(u32, Device)> {
        let (index, what) = match side {
            Side::Pod => (self.pod_device, "a pod of this node"),
            Side::Host | Side::Outside => (self.outside_device, "other nodes or the outside"),
        };
        let device = index.and_then(|index| Some((index, *self.devices.get(&index)?)));
        device.with_context(|| {
            format!(
                "--from {}: no device of this node leads to {what}, so nothing can enter there",
                side.label()
            )
        })
    }

    /// Endpoints on this node.
    pub fn local_backends(maps: &MemoryMaps) -> BTreeSet<IpAddr> {
        fn of<A: Addr>(backends: &BTreeMap<u32, Backend<A>>) -> impl Iterator<Item = IpAddr> {
            let local = backends
                .values()
                .filter(|backend| backend.flags.has(BackendFlags::LOCAL));
            local.map(|backend| backend.addr.ip())
        }
        of(&maps.backends4).chain(of(&maps.backends6)).collect()
    }

    /// The frontend that a program found at `place` for the question.
    pub fn frontend(&self, question: &Question, place: u32) -> Option<Frontend> {
        let (port, proto) = (Be16::new(question.dst.port()), question.proto.number());
        match question.dst.ip() {
            IpAddr::V4(ip) => at(&self.maps.frontends4, ip.into(), port, proto, place),
            IpAddr::V6(ip) => at(&self.maps.frontends6, ip.into(), port, proto, place),
        }
    }

    /// The name of a Service; its number where the name is not known.
    pub fn name(&self, service: u32) -> String {
        let known = self.names.get(&service).cloned();
        known.unwrap_or_else(|| format!("#{service}"))
    }
}

fn at<A: Addr>(
    frontends: &BTreeMap<FrontendKey<A>, Frontend>,
    addr: A,
    port: Be16,
    proto: u8,
    place: u32,
) -> Option<Frontend> {
    let addr = match place {
        explain::EXACT => addr,
        explain::NODE_PORT => A::unspecified(),
        _ => return None,
    };
    frontends.get(&FrontendKey::new(addr, port, proto)).copied()
}

/// How a port of a Service is called: `namespace/name:port`, or `namespace/name` if the port has no name, as kube-proxy does.
pub fn label(namespace: &str, name: &str, port_name: &str) -> String {
    match port_name {
        "" => format!("{namespace}/{name}"),
        port => format!("{namespace}/{name}:{port}"),
    }
}

/// Whether `ip` is in the network; never across families.
pub fn within((net, bits): Network, ip: IpAddr) -> bool {
    let shift = |width: u32| width.saturating_sub(u32::from(bits));
    match (net, ip) {
        (IpAddr::V4(net), IpAddr::V4(ip)) => {
            let differs = net.to_bits() ^ ip.to_bits();
            differs.checked_shr(shift(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(net), IpAddr::V6(ip)) => {
            let differs = net.to_bits() ^ ip.to_bits();
            differs.checked_shr(shift(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_only() {
        let check = |net: &str, bits, ip: &str, expected| {
            let net = (net.parse().unwrap(), bits);
            assert_eq!(within(net, ip.parse().unwrap()), expected, "{net:?} {ip}");
        };
        check("10.1.0.0", 16, "10.1.255.9", true);
        check("10.1.0.0", 16, "10.2.0.1", false);
        check("0.0.0.0", 0, "192.0.2.1", true);
        check("0.0.0.0", 0, "::1", false);
        check("192.0.2.7", 32, "192.0.2.6", false);
        check("fd00::", 8, "fdff::1", true);
        check("fd00::1", 128, "fd00::2", false);
    }
}
