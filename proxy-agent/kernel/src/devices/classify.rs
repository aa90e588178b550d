//! What a device is to us. Pure: no names of any CNI, first match wins.

use std::net::IpAddr;

use super::Role;
use super::world::{Layer, Link, World};
use crate::options::{DeviceOverrides, LocalDetector};

/// What the operator and the cluster say.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// Addresses of the Node object, in its order.
    pub(super) node_addresses: Vec<IpAddr>,
    pub(super) detect: LocalDetector,
    pub(super) overrides: DeviceOverrides,
}

/// A role, and the rule that gave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Class {
    pub(super) role: Option<Role>,
    pub(super) why: &'static str,
}

const fn none(why: &'static str) -> Class {
    Class { role: None, why }
}

const fn some(role: Role, why: &'static str) -> Class {
    Class {
        role: Some(role),
        why,
    }
}

/// What the device `index` is.
pub(super) fn classify(index: u32, link: &Link, world: &World, rules: &Rules) -> Class {
    if link.loopback {
        return none("loopback");
    }
    if rules
        .overrides
        .exclude
        .iter()
        .any(|pattern| pattern.matches(&link.name))
    {
        return none("excluded by option");
    }
    if link.layer == Layer::Other {
        return none("its link layer is not known");
    }
    match by_kind(index, link, world, rules) {
        Class { role: None, .. }
            if rules
                .overrides
                .include
                .iter()
                .any(|pattern| pattern.matches(&link.name)) =>
        {
            some(Role::Node, "included by option")
        }
        class => class,
    }
}

fn by_kind(index: u32, link: &Link, world: &World, rules: &Rules) -> Class {
    match link.port_kind.as_str() {
        // The bond itself sees every packet.
        "bond" | "team" => return none("slave of a bond"),
        "bridge" => return bridge_port(link),
        // OVS forwards by its own tables: packets for the node come out of one of its internal ports.
        "openvswitch" if !leads_to_pod(link) => return none("port of an Open vSwitch bridge"),
        _other => {}
    }
    let node = carries_node(index, world, rules);
    if link.kind == "bridge" {
        return match node {
            Some(_why) if has_uplink(index, world, rules) => none("bridge: its ports are covered"),
            Some(_why) => some(
                Role::Node,
                "bridge that carries a node address or default route, without an uplink port",
            ),
            None => none("bridge: its ports are covered"),
        };
    }
    if let Some(why) = node {
        return some(Role::Node, why);
    }
    if is_tunnel(&link.kind) {
        // Modules make fallback tunnels that nobody uses; they are down.
        return if link.up {
            some(Role::Overlay, "tunnel")
        } else {
            none("tunnel that is down")
        };
    }
    if leads_to_pod(link) {
        return some(Role::Pod, "its other end is in another network namespace");
    }
    let addressed = has_source_address(index, world);
    match link.kind.as_str() {
        // Nothing ever comes in by these.
        "dummy" | "ifb" | "vrf" | "nlmon" | "veth" | "netkit" => none("leads nowhere"),
        "tun" if !addressed && link.layer == Layer::Ethernet => some(
            Role::Pod,
            "tap device without an address: a virtual machine",
        ),
        _other if addressed => some(Role::Node, "carries an address"),
        _other => none("carries no address"),
    }
}

/// Ports are attached instead of their bridge: packets between two ports never pass the bridge device itself.
fn bridge_port(link: &Link) -> Class {
    if is_tunnel(&link.kind) {
        return some(Role::Overlay, "bridge port: tunnel");
    }
    if leads_to_pod(link) {
        return some(
            Role::Pod,
            "bridge port: its other end is in another network namespace",
        );
    }
    match link.kind.as_str() {
        "tun" => some(Role::Pod, "bridge port: a virtual machine"),
        "dummy" | "ifb" | "veth" | "netkit" => none("bridge port that leads nowhere"),
        _uplink => some(Role::Node, "bridge port: uplink"),
    }
}

fn has_uplink(bridge: u32, world: &World, rules: &Rules) -> bool {
    let ports = world
        .links
        .iter()
        .filter(|(_index, link)| link.master == Some(bridge));
    ports
        .into_iter()
        .any(|(index, port)| classify(*index, port, world, rules).role == Some(Role::Node))
}

fn carries_node(index: u32, world: &World, rules: &Rules) -> Option<&'static str> {
    let addresses = world
        .addresses
        .get(&index)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if addresses
        .iter()
        .any(|address| rules.node_addresses.contains(&address.ip))
    {
        Some("carries an address of the Node object")
    } else if world.default_routes.contains(&index) {
        Some("carries a default route")
    } else {
        None
    }
}

fn has_source_address(index: u32, world: &World) -> bool {
    world
        .addresses
        .get(&index)
        .is_some_and(|addresses| addresses.iter().any(|address| address.primary))
}

fn leads_to_pod(link: &Link) -> bool {
    link.peer_elsewhere && matches!(link.kind.as_str(), "veth" | "netkit")
}

/// Kinds whose packets travel inside others.
pub(super) fn is_tunnel(kind: &str) -> bool {
    matches!(
        kind,
        "vxlan"
            | "geneve"
            | "ipip"
            | "sit"
            | "ip6tnl"
            | "gre"
            | "gretap"
            | "ip6gre"
            | "ip6gretap"
            | "erspan"
            | "ip6erspan"
            | "wireguard"
            | "vti"
            | "vti6"
            | "xfrm"
            | "bareudp"
    )
}

#[cfg(test)]
mod tests;
