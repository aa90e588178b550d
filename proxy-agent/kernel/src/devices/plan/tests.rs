//! DEVICES, `ADDRS` and the need for masquerade, on small nodes.

use super::*;
use crate::devices::world::Address;

fn link(name: &str, kind: &str) -> Link {
    Link {
        name: name.to_owned(),
        kind: kind.to_owned(),
        mtu: 1500,
        up: true,
        layer: Layer::Ethernet,
        ..Link::default()
    }
}

fn address(ip: &str, primary: bool) -> Address {
    Address {
        ip: ip.parse().unwrap(),
        prefix: 24,
        primary,
        duplicate: false,
    }
}

/// eth0 with two addresses of each family and a default route, a routed pod, loopback.
fn node() -> World {
    let mut world = World::default();
    world.links.insert(
        1,
        Link {
            loopback: true,
            ..link("lo", "")
        },
    );
    world.links.insert(2, link("eth0", ""));
    world.links.insert(
        3,
        Link {
            peer_elsewhere: true,
            mtu: 1450,
            ..link("cali1", "veth")
        },
    );
    world.addresses.insert(
        1,
        vec![
            address("127.0.0.1", true),
            address("::1", true),
            address("203.0.113.9", true),
        ],
    );
    world.addresses.insert(
        2,
        vec![
            address("192.0.2.1", true),
            address("192.0.2.77", false),
            address("fe80::1", false),
            address("2001:db8::5", false),
            address("2001:db8::1", true),
        ],
    );
    world.default_routes.insert(2);
    world
}

fn planned(world: &World) -> Plan {
    plan(world, &Rules::default(), &NodePortAddresses::default())
}

fn serving(world: &World, rules: &Rules, node_ports: &str) -> Vec<String> {
    let plan = plan(world, rules, &node_ports.parse().unwrap());
    plan.addresses
        .iter()
        .filter(|(_ip, flags)| flags.has(AddrFlags::NODE_PORT))
        .map(|(ip, _flags)| ip.to_string())
        .collect()
}

#[test]
fn devices_carry_role_mtu_and_sources() {
    let plan = planned(&node());
    assert_eq!(plan.devices.keys().copied().collect::<Vec<_>>(), [2, 3]);
    let eth0 = plan.devices[&2].device;
    assert_eq!(eth0.flags, DeviceFlags::NODE.with(DeviceFlags::REDIRECT));
    assert_eq!(eth0.mtu, 1500);
    assert_eq!(eth0.src4.to_string(), "192.0.2.1");
    assert_eq!(
        eth0.src6.to_string(),
        "2001:db8::1",
        "the primary one, not the first"
    );
    let pod = plan.devices[&3].device;
    let expected = DeviceFlags::POD
        .with(DeviceFlags::INSIDE)
        .with(DeviceFlags::PEER);
    assert_eq!(pod.flags, expected.with(DeviceFlags::REDIRECT));
    assert_eq!(pod.mtu, 1450);
    assert_eq!(
        pod.src4, eth0.src4,
        "a device without an address uses the node's"
    );
    assert_eq!(pod.src6, eth0.src6);
    assert_eq!(plan.devices[&2].uncovered().flags, DeviceFlags::NODE);
}

#[test]
fn node_addresses_decide_the_source_of_devices_without_one() {
    let mut world = node();
    world.links.insert(4, link("eth1", ""));
    world
        .addresses
        .insert(4, vec![address("198.51.100.4", true)]);
    let rules = Rules {
        node_addresses: ["198.51.100.4".parse().unwrap()].into(),
        ..Rules::default()
    };
    let plan = plan(&world, &rules, &NodePortAddresses::default());
    assert_eq!(plan.devices[&3].device.src4.to_string(), "198.51.100.4");
    assert_eq!(plan.devices[&3].device.src6.to_string(), "2001:db8::1");
}

#[test]
fn node_ports_are_served_where_the_option_says() {
    let rules = Rules::default();
    let all = [
        "127.0.0.1",
        "192.0.2.1",
        "192.0.2.77",
        "203.0.113.9",
        "::1",
        "2001:db8::1",
        "2001:db8::5",
    ];
    assert_eq!(serving(&node(), &rules, "all"), all);
    assert_eq!(
        serving(&node(), &rules, "192.0.2.0/24,2001:db8::1/128"),
        ["192.0.2.1", "192.0.2.77", "2001:db8::1"]
    );
    // SEMANTICS 3.1: IPv6 is not restricted where only IPv4 ranges are given.
    assert_eq!(
        serving(&node(), &rules, "127.0.0.0/8"),
        ["127.0.0.1", "::1", "2001:db8::1", "2001:db8::5"]
    );
    // Without a Node object, the addresses the node would use itself.
    assert_eq!(
        serving(&node(), &rules, "primary"),
        ["192.0.2.1", "2001:db8::1"]
    );
    let named = Rules {
        node_addresses: ["192.0.2.77".parse().unwrap()].into(),
        ..Rules::default()
    };
    assert_eq!(
        serving(&node(), &named, "primary"),
        ["192.0.2.77", "::1", "2001:db8::1", "2001:db8::5"],
        "SEMANTICS 3.1: the Node object has no IPv6 address, so IPv6 is not restricted"
    );
}

/// SEMANTICS 9.4.
#[test]
fn detectors_mark_the_devices_that_local_pods_come_in_by() {
    let mut world = node();
    world.links.insert(4, link("cni0", "bridge"));
    for (index, name) in [(5, "vethab"), (6, "eth1")] {
        world.links.insert(
            index,
            Link {
                port_kind: "bridge".to_owned(),
                master: Some(4),
                peer_elsewhere: index == 5,
                ..link(name, if index == 5 { "veth" } else { "" })
            },
        );
    }
    let inside = |detect: LocalDetector| {
        let rules = Rules {
            detect,
            ..Rules::default()
        };
        let plan = plan(&world, &rules, &NodePortAddresses::default());
        let inside = plan
            .devices
            .into_values()
            .filter(|wanted| wanted.device.flags.has(DeviceFlags::INSIDE));
        inside.map(|wanted| wanted.name).collect::<Vec<_>>()
    };
    let pod = &world.links[&3].name;
    assert_eq!(inside(LocalDetector::Devices), [pod, "vethab"]);
    assert_eq!(
        inside(LocalDetector::Bridge("cni0".to_owned())),
        ["cni0", "vethab", "eth1"],
        "the IP layer sees the bridge, whatever port a packet came in by"
    );
    assert_eq!(
        inside(LocalDetector::Prefix(pod[..2].to_owned())),
        [pod.as_str()]
    );
    assert_eq!(
        inside(LocalDetector::Prefix("veth".to_owned())),
        [""; 0],
        "a port's own name is not seen"
    );
    assert_eq!(inside(LocalDetector::Cidr), [""; 0]);
    assert_eq!(inside(LocalDetector::None), [""; 0]);
}

#[test]
fn link_local_and_duplicate_addresses_are_not_listed() {
    let mut world = node();
    world.addresses.get_mut(&2).unwrap().push(Address {
        duplicate: true,
        ..address("2001:db8::dead", false)
    });
    let plan = planned(&world);
    for ip in ["fe80::1", "2001:db8::dead"] {
        assert!(!plan.addresses.contains_key(&ip.parse().unwrap()), "{ip}");
    }
}

#[test]
fn a_bridge_is_redirectable_while_all_its_ports_are_covered() {
    let mut world = node();
    world.links.insert(5, link("cni0", "bridge"));
    world.addresses.insert(5, vec![address("10.244.1.1", true)]);
    let port = |world: &mut World, index, peer_elsewhere| {
        let port = Link {
            peer_elsewhere,
            master: Some(5),
            port_kind: "bridge".to_owned(),
            ..link(&format!("veth{index}"), "veth")
        };
        world.links.insert(index, port);
    };
    port(&mut world, 6, true);
    let plan = planned(&world);
    assert_eq!(plan.devices[&5].device.flags, DeviceFlags::REDIRECT);
    assert_eq!(plan.masquerade(), None);
    port(&mut world, 7, false);
    let plan = planned(&world);
    assert_eq!(plan.devices[&5].device.flags, DeviceFlags::default());
    assert_eq!(plan.masquerade(), Some("cni0"));
}

#[test]
fn masquerade_is_needed_where_a_route_may_leave_by_what_we_cannot_redirect_to() {
    let with = |change: &dyn Fn(&mut Link), ip: Option<&str>| {
        let mut world = node();
        let mut tunnel = link("t0", "vxlan");
        change(&mut tunnel);
        world.links.insert(9, tunnel);
        world
            .addresses
            .insert(9, ip.map(|ip| address(ip, true)).into_iter().collect());
        planned(&world).masquerade().map(str::to_owned)
    };
    assert_eq!(
        with(&|_| {}, Some("10.244.1.0")),
        None,
        "flannel's vxlan: the route says it all"
    );
    assert_eq!(
        with(&|link| link.routed_tunnel = true, Some("10.244.1.0")).as_deref(),
        Some("t0")
    );
    assert_eq!(
        with(&|link| link.routed_tunnel = true, None),
        None,
        "nothing is routed to it"
    );
    assert_eq!(
        with(&|link| link.layer = Layer::None, Some("10.244.1.0")).as_deref(),
        Some("t0")
    );
    assert_eq!(
        with(
            &|link| {
                link.layer = Layer::None;
                link.up = false;
            },
            Some("10.244.1.0")
        ),
        None
    );
    assert_eq!(
        with(
            &|link| link.kind = "dummy".to_owned(),
            Some("169.254.20.10")
        ),
        None
    );
    assert_eq!(
        with(
            &|link| link.kind = "openvswitch".to_owned(),
            Some("10.244.1.0")
        ),
        None
    );
    assert_eq!(
        with(
            &|link| link.port_kind = "vrf".to_owned(),
            Some("10.244.1.0")
        )
        .as_deref(),
        Some("t0")
    );
}
