//! Packets that cannot go on, and what their sender is told.

use std::net::SocketAddr;

use proxy_common::flags::{DeviceFlags, FlowFlags, FrontendFlags};
use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::{Build, FROM, TO};
use proxy_common::sim::{Program, Skb};
use proxy_common::value::Slice;

use crate::node::{FAMILIES, NARROW, NODE, Names, Node, Out, POD, SCTP, TCP, UDP, at, opening};

/// Asserts that `out` is an ICMP error about `packet`, from the frontend back to its client.
#[track_caller]
fn is_error(
    out: &Out,
    packet: &[u8],
    src: SocketAddr,
    dst: SocketAddr,
    head: [u8; 8],
    reason: Reason,
) {
    let (icmp, ip) = if src.is_ipv4() { (1, 20) } else { (58, 40) };
    // An SCTP socket knows an INIT by the tag in it.
    let sctp = packet[if ip == 20 { 9 } else { 6 }] == SCTP;
    let quoted = ip + if sctp { 20 } else { 8 };
    out.is(
        Action::Back,
        at(&dst.ip().to_string(), 0),
        at(&src.ip().to_string(), 0),
        reason,
    );
    assert_eq!((out.seen.proto, out.seen.ttl), (icmp, 64));
    assert_eq!(
        [&out.seen.segment[..2], &out.seen.segment[4..8]].concat(),
        [&head[..2], &head[4..]].concat()
    );
    assert_eq!(out.seen.segment[8..], packet[..quoted]);
    if out.skb.bytes.len() > ip + 8 + quoted {
        assert_eq!(&out.skb.bytes[..12], [FROM, TO].as_flattened());
    }
}

const fn head(v6: bool, four: [u8; 2], six: [u8; 2], rest: [u8; 4]) -> [u8; 8] {
    let [kind, code] = if v6 { six } else { four };
    [kind, code, 0, 0, rest[0], rest[1], rest[2], rest[3]]
}

#[test]
fn no_endpoints_is_port_unreachable() {
    for names in &FAMILIES {
        for proto in [TCP, UDP, SCTP] {
            for payload in [0, 1, 2, 3, 400] {
                for l3 in [false, true] {
                    let mut node = Node::new();
                    node.l3.set(l3);
                    let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
                    node.service(vip, proto, &[]);
                    let payload = if proto == SCTP { 16 + payload } else { payload };
                    let packet = opening(proto, client, vip)
                        .payload(&vec![0x5a; payload])
                        .packet();
                    let out = node.enter(POD, &packet);
                    let head = head(names.v6, [3, 3], [1, 4], [0; 4]);
                    is_error(&out, &packet, client, vip, head, Reason::NoEndpoints);
                    assert_eq!(node.entries(), (0, 0));
                }
            }
        }
    }
}

#[test]
fn no_endpoints_for_a_fragment_is_told_for_the_first_one_only() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 53));
        node.service(vip, UDP, &[]);
        let [first, later] = Build::udp(client, vip).payload(&[7; 64]).parts(40);
        assert_eq!(node.enter(POD, &first).action, Action::Back);
        assert_eq!(node.enter(POD, &later).reasons, [Reason::FragmentUnknown]);
    }
}

#[test]
fn header_with_options_is_dropped_in_silence() {
    let names = &FAMILIES[0];
    let mut node = Node::new();
    let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
    node.service(vip, TCP, &[]);
    let out = node.enter(POD, &Build::tcp(client, vip).syn().options(2).packet());
    assert_eq!(
        (out.action, out.reasons),
        (Action::Drop, vec![Reason::NoEndpoints])
    );
}

#[test]
fn policy_without_local_endpoint_drops() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let slices = [
            node.set(&[(at(names.local, 8080), true)]),
            Slice::default(),
            Slice::default(),
        ];
        let frontend = at(names.vip, 80);
        node.frontend(frontend, TCP, FrontendFlags::EXTERNAL, slices);
        let out = node.enter(
            NODE,
            &Build::tcp(at(names.outside, 4000), frontend).syn().packet(),
        );
        assert_eq!(
            (out.action, out.reasons),
            (Action::Drop, vec![Reason::NoLocalEndpoints])
        );
        let out = node.enter(
            POD,
            &Build::tcp(at(names.pod, 4000), frontend).syn().packet(),
        );
        assert_eq!(out.reasons, [Reason::NewFlow]);
    }
}

/// A node with a `NodePort` whose backend is remote.
fn forwarding(names: &Names, backend: SocketAddr) -> (Node, SocketAddr, SocketAddr) {
    let mut node = Node::new();
    node.node_port(names, 30080, UDP, &[(backend, false)]);
    (node, at(names.outside, 4000), at(names.node, 30080))
}

#[test]
fn time_exceeded_comes_from_the_frontend() {
    for names in &FAMILIES {
        let (node, client, frontend) = forwarding(names, at(names.remote, 8080));
        for ttl in [0, 1] {
            let packet = Build::udp(client, frontend).ttl(ttl).packet();
            let out = node.enter(NODE, &packet);
            let head = head(names.v6, [11, 0], [3, 0], [0; 4]);
            is_error(&out, &packet, client, frontend, head, Reason::TtlExceeded);
        }
        let out = node.enter(NODE, &Build::udp(client, frontend).ttl(2).packet());
        assert_eq!((out.action, out.seen.ttl), (Action::Redirect(NODE), 1));
    }
}

#[test]
fn too_big_tells_the_mtu() {
    for names in &FAMILIES {
        let (node, client, frontend) = forwarding(names, at(names.narrow, 8080));
        let headers = if names.v6 { 48 } else { 28 };
        let fits = Build::udp(client, frontend)
            .dont_fragment()
            .payload(&vec![1; 1280 - headers]);
        assert_eq!(
            node.enter(NODE, &fits.packet()).action,
            Action::Redirect(NARROW)
        );
        for more in [1, 4, 5, 200] {
            let packet = Build::udp(client, frontend)
                .dont_fragment()
                .payload(&vec![1; 1280 - headers + more])
                .packet();
            let out = node.enter(NODE, &packet);
            let head = head(names.v6, [3, 4], [2, 0], 1280_u32.to_be_bytes());
            is_error(&out, &packet, client, frontend, head, Reason::TooBig);
        }
    }
}

#[test]
fn too_big_for_those_who_allow_fragments_is_dropped_in_silence() {
    let names = &FAMILIES[0];
    let (node, client, frontend) = forwarding(names, at(names.narrow, 8080));
    let out = node.enter(
        NODE,
        &Build::udp(client, frontend).payload(&[1; 1400]).packet(),
    );
    assert_eq!(
        (out.action, out.reasons),
        (Action::Drop, vec![Reason::TooBig])
    );
}

#[test]
fn segments_of_a_large_packet_are_measured_not_the_whole() {
    for names in &FAMILIES {
        let (client, frontend) = (at(names.outside, 4000), at(names.node, 30080));
        let tcp = Build::tcp(client, frontend).syn();
        let ip = if names.v6 { 40 } else { 20 };
        for (packet, headers) in [
            (Build::udp(client, frontend), 8),
            (tcp.clone(), 20),
            (tcp.tcp_options(3), 32),
        ] {
            let mut node = Node::new();
            for proto in [TCP, UDP] {
                node.node_port(names, 30080, proto, &[(at(names.narrow, 8080), false)]);
            }
            let fits = 1280 - ip - headers;
            for (gso_size, action) in [(fits, Action::Redirect(NARROW)), (fits + 1, Action::Back)] {
                let packet = packet.clone().dont_fragment().payload(&[1; 8000]);
                let skb = Skb {
                    gso_size,
                    ..Skb::new(packet.frame(), NODE)
                };
                assert_eq!(node.run_skb(Program::TcIngress, skb).action, action);
            }
        }
    }
}

#[test]
fn flow_whose_route_is_gone_is_dropped() {
    for names in &FAMILIES {
        let (mut node, client, frontend) = forwarding(names, at(names.remote, 8080));
        node.enter(NODE, &Build::udp(client, frontend).packet());
        node.enter(
            NODE,
            &Build::udp(at(names.remote, 8080), at(names.node, 4000)).packet(),
        );
        node.enter(NODE, &Build::udp(client, frontend).packet());
        node.world.v4.routes.clear();
        node.world.v6.routes.clear();
        let out = node.enter(NODE, &Build::udp(client, frontend).packet());
        assert_eq!(
            (out.action, out.reasons),
            (Action::Drop, vec![Reason::NoRoute])
        );
    }
}

#[test]
fn backend_without_a_route_is_left_to_the_stack() {
    for names in &FAMILIES {
        let (node, client, frontend) = forwarding(names, at(names.unreachable, 8080));
        let out = node.enter(NODE, &Build::udp(client, frontend).packet());
        assert_eq!(
            (out.action, out.seen.dst),
            (Action::Mark(crate::node::MARK), at(names.unreachable, 8080))
        );
    }
}

#[test]
fn device_without_source_address_is_left_to_netfilter() {
    for names in &FAMILIES {
        let (mut node, client, frontend) = forwarding(names, at(names.remote, 8080));
        let device = node.world.devices.get_mut(&NODE).unwrap();
        (device.src4, device.src6) = Default::default();
        let out = node.enter(NODE, &Build::udp(client, frontend).packet());
        assert_eq!(out.action, Action::Mark(crate::node::MARK));
        assert!(!FlowFlags::MASQUERADE.has(FlowFlags::REDIRECT));
    }
}

#[test]
fn slice_past_the_end_or_never_written_is_passed_untouched() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let vip = at(names.vip, 80);
        let client = at(names.pod, 4000);
        for offset in [proxy_common::limits::BACKENDS, 1000] {
            node.frontend(
                vip,
                TCP,
                FrontendFlags::default(),
                [Slice { offset, count: 3 }; 3],
            );
            node.enter(POD, &Build::tcp(client, vip).syn().packet()).is(
                Action::Pass,
                client,
                vip,
                Reason::Inconsistent,
            );
        }
    }
}

#[test]
fn device_that_nobody_knows_is_outside() {
    for names in &FAMILIES {
        let (mut node, client, frontend) = forwarding(names, at(names.remote, 8080));
        node.world.devices.remove(&POD);
        assert!(
            !node
                .world
                .devices
                .values()
                .any(|device| device.flags.has(DeviceFlags::POD.with(DeviceFlags::NODE)))
        );
        let out = node.enter(POD, &Build::udp(client, frontend).packet());
        assert_eq!(out.action, Action::Mark(crate::node::MARK));
    }
}
