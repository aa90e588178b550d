//! Each row of DESIGN section 5, requests and answers, both families and both protocols.

use proxy_common::flags::FrontendFlags;
use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::{Build, FROM, TO};

use crate::node::{
    FAMILIES, MARK, NARROW, NODE, NODE_MACS, Node, OTHER_POD, POD, PORTS, TCP, TUNNEL, UDP, at,
};

/// The first packet of a connection, and an answer to it.
pub(crate) fn first(proto: u8, src: std::net::SocketAddr, dst: std::net::SocketAddr) -> Build {
    if proto == TCP {
        Build::tcp(src, dst).syn()
    } else {
        Build::udp(src, dst).payload(b"question")
    }
}

pub(crate) fn answer(proto: u8, src: std::net::SocketAddr, dst: std::net::SocketAddr) -> Build {
    if proto == TCP {
        Build::tcp(src, dst).syn_ack()
    } else {
        Build::udp(src, dst).payload(b"an answer")
    }
}

#[test]
fn pod_to_cluster_ip_is_translated_and_its_answer_back_at_egress() {
    for names in &FAMILIES {
        for proto in [TCP, UDP] {
            for l3 in [false, true] {
                let mut node = Node::new();
                node.l3.set(l3);
                let (client, vip, backend) = (
                    at(names.pod, 4000),
                    at(names.vip, 80),
                    at(names.remote, 8080),
                );
                node.service(vip, proto, &[(backend, false)]);
                let out = node.enter(POD, &first(proto, client, vip).packet());
                out.is(Action::Pass, client, backend, Reason::NewFlow);
                assert_eq!(out.seen.ttl, 64);
                let out = node.leave(POD, &answer(proto, backend, client).packet());
                out.is(Action::Pass, vip, client, Reason::Established);
                let out = node.enter(
                    POD,
                    &Build::flow(proto, client, vip).payload(b"more").packet(),
                );
                let reason = if proto == TCP {
                    Reason::Established
                } else {
                    Reason::Retransmitted
                };
                out.is(Action::Pass, client, backend, reason);
                assert_eq!(node.entries(), (2, 0));
                let out = node.enter(
                    POD,
                    &Build::flow(proto, client, vip).payload(b"more").packet(),
                );
                out.is(Action::Pass, client, backend, Reason::Established);
                let out = node.leave(POD, &Build::flow(proto, backend, client).packet());
                out.is(Action::Pass, vip, client, Reason::Established);
            }
        }
    }
}

#[test]
fn outside_to_node_port_with_local_backend_keeps_the_client() {
    for names in &FAMILIES {
        for proto in [TCP, UDP] {
            let mut node = Node::new();
            let (client, frontend, backend) = (
                at(names.outside, 4000),
                at(names.node, 30080),
                at(names.local, 8080),
            );
            node.node_port(names, 30080, proto, &[(backend, true)]);
            let out = node.enter(NODE, &first(proto, client, frontend).packet());
            out.is(Action::Pass, client, backend, Reason::NewFlow);
            // Where the backend's answer enters the node nothing happens: routing and policies see the pods' own addresses.
            let reply = answer(proto, backend, client).packet();
            node.enter(OTHER_POD, &reply)
                .is(Action::Pass, backend, client, Reason::NotOurs);
            node.leave(NODE, &reply)
                .is(Action::Pass, frontend, client, Reason::Established);
        }
    }
}

#[test]
fn outside_to_node_port_with_remote_backend_goes_there_and_back_with_our_address() {
    for names in &FAMILIES {
        for proto in [TCP, UDP] {
            let mut node = Node::new();
            let (client, frontend, backend) = (
                at(names.outside, 4000),
                at(names.node, 30080),
                at(names.remote, 8080),
            );
            node.node_port(names, 30080, proto, &[(backend, false)]);
            let own = at(names.node, 4000);
            let out = node.enter(NODE, &first(proto, client, frontend).packet());
            out.is(Action::Redirect(NODE), own, backend, Reason::NewFlow);
            assert_eq!(
                (out.seen.ttl, &out.skb.bytes[..12]),
                (63, NODE_MACS.as_slice())
            );
            let out = node.enter(NODE, &answer(proto, backend, own).packet());
            out.is(
                Action::Redirect(NODE),
                frontend,
                client,
                Reason::Established,
            );
            assert_eq!(
                (out.seen.ttl, &out.skb.bytes[..12]),
                (63, NODE_MACS.as_slice())
            );
            let out = node.enter(NODE, &Build::flow(proto, client, frontend).packet());
            assert_eq!(
                (out.action, out.seen.dst),
                (Action::Redirect(NODE), backend)
            );
            assert_eq!(node.entries(), (2, 0));
        }
    }
}

#[test]
fn device_without_link_layer_leaves_the_neighbour_to_the_kernel() {
    for names in &FAMILIES {
        let mut node = Node::new();
        node.l3.set(true);
        let backend = at(names.remote, 8080);
        node.node_port(names, 30080, TCP, &[(backend, false)]);
        let packet = Build::tcp(at(names.outside, 4000), at(names.node, 30080))
            .syn()
            .packet();
        let out = node.enter(NODE, &packet);
        out.is(
            Action::RedirectNeigh(NODE),
            at(names.node, 4000),
            backend,
            Reason::NewFlow,
        );
    }
}

#[test]
fn unknown_neighbour_is_left_to_the_kernel() {
    for names in &FAMILIES {
        let mut node = Node::new();
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
        node.node_port(names, 30080, TCP, &[(at(names.remote, 8080), false)]);
        let packet = Build::tcp(at(names.outside, 4000), at(names.node, 30080))
            .syn()
            .packet();
        let out = node.enter(NODE, &packet);
        assert_eq!(out.action, Action::RedirectNeigh(NODE));
        assert_eq!(&out.skb.bytes[..12], [TO, FROM].as_flattened());
    }
}

#[test]
fn outside_to_cluster_ip_is_redirected_like_a_node_port() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let backend = at(names.narrow, 8080);
        node.service(at(names.vip, 80), TCP, &[(backend, false)]);
        let packet = Build::tcp(at(names.outside, 4000), at(names.vip, 80))
            .syn()
            .packet();
        let out = node.enter(NODE, &packet);
        out.is(
            Action::Redirect(NARROW),
            at(names.node, 4000),
            backend,
            Reason::NewFlow,
        );
    }
}

#[test]
fn backend_behind_a_tunnel_is_marked_for_netfilter() {
    for names in &FAMILIES {
        for proto in [TCP, UDP] {
            let mut node = Node::new();
            let (client, frontend, backend) = (
                at(names.outside, 4000),
                at(names.node, 30080),
                at(names.tunnelled, 8080),
            );
            node.node_port(names, 30080, proto, &[(backend, false)]);
            let out = node.enter(NODE, &first(proto, client, frontend).packet());
            out.is(Action::Mark(MARK), client, backend, Reason::NewFlow);
            assert_eq!((out.skb.mark, out.seen.ttl), (MARK, 64));
            let out = node.leave(NODE, &answer(proto, backend, client).packet());
            out.is(Action::Pass, frontend, client, Reason::Established);
            assert_eq!(out.skb.mark, 0);
            let out = node.enter(NODE, &Build::flow(proto, client, frontend).packet());
            assert_eq!((out.action, out.seen.dst), (Action::Mark(MARK), backend));
        }
    }
}

#[test]
fn client_behind_a_tunnel_is_marked_for_netfilter() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let backend = at(names.remote, 8080);
        node.node_port(names, 30080, TCP, &[(backend, false)]);
        let client = at(names.tunnelled, 4000);
        let out = node.enter(
            TUNNEL,
            &Build::tcp(client, at(names.node, 30080)).syn().packet(),
        );
        out.is(Action::Mark(MARK), client, backend, Reason::NewFlow);
    }
}

#[test]
fn pod_reaches_itself_by_a_link_scope_address() {
    for names in &FAMILIES {
        for proto in [TCP, UDP] {
            for source_port in [4000, 40_000] {
                let mut node = Node::new();
                let (client, vip, itself) = (
                    at(names.pod, source_port),
                    at(names.vip, 80),
                    at(names.pod, 8080),
                );
                node.service(vip, proto, &[(itself, true)]);
                let out = node.enter(POD, &first(proto, client, vip).packet());
                assert_eq!((out.action, out.seen.dst), (Action::Back, itself));
                assert_eq!(
                    out.seen.src.ip(),
                    names.hairpin.parse::<std::net::IpAddr>().unwrap()
                );
                assert_eq!(&out.skb.bytes[..12], [FROM, TO].as_flattened());
                let port = out.seen.src.port();
                assert!(port >= PORTS.0 && port <= PORTS.1);
                assert!(source_port > PORTS.1 || port == source_port);
                let out = node.enter(POD, &answer(proto, itself, out.seen.src).packet());
                out.is(Action::Back, vip, client, Reason::Established);
                let out = node.enter(POD, &Build::flow(proto, client, vip).packet());
                assert_eq!((out.action, out.seen.dst), (Action::Back, itself));
                assert_eq!(node.entries(), (2, 0));
            }
        }
    }
}

#[test]
fn inside_and_outside_have_their_own_backends() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (near, far) = (at(names.local, 8080), at(names.remote, 8080));
        let slices = [
            node.set(&[(near, true)]),
            node.set(&[(far, false)]),
            node.set(&[]),
        ];
        let vip = at(names.vip, 80);
        node.frontend(vip, TCP, FrontendFlags::default(), slices);
        let out = node.enter(POD, &Build::tcp(at(names.pod, 4000), vip).syn().packet());
        assert_eq!(out.seen.dst, near);
        let out = node.enter(
            NODE,
            &Build::tcp(at(names.outside, 4000), vip).syn().packet(),
        );
        assert_eq!(out.seen.dst, far);
    }
}
