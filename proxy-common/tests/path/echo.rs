//! Ping of Services' addresses: live ones answer, closed ones do not.

use proxy_common::flags::AddrFlags;
use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::Program;
use proxy_common::sim::build::Build;

use crate::node::{FAMILIES, NODE, NODE_MACS, Names, Node, POD, TCP, at};

/// Type of a request and of a reply.
fn kinds(names: &Names) -> (u8, u8) {
    if names.v6 { (128, 129) } else { (8, 0) }
}

fn request(names: &Names, from: &str, to: &str) -> Build {
    let (kind, _) = kinds(names);
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    Build::icmp(from, to, (kind, 0), 0x0001_0002, b"payload of a ping")
}

fn node(names: &Names) -> Node {
    let mut node = Node::new();
    node.service(at(names.vip, 80), TCP, &[(at(names.remote, 8080), false)]);
    node.know(names.vip.parse().unwrap(), AddrFlags::ECHO);
    node
}

#[test]
fn live_address_answers_in_place() {
    for names in &FAMILIES {
        for l3 in [false, true] {
            let node = node(names);
            node.l3.set(l3);
            for (device, client) in [(POD, names.pod), (NODE, names.outside)] {
                let packet = request(names, client, names.vip).ttl(3);
                let out = node.enter(device, &packet.packet());
                out.is(
                    Action::Back,
                    at(names.vip, 0),
                    at(client, 0),
                    Reason::EchoAnswered,
                );
                // The sender's identifier, number and payload, and a TTL of its own.
                assert_eq!(out.seen.ttl, 64);
                let mut segment = Vec::from(&packet.packet()[if names.v6 { 40 } else { 20 }..]);
                segment[0] = kinds(names).1;
                assert_eq!(out.seen.segment[4..], segment[4..]);
                assert_eq!(out.seen.segment[..2], segment[..2]);
            }
        }
    }
}

/// The node's own ping meets the hook where it leaves, and its answer comes in there.
#[test]
fn ping_of_the_node_itself_is_answered_at_egress() {
    for names in &FAMILIES {
        let node = node(names);
        let out = node.leave(NODE, &request(names, names.node, names.vip).packet());
        out.is(
            Action::Back,
            at(names.vip, 0),
            at(names.node, 0),
            Reason::EchoAnswered,
        );
    }
}

#[test]
fn others_are_left_to_whoever_has_the_address() {
    for names in &FAMILIES {
        let mut node = node(names);
        let (client, from) = (at(names.pod, 0), names.pod);
        let untouched = |node: &Node, packet: Build, to: &str| {
            let out = node.enter(POD, &packet.packet());
            out.is(Action::Pass, client, at(to, 0), Reason::NotOurs);
        };
        untouched(
            &node,
            request(names, from, names.other_vip),
            names.other_vip,
        );
        // A reply, and a request with options or extensions.
        let (_, reply) = kinds(names);
        let (src, dst) = (from.parse().unwrap(), names.vip.parse().unwrap());
        untouched(&node, Build::icmp(src, dst, (reply, 0), 1, b""), names.vip);
        let odd = request(names, from, names.vip);
        let odd = if names.v6 {
            odd.extension(0, 0)
        } else {
            odd.options(1)
        };
        untouched(&node, odd, names.vip);
        node.know(names.vip.parse().unwrap(), AddrFlags::NODE);
        untouched(&node, request(names, from, names.vip), names.vip);
    }
}

#[test]
fn xdp_leaves_ping_to_tc() {
    for names in &FAMILIES {
        let node = node(names);
        let packet = request(names, names.outside, names.vip).packet();
        let out = node.run(Program::Xdp, NODE, &packet);
        out.is(
            Action::Pass,
            at(names.outside, 0),
            at(names.vip, 0),
            Reason::Deferred,
        );
        assert_ne!(out.skb.bytes[..12], NODE_MACS);
    }
}
