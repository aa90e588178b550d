//! ICMP errors about translated packets: each side learns of the packet it sent itself.

use std::net::{IpAddr, SocketAddr};

use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;

use crate::node::{
    FAMILIES, NODE, Names, Node, OTHER_POD, Out, POD, SCTP, TCP, UDP, answering, at, opening,
};

/// Kinds of error that are translated, by family.
fn kinds(names: &Names) -> &'static [(u8, u8)] {
    if names.v6 {
        &[(1, 0), (1, 4), (2, 0), (3, 0), (4, 1)]
    } else {
        &[(3, 0), (3, 3), (3, 4), (11, 0), (12, 0)]
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Asserts that the error goes from `src` to `dst` and is about a packet from `inner.0` to `inner.1`.
#[track_caller]
fn is_about(out: &Out, src: IpAddr, dst: IpAddr, inner: (SocketAddr, SocketAddr)) {
    assert_eq!(out.reasons, [Reason::IcmpTranslated]);
    assert_eq!((out.seen.src.ip(), out.seen.dst.ip()), (src, dst));
    let packet = &out.seen.segment[8..];
    let (addresses, l4) = if src.is_ipv4() {
        (12..20, 20)
    } else {
        (8..40, 40)
    };
    let octets: Vec<u8> = [inner.0.ip(), inner.1.ip()]
        .iter()
        .flat_map(|ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        })
        .collect();
    assert_eq!(packet[addresses], octets);
    let ports = [inner.0.port().to_be_bytes(), inner.1.port().to_be_bytes()].concat();
    assert_eq!(packet[l4..l4 + 4], ports);
}

/// A pod's connection, and the backend's address: DNAT only.
fn kept_client(names: &Names, proto: u8) -> (Node, SocketAddr, SocketAddr, SocketAddr) {
    let mut node = Node::new();
    let (client, vip, backend) = (
        at(names.pod, 4000),
        at(names.vip, 80),
        at(names.remote, 8080),
    );
    node.service(vip, proto, &[(backend, false)]);
    let first = opening(proto, client, vip);
    node.enter(POD, &first.packet());
    (node, client, vip, backend)
}

#[test]
fn error_of_the_backend_or_a_router_reaches_the_client_at_egress() {
    for names in &FAMILIES {
        for proto in [TCP, UDP, SCTP] {
            for promoted in [false, true] {
                let (node, client, vip, backend) = kept_client(names, proto);
                if promoted {
                    let answer = answering(proto, backend, client);
                    node.leave(POD, &answer.packet());
                    node.enter(POD, &Build::flow(proto, client, vip).packet());
                    assert_eq!(node.entries().0, 2);
                }
                // What the backend got, with more of it than ICMP must carry.
                let inner = Build::flow(proto, client, backend)
                    .payload(b"payload")
                    .packet();
                for kind in kinds(names) {
                    let packet =
                        Build::icmp(backend.ip(), client.ip(), *kind, 1400, &inner).packet();
                    let out = node.leave(POD, &packet);
                    assert_eq!(out.action, Action::Pass);
                    is_about(&out, vip.ip(), client.ip(), (client, vip));
                    assert_eq!(node.enter(OTHER_POD, &packet).skb.bytes[14..], packet);
                    let router = ip(names.tunnelled);
                    let out = node.leave(
                        POD,
                        &Build::icmp(router, client.ip(), *kind, 0, &inner).packet(),
                    );
                    is_about(&out, router, client.ip(), (client, vip));
                }
            }
        }
    }
}

#[test]
fn error_about_an_answer_reaches_the_backend_at_ingress() {
    for names in &FAMILIES {
        let (node, client, vip, backend) = kept_client(names, TCP);
        node.leave(POD, &Build::tcp(backend, client).syn_ack().packet());
        let inner = Build::tcp(vip, client).packet();
        for kind in kinds(names) {
            let out = node.enter(
                POD,
                &Build::icmp(client.ip(), vip.ip(), *kind, 0, &inner).packet(),
            );
            assert_eq!(out.action, Action::Pass);
            is_about(&out, client.ip(), backend.ip(), (backend, client));
        }
    }
}

#[test]
fn errors_of_a_redirected_connection_are_redirected_too() {
    for names in &FAMILIES {
        for proto in [TCP, UDP, SCTP] {
            let mut node = Node::new();
            let (client, frontend) = (at(names.outside, 40_000), at(names.node, 30080));
            let backend = at(names.remote, 8080);
            node.node_port(names, 30080, proto, &[(backend, false)]);
            let first = opening(proto, client, frontend);
            let own = node.enter(NODE, &first.packet()).seen.src;
            let answer = answering(proto, backend, own);
            node.enter(NODE, &answer.packet());
            node.enter(NODE, &Build::flow(proto, client, frontend).packet());
            for kind in kinds(names) {
                // Of the backend and of a router, about the client's packet.
                let inner = Build::flow(proto, own, backend).packet();
                let out = node.enter(
                    NODE,
                    &Build::icmp(backend.ip(), own.ip(), *kind, 0, &inner).packet(),
                );
                assert_eq!((out.action, out.seen.ttl), (Action::Redirect(NODE), 63));
                is_about(&out, frontend.ip(), client.ip(), (client, frontend));
                let router = ip(names.tunnelled);
                let out = node.enter(
                    NODE,
                    &Build::icmp(router, own.ip(), *kind, 0, &inner).packet(),
                );
                is_about(&out, router, client.ip(), (client, frontend));
                // Of the client, about an answer.
                let inner = Build::flow(proto, frontend, client).packet();
                let out = node.enter(
                    NODE,
                    &Build::icmp(client.ip(), frontend.ip(), *kind, 0, &inner).packet(),
                );
                assert_eq!(out.action, Action::Redirect(NODE));
                is_about(&out, own.ip(), backend.ip(), (backend, own));
            }
        }
    }
}

#[test]
fn messages_that_are_no_errors_or_about_strangers_are_untouched() {
    for names in &FAMILIES {
        let (node, client, _, backend) = kept_client(names, UDP);
        let inner = Build::udp(client, backend).packet();
        let stranger = Build::udp(client, at(names.local, 1)).packet();
        let error = kinds(names)[0];
        let echo = if names.v6 {
            [(128, 0), (129, 0), (135, 0), (137, 0)]
        } else {
            [(8, 0), (0, 0), (5, 1), (4, 0)]
        };
        let other = Build::flow(33, client, backend).payload(&[0; 12]).packet();
        for (kind, inner) in [
            (echo[0], &inner[..]),
            (echo[1], &inner),
            (echo[2], &inner),
            (echo[3], &inner),
            (error, &stranger),
            (error, &other),
            (error, &inner[..inner.len() - 8]),
            (error, &[]),
        ] {
            let packet = Build::icmp(backend.ip(), client.ip(), kind, 0, inner).packet();
            for out in [node.leave(POD, &packet), node.enter(POD, &packet)] {
                assert_eq!(
                    (out.action, &out.skb.bytes[14..]),
                    (Action::Pass, &packet[..])
                );
                assert_eq!(out.reasons, [Reason::NotOurs]);
            }
        }
    }
}
