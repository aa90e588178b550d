//! From what netlink says to what should be: programs per device, DEVICES and `ADDRS`, masquerade or not. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proxy_common::addr::{V4, V6};
use proxy_common::flags::{AddrFlags, DeviceFlags};
use proxy_common::value::Device;

use super::Role;
use super::classify::{Class, Rules, classify};
use super::world::{Layer, Link, World};
use crate::options::{LocalDetector, NodePortAddresses, is_link_local, node_addr_flags};

/// What should be done about one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) class: Class,
    /// Run the programs for devices without link-layer header.
    pub(super) l3: bool,
    pub(super) physical: bool,
    /// Value of DEVICES, once it is covered.
    pub(super) device: Device,
    /// Needs netfilter's masquerade for packets that leave by it.
    pub(super) masquerade: bool,
}

impl Wanted {
    /// Value of DEVICES before it is covered: nothing may be sent out of it whose answer nobody would translate.
    pub(super) fn uncovered(&self) -> Device {
        let flags = DeviceFlags(self.device.flags.0 & !DeviceFlags::REDIRECT.0);
        Device {
            flags,
            ..self.device
        }
    }
}

/// The whole state of the node, as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Plan {
    pub(super) devices: BTreeMap<u32, Wanted>,
    /// Local addresses, and what they are to the programs.
    pub(super) addresses: BTreeMap<IpAddr, AddrFlags>,
}

impl Plan {
    /// The first device that needs netfilter's masquerade.
    pub(super) fn masquerade(&self) -> Option<&str> {
        self.devices
            .values()
            .find(|wanted| wanted.masquerade)
            .map(|wanted| wanted.name.as_str())
    }
}

/// Computes the plan.
pub(super) fn plan(world: &World, rules: &Rules, node_ports: &NodePortAddresses) -> Plan {
    let classes: BTreeMap<u32, Class> = world
        .links
        .iter()
        .map(|(index, link)| (*index, classify(*index, link, world, rules)))
        .collect();
    let node = Sources::of_node(world, rules);
    let devices = world
        .links
        .iter()
        .filter(|(_index, link)| !link.loopback)
        .filter_map(|(index, link)| {
            let class = *classes.get(index)?;
            let redirect = redirectable(*index, link, world, &classes);
            let own = Sources::of_device(*index, world);
            let device = Device {
                flags: flags(class.role, link, redirect)
                    .with(inside(class.role, link, world, rules)),
                mtu: link.mtu,
                src4: own.v4.or(node.v4).map_or(V4::default(), V4::from),
                src6: own.v6.or(node.v6).map_or(V6::default(), V6::from),
            };
            let wanted = Wanted {
                name: link.name.clone(),
                kind: link.kind.clone(),
                class,
                l3: link.layer == Layer::None,
                physical: link.physical,
                device,
                masquerade: !redirect && may_carry_routes(*index, link, class, world),
            };
            Some((*index, wanted))
        });
    Plan {
        devices: devices.collect(),
        addresses: addresses(world, rules, &node, node_ports),
    }
}

fn flags(role: Option<Role>, link: &Link, redirect: bool) -> DeviceFlags {
    let role = match role {
        Some(Role::Node) => DeviceFlags::NODE,
        Some(Role::Overlay) => DeviceFlags::OVERLAY,
        Some(Role::Pod) => DeviceFlags::POD,
        None => DeviceFlags::default(),
    };
    let layer = if link.layer == Layer::None {
        DeviceFlags::L3
    } else {
        DeviceFlags::default()
    };
    let peer = if role == DeviceFlags::POD && matches!(link.kind.as_str(), "veth" | "netkit") {
        DeviceFlags::PEER
    } else {
        DeviceFlags::default()
    };
    let redirect = if redirect {
        DeviceFlags::REDIRECT
    } else {
        DeviceFlags::default()
    };
    role.with(layer).with(peer).with(redirect)
}

/// Whether what enters by the device comes from a pod of this node, as far as policies care (SEMANTICS 9.4). kube-proxy's detectors
/// see the device whose IP layer takes the packet: the bridge, where it enters by a port of one.
fn inside(role: Option<Role>, link: &Link, world: &World, rules: &Rules) -> DeviceFlags {
    let bridge = link
        .master
        .filter(|_master| link.port_kind == "bridge")
        .and_then(|master| world.links.get(&master));
    let name = &bridge.unwrap_or(link).name;
    let inside = match &rules.detect {
        LocalDetector::Devices => role == Some(Role::Pod),
        LocalDetector::Bridge(bridge) => name == bridge,
        LocalDetector::Prefix(prefix) => name.starts_with(prefix),
        LocalDetector::Cidr | LocalDetector::None => false,
    };
    if inside {
        DeviceFlags::INSIDE
    } else {
        DeviceFlags::default()
    }
}

/// Whether a packet may be sent out of the device by its route alone, and its answer surely passes our programs.
///
/// Not without a link-layer header: the kernel's redirect needs one on both sides.
fn redirectable(index: u32, link: &Link, world: &World, classes: &BTreeMap<u32, Class>) -> bool {
    let covered = |index: &u32| classes.get(index).is_some_and(|class| class.role.is_some());
    let plain = link.layer == Layer::Ethernet
        && !link.routed_tunnel
        && !matches!(link.port_kind.as_str(), "openvswitch" | "vrf");
    if link.kind == "bridge" && !covered(&index) {
        return plain
            && world
                .links
                .iter()
                .filter(|(_port, link)| link.master == Some(index))
                .all(|(port, _link)| covered(port));
    }
    plain && covered(&index)
}

/// Whether the route to a backend on another node may name this device.
fn may_carry_routes(index: u32, link: &Link, class: Class, world: &World) -> bool {
    let port = matches!(
        link.port_kind.as_str(),
        "bridge" | "bond" | "team" | "openvswitch"
    );
    let leaf = matches!(link.kind.as_str(), "dummy" | "ifb" | "nlmon" | "vrf")
        || class.role == Some(Role::Pod);
    let addressed = world
        .addresses
        .get(&index)
        .is_some_and(|addresses| addresses.iter().any(|address| !is_link_local(address.ip)));
    link.up
        && !link.loopback
        && !port
        && !leaf
        && (addressed || world.default_routes.contains(&index))
}

/// Source addresses for packets of our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sources {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Sources {
    /// The first usable addresses of both families.
    fn first(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut sources = Self::default();
        for ip in addresses {
            match ip {
                IpAddr::V4(ip) if !ip.is_loopback() => sources.v4 = sources.v4.or(Some(ip)),
                IpAddr::V6(ip) if !ip.is_loopback() => sources.v6 = sources.v6.or(Some(ip)),
                _loopback => {}
            }
        }
        sources
    }

    fn or(self, other: Self) -> Self {
        Self {
            v4: self.v4.or(other.v4),
            v6: self.v6.or(other.v6),
        }
    }

    fn of_device(index: u32, world: &World) -> Self {
        let addresses = world
            .addresses
            .get(&index)
            .map(Vec::as_slice)
            .unwrap_or_default();
        Self::first(
            addresses
                .iter()
                .filter(|address| address.primary)
                .map(|address| address.ip),
        )
    }

    /// The Node object's addresses that are here; else the default route's device; else any.
    fn of_node(world: &World, rules: &Rules) -> Self {
        let local = || {
            world
                .addresses
                .values()
                .flatten()
                .filter(|address| address.primary)
                .map(|address| address.ip)
        };
        let named = Self::first(local().filter(|ip| rules.node_addresses.contains(ip)));
        let routed = world
            .default_routes
            .iter()
            .map(|index| Self::of_device(*index, world));
        routed.fold(named, Self::or).or(Self::first(local()))
    }
}

fn addresses(
    world: &World,
    rules: &Rules,
    node: &Sources,
    node_ports: &NodePortAddresses,
) -> BTreeMap<IpAddr, AddrFlags> {
    let own = [node.v4.map(IpAddr::from), node.v6.map(IpAddr::from)];
    // Without a Node object, the addresses that the node would use itself.
    let own: Vec<IpAddr> = own.into_iter().flatten().collect();
    let named = if rules.node_addresses.is_empty() {
        &own
    } else {
        &rules.node_addresses
    };
    let local = world
        .addresses
        .values()
        .flatten()
        .filter(|address| !address.duplicate)
        .map(|address| address.ip);
    node_addr_flags(node_ports, named, local)
}

#[cfg(test)]
mod tests;
