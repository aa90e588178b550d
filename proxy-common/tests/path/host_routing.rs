//! `hostRouting: bpf`: connections to pods of this node and their answers go past the stack.

use proxy_common::flags::feature;
use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::Program;
use proxy_common::sim::build::Build;
use proxy_common::sim::scene::macs;

use crate::node::{
    FAMILIES, NODE, NODE_MACS, Names, Node, OTHER_POD, POD, PORTS, SCTP, TCP, TUNNEL, UDP,
    answering, at, opening,
};

/// A Service on port 80 of the VIP with a pod of this node.
fn node(names: &Names, proto: u8) -> Node {
    let mut node = Node::new();
    node.world.settings.features = feature::HOST_ROUTING;
    node.service(at(names.vip, 80), proto, &[(at(names.local, 8080), true)]);
    node
}

#[test]
fn clients_keep_their_address_both_ways() {
    for names in &FAMILIES {
        for proto in [TCP, UDP, SCTP] {
            for (device, client, way_back) in [
                (NODE, names.outside, Action::Redirect(NODE)),
                (POD, names.pod, Action::RedirectPeer(POD)),
            ] {
                let node = node(names, proto);
                let (client, vip, backend) =
                    (at(client, 4000), at(names.vip, 80), at(names.local, 8080));
                let there = Action::RedirectPeer(OTHER_POD);
                let out = node.enter(device, &opening(proto, client, vip).packet());
                out.is(there, client, backend, Reason::NewFlow);
                assert_eq!(out.skb.bytes[..12], macs(OTHER_POD));
                assert_eq!(out.seen.ttl, 63);
                let answer = answering(proto, backend, client).packet();
                node.enter(OTHER_POD, &answer)
                    .is(way_back, vip, client, Reason::Established);
                let more = Build::flow(proto, client, vip).payload(b"more").packet();
                let out = node.enter(device, &more);
                assert_eq!((out.action, out.seen.dst), (there, backend));
                assert_eq!(node.entries(), (2, 0));
                node.enter(device, &more)
                    .is(there, client, backend, Reason::Established);
                let answer = Build::flow(proto, backend, client).payload(b"and more");
                let out = node.enter(OTHER_POD, &answer.packet());
                out.is(way_back, vip, client, Reason::Established);
                if device == NODE {
                    assert_eq!(out.skb.bytes[..12], NODE_MACS);
                }
            }
        }
    }
}

#[test]
fn what_has_no_link_layer_header_gets_one_from_the_kernel() {
    for names in &FAMILIES {
        let node = node(names, TCP);
        node.l3.set(true);
        let packet = opening(TCP, at(names.outside, 4000), at(names.vip, 80)).packet();
        let out = node.enter(NODE, &packet);
        assert_eq!(out.action, Action::RedirectNeigh(OTHER_POD));
    }
}

#[test]
fn others_go_through_the_stack() {
    for names in &FAMILIES {
        let client = at(names.outside, 4000);
        let ask = |node: &Node, device, client| {
            let packet = opening(TCP, client, at(names.vip, 80)).packet();
            node.enter(device, &packet).action
        };
        // Not asked for.
        let mut off = node(names, TCP);
        off.world.settings.features = 0;
        assert_eq!(ask(&off, NODE, client), Action::Pass);
        // By a tunnel, out of which an answer cannot be sent.
        let on = node(names, TCP);
        let tunnelled = at(names.tunnelled, 4000);
        assert_eq!(ask(&on, TUNNEL, tunnelled), Action::Pass);
        // A pod whose device is not ours to see.
        let mut bridged = node(names, TCP);
        let slice = [(at(names.remote, 8080), true)];
        bridged.service(at(names.vip, 80), TCP, &slice);
        assert_eq!(ask(&bridged, NODE, client), Action::Pass);
    }
}

#[test]
fn xdp_leaves_them_to_tc() {
    for names in &FAMILIES {
        let node = node(names, TCP);
        let (client, vip) = (at(names.outside, 4000), at(names.vip, 80));
        let first = opening(TCP, client, vip).packet();
        node.run(Program::Xdp, NODE, &first)
            .is(Action::Pass, client, vip, Reason::Deferred);
        node.enter(NODE, &first);
        let backend = at(names.local, 8080);
        node.enter(OTHER_POD, &answering(TCP, backend, client).packet());
        let more = Build::flow(TCP, client, vip).packet();
        node.run(Program::Xdp, NODE, &more)
            .is(Action::Pass, client, vip, Reason::Deferred);
    }
}

/// As at egress, for those whose answers pass there.
#[test]
fn direct_connection_takes_over_the_ports_of_a_closed_flow() {
    for names in &FAMILIES {
        let node = node(names, TCP);
        let (client, vip, backend) = (
            at(names.outside, 4000),
            at(names.vip, 80),
            at(names.local, 8080),
        );
        node.enter(NODE, &opening(TCP, client, vip).packet());
        let answer = answering(TCP, backend, client).packet();
        node.enter(OTHER_POD, &answer);
        node.enter(NODE, &Build::tcp(client, vip).rst().packet());
        for answer in [answer, Build::tcp(backend, client).packet()] {
            node.enter(OTHER_POD, &answer)
                .is(Action::Pass, backend, client, Reason::NotOurs);
        }
        assert_eq!(node.entries(), (0, 0));
    }
}

/// Flows outlive the setting. Ingress passes their UDP answers then, as it does all that go to no source port of
/// ours, and egress must know them.
#[test]
fn answers_are_translated_after_it_was_switched_off() {
    for names in &FAMILIES {
        for proto in [TCP, UDP] {
            let mut node = node(names, proto);
            let (client, vip, backend) = (
                at(names.outside, PORTS.1 + 1),
                at(names.vip, 80),
                at(names.local, 8080),
            );
            node.enter(NODE, &opening(proto, client, vip).packet());
            node.enter(OTHER_POD, &answering(proto, backend, client).packet());
            node.enter(NODE, &Build::flow(proto, client, vip).packet());
            assert_eq!(node.entries(), (2, 0));
            node.world.settings.features = 0;
            let answer = Build::flow(proto, backend, client).packet();
            let out = node.enter(OTHER_POD, &answer);
            if proto == TCP {
                out.is(Action::Redirect(NODE), vip, client, Reason::Established);
            } else {
                out.is(Action::Pass, backend, client, Reason::NotOurs);
                node.leave(NODE, &answer)
                    .is(Action::Pass, vip, client, Reason::Established);
            }
        }
    }
}
