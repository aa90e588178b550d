//! Packets that are none of ours, and packets that are though their headers are unusual.

use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::{Program, build::Build};

use crate::node::{FAMILIES, NODE, Node, POD, TCP, UDP, at};

#[test]
fn what_no_frontend_names_is_untouched() {
    for names in &FAMILIES {
        let mut node = Node::new();
        node.service(at(names.vip, 80), TCP, &[(at(names.remote, 8080), false)]);
        node.node_port(names, 30080, TCP, &[(at(names.remote, 8080), false)]);
        let any = if names.v6 { "::" } else { "0.0.0.0" };
        for (src, dst) in [
            // Another port, another protocol below, a NodePort on an address that serves none, and on no address at all.
            (at(names.pod, 4000), at(names.vip, 81)),
            (at(names.pod, 4000), at(names.other_vip, 80)),
            (at(names.pod, 4000), at(names.local, 30080)),
            (at(names.pod, 4000), at(any, 30080)),
        ] {
            let packet = Build::tcp(src, dst).syn().packet();
            for program in Program::ALL {
                let out = node.run(program, POD, &packet);
                out.is(Action::Pass, src, dst, Reason::NotOurs);
                assert_eq!(out.skb.bytes[program.l2()..], packet);
            }
        }
        let packet = Build::udp(at(names.pod, 4000), at(names.vip, 80)).packet();
        assert_eq!(node.enter(POD, &packet).reasons, [Reason::NotOurs]);
        assert_eq!(node.entries(), (0, 0));
    }
}

#[test]
fn answers_to_connections_that_are_not_ours_are_untouched() {
    for names in &FAMILIES {
        let node = Node::new();
        let (src, dst) = (at(names.remote, 8080), at(names.node, 4000));
        for packet in [
            Build::tcp(src, dst).syn_ack(),
            Build::tcp(src, dst).rst(),
            Build::udp(src, dst),
        ] {
            let packet = packet.packet();
            node.enter(NODE, &packet)
                .is(Action::Pass, src, dst, Reason::NotOurs);
            node.leave(NODE, &packet)
                .is(Action::Pass, src, dst, Reason::NotOurs);
        }
    }
}

#[test]
fn headers_of_any_length_are_followed() {
    let [v4, v6] = FAMILIES;
    for options in 1..=10 {
        let mut node = Node::new();
        let (client, vip, backend) = (at(v4.pod, 4000), at(v4.vip, 80), at(v4.remote, 8080));
        node.service(vip, UDP, &[(backend, false)]);
        let out = node.enter(
            POD,
            &Build::udp(client, vip)
                .options(options)
                .payload(b"odd")
                .packet(),
        );
        out.is(Action::Pass, client, backend, Reason::NewFlow);
    }
    for kinds in [
        &[0][..],
        &[60],
        &[43],
        &[0, 60],
        &[0, 43, 60],
        &[0, 60, 43, 60],
    ] {
        let mut node = Node::new();
        let (client, vip, backend) = (at(v6.pod, 4000), at(v6.vip, 80), at(v6.remote, 8080));
        node.service(vip, TCP, &[(backend, false)]);
        let mut packet = Build::tcp(client, vip).syn();
        for (index, kind) in (0..).zip(kinds) {
            packet = packet.extension(*kind, index);
        }
        let out = node.enter(POD, &packet.packet());
        out.is(Action::Pass, client, backend, Reason::NewFlow);
    }
}
