//! Messages as the kernel sends them, in words.

use super::*;
use crate::netlink::wire::{Request, messages};

fn link_header(family: u8, arphrd: u16, index: u32, flags: u32) -> Vec<u8> {
    let mut fixed = vec![family, 0];
    fixed.extend(arphrd.to_ne_bytes());
    fixed.extend(index.to_ne_bytes());
    fixed.extend(flags.to_ne_bytes());
    fixed.extend([0; 4]);
    fixed
}

fn record(world: &mut World, request: Request) -> Changed {
    let bytes = request.finish(0).unwrap();
    let message = messages(&bytes).next().unwrap();
    world.record(&message)
}

fn new_link(index: u32, name: &str) -> Request {
    Request::new(msg::NEWLINK, 0, &link_header(0, 1, index, IFF_UP))
        .attribute(ifla::IFNAME, format!("{name}\0").as_bytes())
        .attribute(ifla::MTU, &1500u32.to_ne_bytes())
}

#[test]
fn links_are_read_whole_and_unknown_attributes_skipped() {
    let mut world = World::default();
    let message = new_link(7, "veth1")
        .attribute(999, b"whatever a later kernel adds")
        .attribute(ifla::LINK_NETNSID, &0i32.to_ne_bytes())
        .attribute(ifla::MASTER, &3u32.to_ne_bytes())
        .nested(ifla::LINKINFO, |info| {
            info.attribute(ifla::INFO_KIND, b"veth\0")
                .attribute(ifla::INFO_SLAVE_KIND, b"bridge\0")
        });
    assert_eq!(record(&mut world, message.clone()), Changed::Recorded);
    let expected = Link {
        name: "veth1".to_owned(),
        kind: "veth".to_owned(),
        port_kind: "bridge".to_owned(),
        master: Some(3),
        mtu: 1500,
        up: true,
        layer: Layer::Ethernet,
        peer_elsewhere: true,
        ..Link::default()
    };
    assert_eq!(world.links[&7], expected);
    assert_eq!(
        record(&mut world, message),
        Changed::Nothing,
        "the same again"
    );
}

#[test]
fn a_port_that_leaves_a_bridge_is_not_a_device_that_vanishes() {
    let mut world = World::default();
    record(&mut world, new_link(7, "veth1"));
    let left = Request::new(msg::DELLINK, 0, &link_header(family::BRIDGE, 1, 7, 0));
    assert_eq!(record(&mut world, left), Changed::Nothing);
    assert!(world.links.contains_key(&7));
    let gone = Request::new(msg::DELLINK, 0, &link_header(0, 1, 7, 0));
    assert_eq!(record(&mut world, gone), Changed::Recorded);
    assert!(world.links.is_empty());
    assert_eq!(world.gone, [7].into());
}

#[test]
fn routed_tunnels_are_told_from_those_with_a_far_end() {
    let tunnel = |kind: &str, data: &[(u16, &[u8])]| {
        let bytes = data
            .iter()
            .fold(Request::new(0, 0, &[]), |request, (kind, value)| {
                request.attribute(*kind, value)
            });
        routed_tunnel(kind, &bytes.finish(0).unwrap()[16..])
    };
    assert!(!tunnel("vxlan", &[]));
    assert!(!tunnel("vxlan", &[(25, &[0])]));
    assert!(tunnel("vxlan", &[(25, &[1])]));
    assert!(tunnel("geneve", &[(6, &[])]));
    assert!(!tunnel("ipip", &[(3, &[192, 0, 2, 1])]));
    assert!(tunnel("ipip", &[(3, &[0, 0, 0, 0])]), "as Calico makes it");
    assert!(tunnel("gre", &[]));
    assert!(!tunnel("wireguard", &[]));
}

fn address_message(kind: u16, flags: u8, scope: u8, ip: [u8; 4]) -> Request {
    let mut fixed = vec![family::INET, 24, flags, scope];
    fixed.extend(7u32.to_ne_bytes());
    Request::new(kind, 0, &fixed)
        .attribute(ifa::ADDRESS, &[9, 9, 9, 9])
        .attribute(ifa::LOCAL, &ip)
}

#[test]
fn addresses_come_change_and_go() {
    let mut world = World::default();
    assert_eq!(
        record(
            &mut world,
            address_message(msg::NEWADDR, 0, 0, [192, 0, 2, 1])
        ),
        Changed::Recorded
    );
    assert_eq!(
        record(
            &mut world,
            address_message(msg::NEWADDR, 1, 0, [192, 0, 2, 2])
        ),
        Changed::Recorded
    );
    let read: Vec<_> = world.addresses[&7]
        .iter()
        .map(|address| (address.ip.to_string(), address.primary))
        .collect();
    assert_eq!(
        read,
        [
            ("192.0.2.1".to_owned(), true),
            ("192.0.2.2".to_owned(), false)
        ]
    );
    assert_eq!(
        record(
            &mut world,
            address_message(msg::NEWADDR, 1, 0, [192, 0, 2, 2])
        ),
        Changed::Nothing
    );
    assert_eq!(
        record(
            &mut world,
            address_message(msg::NEWADDR, 0, 0, [192, 0, 2, 2])
        ),
        Changed::Recorded
    );
    assert_eq!(
        record(
            &mut world,
            address_message(msg::DELADDR, 0, 0, [192, 0, 2, 1])
        ),
        Changed::Recorded
    );
    assert_eq!(
        record(
            &mut world,
            address_message(msg::DELADDR, 0, 0, [192, 0, 2, 1])
        ),
        Changed::Nothing
    );
    assert_eq!(world.addresses[&7].len(), 1);
    record(
        &mut world,
        address_message(msg::NEWADDR, 0, 253, [192, 0, 2, 3]),
    );
    assert!(!world.addresses[&7][1].primary, "link scope");
}

/// A route with a destination of `dst_len` bits in `table`.
fn route(dst_len: u8, table: u8, kind: u8) -> Request {
    Request::new(
        msg::NEWROUTE,
        0,
        &[family::INET, dst_len, 0, 0, table, 0, 0, kind, 0, 0, 0, 0],
    )
}

#[test]
fn default_routes_name_their_devices() {
    let devices = |request: Request| {
        let bytes = request.finish(0).unwrap();
        default_route(messages(&bytes).next().unwrap().payload)
    };
    let oif = 4u32.to_ne_bytes();
    assert_eq!(
        devices(route(0, 254, 1).attribute(rta::OIF, &oif)),
        Some(vec![4])
    );
    assert_eq!(
        devices(
            route(24, 254, 1)
                .attribute(rta::DST, &[10, 0, 0, 0])
                .attribute(rta::OIF, &oif)
        ),
        None
    );
    assert_eq!(
        devices(route(0, 100, 1).attribute(rta::OIF, &oif)),
        None,
        "another table"
    );
    assert_eq!(
        devices(route(0, 254, 7).attribute(rta::OIF, &oif)),
        None,
        "unreachable"
    );
    let mut hops = Vec::new();
    for device in [5u32, 6] {
        hops.extend([16, 0, 0, 0]);
        hops.extend(device.to_ne_bytes());
        hops.extend([8, 0, 5, 0, 192, 0, 2, 9]);
    }
    assert_eq!(
        devices(route(0, 254, 1).attribute(rta::MULTIPATH, &hops)),
        Some(vec![5, 6])
    );
    let mut world = World::default();
    assert_eq!(
        record(&mut world, route(0, 254, 1).attribute(rta::OIF, &oif)),
        Changed::DefaultRoutes
    );
    assert_eq!(
        record(&mut world, route(16, 254, 1).attribute(rta::OIF, &oif)),
        Changed::Nothing
    );
}

#[test]
fn torn_messages_are_ignored() {
    let whole = new_link(7, "eth0").finish(0).unwrap();
    for len in 0..whole.len() - 16 {
        let message = Message {
            kind: msg::NEWLINK,
            flags: 0,
            sequence: 0,
            payload: &whole[16..16 + len],
        };
        World::default().record(&message);
        let message = Message {
            kind: msg::NEWROUTE,
            ..message
        };
        World::default().record(&message);
        let message = Message {
            kind: msg::NEWADDR,
            ..message
        };
        World::default().record(&message);
    }
}
