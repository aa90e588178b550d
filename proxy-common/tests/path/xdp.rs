//! XDP finishes what is redirected and leaves all else to TC as if it had not been there.

use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::Program;
use proxy_common::sim::build::Build;

use crate::node::{FAMILIES, NARROW, NODE, NODE_MACS, Names, Node, POD, TCP, UDP, at};

#[test]
fn redirects_requests_and_answers() {
    for names in &FAMILIES {
        for proto in [TCP, UDP] {
            let mut node = Node::new();
            let (client, frontend, backend) = (
                at(names.outside, 4000),
                at(names.node, 30080),
                at(names.narrow, 8080),
            );
            let own = at(names.node, 4000);
            node.node_port(names, 30080, proto, &[(backend, false)]);
            let first = if proto == TCP {
                Build::tcp(client, frontend).syn()
            } else {
                Build::udp(client, frontend)
            };
            let out = node.run(Program::Xdp, NODE, &first.packet());
            out.is(Action::Redirect(NARROW), own, backend, Reason::NewFlow);
            assert_eq!(out.seen.ttl, 63);
            let answer = if proto == TCP {
                Build::tcp(backend, own).syn_ack()
            } else {
                Build::udp(backend, own)
            };
            let out = node.run(Program::Xdp, NARROW, &answer.packet());
            out.is(
                Action::Redirect(NODE),
                frontend,
                client,
                Reason::Established,
            );
            assert_eq!(&out.skb.bytes[..12], NODE_MACS);
            node.run(
                Program::Xdp,
                NODE,
                &Build::flow(proto, client, frontend).packet(),
            );
            let out = node.run(
                Program::Xdp,
                NODE,
                &Build::flow(proto, client, frontend).packet(),
            );
            out.is(Action::Redirect(NARROW), own, backend, Reason::Established);
            // TC knows the same connection.
            node.enter(NODE, &Build::flow(proto, client, frontend).packet())
                .is(Action::Redirect(NARROW), own, backend, Reason::Established);
        }
    }
}

/// Runs the packet at XDP, asserts that it was left alone, and returns what was counted.
#[track_caller]
fn deferred(node: &Node, ifindex: u32, packet: &[u8]) -> Vec<Reason> {
    let before = node.entries();
    let out = node.run(Program::Xdp, ifindex, packet);
    assert_eq!((out.action, &out.skb.bytes[14..]), (Action::Pass, packet));
    assert_eq!(node.entries(), before);
    out.reasons
}

fn node_port(names: &Names, backend: &str, local: bool) -> (Node, Vec<u8>) {
    let mut node = Node::new();
    node.node_port(names, 30080, TCP, &[(at(backend, 8080), local)]);
    let packet = Build::tcp(at(names.outside, 4000), at(names.node, 30080))
        .syn()
        .packet();
    (node, packet)
}

#[test]
fn local_backends_tunnels_and_missing_routes_are_for_tc() {
    for names in &FAMILIES {
        for (backend, local) in [
            (names.local, true),
            (names.tunnelled, false),
            (names.unreachable, false),
        ] {
            let (node, packet) = node_port(names, backend, local);
            assert_eq!(deferred(&node, NODE, &packet), [Reason::Deferred]);
        }
    }
}

#[test]
fn device_without_our_program_is_for_tc() {
    for names in &FAMILIES {
        for gone in [NODE, NARROW] {
            let (mut node, packet) = node_port(names, names.narrow, false);
            let flags = &mut node.world.devices.get_mut(&gone).unwrap().flags;
            flags.0 &= !proxy_common::flags::DeviceFlags::XDP.0;
            assert_eq!(deferred(&node, NODE, &packet), [Reason::Deferred]);
        }
    }
}

#[test]
fn unknown_neighbour_is_for_tc() {
    for names in &FAMILIES {
        let (mut node, packet) = node_port(names, names.remote, false);
        node.world
            .v4
            .routes
            .iter_mut()
            .for_each(|route| route.macs = None);
        node.world
            .v6
            .routes
            .iter_mut()
            .for_each(|route| route.macs = None);
        assert_eq!(deferred(&node, NODE, &packet), [Reason::Deferred]);
    }
}

#[test]
fn rejects_and_drops_are_for_tc() {
    for names in &FAMILIES {
        let mut node = Node::new();
        node.node_port(names, 30080, TCP, &[]);
        let packet = Build::tcp(at(names.outside, 4000), at(names.node, 30080))
            .syn()
            .packet();
        assert_eq!(deferred(&node, NODE, &packet), [Reason::NoLocalEndpoints]);
        node.service(at(names.vip, 80), TCP, &[]);
        let packet = Build::tcp(at(names.outside, 4000), at(names.vip, 80))
            .syn()
            .packet();
        assert_eq!(deferred(&node, NODE, &packet), [Reason::Deferred]);
    }
}

#[test]
fn pods_and_hairpins_are_for_tc() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let vip = at(names.vip, 80);
        node.service(vip, TCP, &[(at(names.pod, 8080), true)]);
        let packet = Build::tcp(at(names.pod, 4000), vip).syn().packet();
        assert_eq!(deferred(&node, POD, &packet), [Reason::Deferred]);
    }
}

#[test]
fn established_connection_of_a_local_backend_is_for_tc() {
    for names in &FAMILIES {
        let (node, syn) = node_port(names, names.local, true);
        let (client, frontend, backend) = (
            at(names.outside, 4000),
            at(names.node, 30080),
            at(names.local, 8080),
        );
        node.enter(NODE, &syn);
        node.leave(NODE, &Build::tcp(backend, client).syn_ack().packet());
        let data = Build::tcp(client, frontend).packet();
        assert_eq!(deferred(&node, NODE, &data), [Reason::Deferred]);
        node.enter(NODE, &data)
            .is(Action::Pass, client, backend, Reason::Established);
    }
}

#[test]
fn too_big_and_too_old_are_for_tc_to_answer() {
    for names in &FAMILIES {
        let (node, _) = node_port(names, names.narrow, false);
        let (client, frontend) = (at(names.outside, 4000), at(names.node, 30080));
        for packet in [
            Build::tcp(client, frontend).syn().ttl(1).packet(),
            Build::tcp(client, frontend)
                .syn()
                .dont_fragment()
                .payload(&[0; 1300])
                .packet(),
        ] {
            let out = node.run(Program::Xdp, NODE, &packet);
            assert_eq!(
                (out.action, &out.skb.bytes[14..], out.reasons),
                (Action::Pass, &packet[..], vec![Reason::Deferred])
            );
            assert_eq!(node.enter(NODE, &packet).action, Action::Back);
        }
    }
}

#[test]
fn icmp_and_strangers_are_for_tc() {
    for names in &FAMILIES {
        let (node, syn) = node_port(names, names.remote, false);
        let (client, backend) = (at(names.outside, 4000), at(names.remote, 8080));
        let own = at(names.node, 4000);
        node.run(Program::Xdp, NODE, &syn);
        let inner = Build::tcp(own, backend).packet();
        let kind = if names.v6 { (1, 4) } else { (3, 3) };
        let error = Build::icmp(backend.ip(), own.ip(), kind, 0, &inner).packet();
        assert_eq!(deferred(&node, NODE, &error), [Reason::Deferred]);
        assert_eq!(node.enter(NODE, &error).action, Action::Redirect(NODE));
        assert_eq!(
            deferred(&node, NODE, &Build::udp(client, backend).packet()),
            [Reason::NotOurs]
        );
    }
}
