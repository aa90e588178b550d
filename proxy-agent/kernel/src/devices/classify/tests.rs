//! Every rule, on nodes as CNIs and operators build them.

use super::*;
use crate::devices::world::Address;

/// A node in words.
#[derive(Default)]
struct Node {
    world: World,
    rules: Rules,
}

impl Node {
    fn link(mut self, index: u32, name: &str, kind: &str, change: impl FnOnce(&mut Link)) -> Self {
        let mut link = Link {
            name: name.to_owned(),
            kind: kind.to_owned(),
            mtu: 1500,
            up: true,
            layer: Layer::Ethernet,
            ..Link::default()
        };
        change(&mut link);
        self.world.links.insert(index, link);
        self
    }

    fn address(mut self, index: u32, ip: &str) -> Self {
        let address = Address {
            ip: ip.parse().unwrap(),
            prefix: 24,
            primary: true,
            duplicate: false,
        };
        self.world.addresses.entry(index).or_default().push(address);
        self
    }

    fn default_route(mut self, index: u32) -> Self {
        self.world.default_routes.insert(index);
        self
    }

    fn node_address(mut self, ip: &str) -> Self {
        self.rules.node_addresses.push(ip.parse().unwrap());
        self
    }

    fn exclude(mut self, pattern: &str) -> Self {
        self.rules.overrides.exclude.push(pattern.parse().unwrap());
        self
    }

    fn include(mut self, pattern: &str) -> Self {
        self.rules.overrides.include.push(pattern.parse().unwrap());
        self
    }

    #[track_caller]
    fn check(&self, expected: &[(&str, Option<Role>)]) {
        assert_eq!(self.world.links.len(), expected.len());
        for (name, role) in expected {
            let (index, link) = self
                .world
                .links
                .iter()
                .find(|(_index, link)| link.name == *name)
                .unwrap();
            let class = classify(*index, link, &self.world, &self.rules);
            assert_eq!(class.role, *role, "{name}: {}", class.why);
        }
    }
}

const NODE: Option<Role> = Some(Role::Node);
const POD: Option<Role> = Some(Role::Pod);
const OVERLAY: Option<Role> = Some(Role::Overlay);

fn pod(link: &mut Link) {
    link.peer_elsewhere = true;
}

fn port_of(master: u32, kind: &'static str) -> impl Fn(&mut Link) {
    move |link| {
        link.master = Some(master);
        link.port_kind = kind.to_owned();
    }
}

fn pod_port_of(master: u32, kind: &'static str) -> impl Fn(&mut Link) {
    move |link| {
        port_of(master, kind)(link);
        pod(link);
    }
}

#[test]
fn loopback_is_never_covered_even_with_the_node_address() {
    Node::default()
        .link(1, "lo", "", |link| link.loopback = true)
        .address(1, "192.0.2.1")
        .node_address("192.0.2.1")
        .include("*")
        .check(&[("lo", None)]);
}

#[test]
fn routed_veths_are_pods_with_and_without_an_address() {
    Node::default()
        .link(2, "eth0", "", |_| {})
        .default_route(2)
        .link(3, "cali1", "veth", pod)
        .link(4, "lxc1", "veth", pod)
        .address(4, "169.254.1.1")
        .link(5, "nk0", "netkit", pod)
        .check(&[("eth0", NODE), ("cali1", POD), ("lxc1", POD), ("nk0", POD)]);
}

#[test]
fn ports_of_a_pod_bridge_are_covered_and_the_bridge_is_not() {
    Node::default()
        .link(2, "eth0", "", |_| {})
        .default_route(2)
        .link(3, "cni0", "bridge", |_| {})
        .address(3, "10.244.1.1")
        .link(4, "veth1", "veth", pod_port_of(3, "bridge"))
        .link(5, "tap0", "tun", port_of(3, "bridge"))
        .link(6, "vx0", "vxlan", port_of(3, "bridge"))
        .check(&[
            ("eth0", NODE),
            ("cni0", None),
            ("veth1", POD),
            ("tap0", POD),
            ("vx0", OVERLAY),
        ]);
}

#[test]
fn a_node_in_a_container_has_a_veth_as_node_device() {
    // kind: eth0 is a veth whose other end is in the machine's namespace.
    Node::default()
        .link(2, "eth0", "veth", pod)
        .address(2, "172.18.0.2")
        .default_route(2)
        .link(3, "veth1", "veth", pod)
        .check(&[("eth0", NODE), ("veth1", POD)]);
    Node::default()
        .link(2, "eth0", "veth", pod)
        .address(2, "172.18.0.2")
        .node_address("172.18.0.2")
        .check(&[("eth0", NODE)]);
}

#[test]
fn an_uplink_in_the_bridge_that_has_the_node_address_is_the_way_in() {
    let uplink = || {
        Node::default()
            .link(2, "eth0", "", port_of(3, "bridge"))
            .link(3, "br0", "bridge", |_| {})
            .address(3, "192.0.2.1")
            .default_route(3)
            .link(4, "vnet0", "tun", port_of(3, "bridge"))
    };
    uplink().check(&[("eth0", NODE), ("br0", None), ("vnet0", POD)]);
    // Where the uplink is left out by option, the bridge is the only way in.
    uplink()
        .exclude("eth0")
        .check(&[("eth0", None), ("br0", NODE), ("vnet0", POD)]);
}

#[test]
fn a_bridge_with_the_node_address_and_no_uplink_is_covered_itself() {
    Node::default()
        .link(3, "br0", "bridge", |_| {})
        .address(3, "192.0.2.1")
        .node_address("192.0.2.1")
        .link(4, "veth1", "veth", pod_port_of(3, "bridge"))
        .check(&[("br0", NODE), ("veth1", POD)]);
}

#[test]
fn a_bond_is_covered_and_its_slaves_are_not() {
    Node::default()
        .link(2, "eth0", "", port_of(4, "bond"))
        .link(3, "eth1", "", port_of(4, "bond"))
        .link(4, "bond0", "bond", |_| {})
        .default_route(4)
        .link(5, "bond0.7", "vlan", |_| {})
        .address(5, "198.51.100.1")
        .link(6, "eth2", "", port_of(7, "team"))
        .link(7, "team0", "team", |_| {})
        .check(&[
            ("eth0", None),
            ("eth1", None),
            ("bond0", NODE),
            ("bond0.7", NODE),
            ("eth2", None),
            ("team0", None),
        ]);
}

#[test]
fn tunnels_are_overlays_while_they_are_up() {
    let kinds = [
        "vxlan",
        "geneve",
        "ipip",
        "gre",
        "sit",
        "wireguard",
        "ip6tnl",
    ];
    for kind in kinds {
        Node::default()
            .link(2, "t0", kind, |_| {})
            .check(&[("t0", OVERLAY)]);
        Node::default()
            .link(2, "t0", kind, |link| link.up = false)
            .check(&[("t0", None)]);
        Node::default()
            .link(2, "t0", kind, |link| link.layer = Layer::None)
            .check(&[("t0", OVERLAY)]);
        Node::default()
            .link(2, "t0", kind, |_| {})
            .default_route(2)
            .check(&[("t0", NODE)]);
        // Made in another namespace and moved here.
        Node::default()
            .link(2, "t0", kind, pod)
            .check(&[("t0", OVERLAY)]);
    }
}

#[test]
fn further_nics_are_covered_once_they_have_an_address() {
    Node::default()
        .link(2, "eth0", "", |_| {})
        .default_route(2)
        .link(3, "eth1", "", |_| {})
        .address(3, "198.51.100.1")
        .link(4, "eth2", "", |_| {})
        .link(5, "mv0", "macvlan", pod)
        .address(5, "198.51.100.2")
        .check(&[
            ("eth0", NODE),
            ("eth1", NODE),
            ("eth2", None),
            ("mv0", NODE),
        ]);
}

#[test]
fn devices_that_lead_nowhere_are_left_alone() {
    Node::default()
        .link(2, "nodelocaldns", "dummy", |_| {})
        .address(2, "169.254.20.10")
        .link(3, "kube-ipvs0", "dummy", |_| {})
        .link(4, "ifb0", "ifb", |_| {})
        .link(5, "cilium_net", "veth", |_| {})
        .link(6, "cilium_host", "veth", |_| {})
        .address(6, "10.0.0.1")
        .link(7, "vrf-red", "vrf", |_| {})
        .link(8, "docker0", "bridge", |_| {})
        .address(8, "172.17.0.1")
        .link(9, "ib0", "", |link| link.layer = Layer::Other)
        .address(9, "198.51.100.3")
        .check(&[
            ("nodelocaldns", None),
            ("kube-ipvs0", None),
            ("ifb0", None),
            ("cilium_net", None),
            ("cilium_host", None),
            ("vrf-red", None),
            ("docker0", None),
            ("ib0", None),
        ]);
}

#[test]
fn taps_are_virtual_machines_and_tuns_with_an_address_are_ways_in() {
    Node::default()
        .link(2, "tap1", "tun", |_| {})
        .link(3, "tun0", "tun", |link| link.layer = Layer::None)
        .address(3, "10.8.0.1")
        .link(4, "tun1", "tun", |link| link.layer = Layer::None)
        .check(&[("tap1", POD), ("tun0", NODE), ("tun1", None)]);
}

#[test]
fn open_vswitch_ports_are_left_to_the_internal_port_but_pods_are_covered() {
    Node::default()
        .link(2, "eth0", "", port_of(5, "openvswitch"))
        .link(3, "br-ex", "openvswitch", |_| {})
        .default_route(3)
        .link(4, "pod1", "veth", pod_port_of(5, "openvswitch"))
        .link(5, "ovs-system", "openvswitch", |_| {})
        .check(&[
            ("eth0", None),
            ("br-ex", NODE),
            ("pod1", POD),
            ("ovs-system", None),
        ]);
}

#[test]
fn options_decide_by_name_and_exclude_wins() {
    let node = || {
        Node::default()
            .link(2, "eth0", "", |_| {})
            .link(3, "cali1", "veth", pod)
            .default_route(2)
    };
    node()
        .exclude("cali*")
        .check(&[("eth0", NODE), ("cali1", None)]);
    node()
        .exclude("*")
        .include("*")
        .check(&[("eth0", None), ("cali1", None)]);
    Node::default()
        .link(2, "eth9", "", |_| {})
        .include("eth*")
        .check(&[("eth9", NODE)]);
    // A role that the rules find is not changed by including the device.
    node()
        .include("cali1")
        .check(&[("eth0", NODE), ("cali1", POD)]);
}
