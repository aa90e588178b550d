//! The life of an SCTP association, and its checksum, which covers the ports but no addresses (SEMANTICS 2.6).

use std::net::SocketAddr;

use proxy_common::flags::flow_state::{FIN_BACKEND, FIN_CLIENT, REPLIED, RST_BACKEND, RST_CLIENT};
use proxy_common::path::{Action, GSO_BY_FRAGS};
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::sim::{Program, Skb, oracle};
use proxy_common::value::backend_state;

use crate::node::{FAMILIES, MARK, NODE, Names, Node, OTHER_POD, Out, POD, SCTP, TUNNEL, at};

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const SHUTDOWN_COMPLETE: u8 = 14;

/// A packet with one chunk, whose value is as long as an INIT's.
fn chunk(kind: u8, src: SocketAddr, dst: SocketAddr) -> Build {
    Build::sctp(src, dst).chunk(kind).payload(&[0x5a; 16])
}

/// A pod's client, a frontend, and its only backend.
fn one(names: &Names) -> (Node, SocketAddr, SocketAddr, SocketAddr) {
    let mut node = Node::new();
    let (client, vip, backend) = (
        at(names.pod, 4000),
        at(names.vip, 80),
        at(names.remote, 8080),
    );
    node.service(vip, SCTP, &[(backend, false)]);
    (node, client, vip, backend)
}

/// Opens an association of [`one`].
fn open(node: &Node, client: SocketAddr, vip: SocketAddr, backend: SocketAddr) {
    node.enter(POD, &chunk(INIT, client, vip).packet()).is(
        Action::Pass,
        client,
        backend,
        Reason::NewFlow,
    );
    node.leave(POD, &chunk(INIT_ACK, backend, client).packet())
        .is(Action::Pass, vip, client, Reason::Established);
}

/// The checksum that a packet carries, if it is the right one.
#[track_caller]
fn complete(out: &Out) -> [u8; 4] {
    let field: [u8; 4] = out.seen.segment[8..12].try_into().unwrap();
    assert_eq!(field, oracle::crc32c(&out.seen.segment));
    assert_ne!(field, [0; 4]);
    field
}

#[test]
fn init_opens_and_init_ack_promotes() {
    for names in &FAMILIES {
        let (node, client, vip, backend) = one(names);
        let init = chunk(INIT, client, vip).packet();
        let out = node.enter(POD, &init);
        out.is(Action::Pass, client, backend, Reason::NewFlow);
        complete(&out);
        assert_eq!(node.entries(), (0, 1));
        node.enter(POD, &init)
            .is(Action::Pass, client, backend, Reason::Retransmitted);
        let out = node.leave(POD, &chunk(INIT_ACK, backend, client).packet());
        out.is(Action::Pass, vip, client, Reason::Established);
        complete(&out);
        assert_eq!(node.states(names), [REPLIED; 2]);
        for kind in [COOKIE_ECHO, DATA, 3, 4, 15, 0xc1] {
            let out = node.enter(POD, &chunk(kind, client, vip).packet());
            out.is(Action::Pass, client, backend, Reason::Established);
            complete(&out);
        }
        let out = node.leave(POD, &chunk(DATA, backend, client).packet());
        out.is(Action::Pass, vip, client, Reason::Established);
        complete(&out);
        assert_eq!(node.states(names), [REPLIED; 2]);
    }
}

#[test]
fn packet_without_association_goes_to_the_stack_unless_it_is_an_init() {
    for names in &FAMILIES {
        let (node, client, vip, _) = one(names);
        for kind in (0..=255).filter(|kind| *kind != INIT) {
            let packet = chunk(kind, client, vip).packet();
            let out = node.enter(POD, &packet);
            out.is(Action::Pass, client, vip, Reason::NotOurs);
            assert_eq!(out.skb.bytes[14..], packet);
        }
        // A header without a chunk (RFC 9260 section 3 asks for one or more).
        let mut bare = chunk(INIT, client, vip).packet();
        let ip = if names.v6 { 40 } else { 20 };
        bare.truncate(ip + 12);
        let mut skb = Skb::new(proxy_common::sim::build::ethernet(&bare), POD);
        assert_eq!(Program::TcIngress.run(&node.world, &mut skb), Action::Pass);
        assert_eq!((&skb.bytes[14..], node.entries()), (&bare[..], (0, 0)));
    }
}

#[test]
fn embryo_takes_no_data_before_the_answer_and_an_abort_keeps_nothing() {
    for names in &FAMILIES {
        let (node, client, vip, backend) = one(names);
        node.enter(POD, &chunk(INIT, client, vip).packet());
        node.leave(POD, &chunk(DATA, backend, client).packet()).is(
            Action::Pass,
            backend,
            client,
            Reason::NotOurs,
        );
        node.leave(POD, &chunk(ABORT, backend, client).packet()).is(
            Action::Pass,
            vip,
            client,
            Reason::Established,
        );
        assert_eq!(node.entries(), (0, 1));
    }
}

#[test]
fn ends_of_an_association_are_noted_in_both_entries() {
    for names in &FAMILIES {
        for (from_client, from_backend, state) in [
            (Some(SHUTDOWN), None, FIN_CLIENT),
            (None, Some(SHUTDOWN), FIN_BACKEND),
            (Some(SHUTDOWN), Some(SHUTDOWN_ACK), FIN_CLIENT | FIN_BACKEND),
            (Some(SHUTDOWN_COMPLETE), None, RST_CLIENT),
            (None, Some(SHUTDOWN_COMPLETE), RST_BACKEND),
            (Some(ABORT), None, RST_CLIENT),
            (None, Some(ABORT), RST_BACKEND),
            (Some(DATA), Some(DATA), 0),
        ] {
            let (node, client, vip, backend) = one(names);
            open(&node, client, vip, backend);
            if let Some(kind) = from_client {
                node.enter(POD, &chunk(kind, client, vip).packet()).is(
                    Action::Pass,
                    client,
                    backend,
                    Reason::Established,
                );
            }
            if let Some(kind) = from_backend {
                node.leave(POD, &chunk(kind, backend, client).packet()).is(
                    Action::Pass,
                    vip,
                    client,
                    Reason::Established,
                );
            }
            assert_eq!(node.states(names), [REPLIED | state; 2]);
        }
    }
}

#[test]
fn init_asks_anew_where_the_association_is_over_or_its_backend_gone() {
    for names in &FAMILIES {
        for (end, state, moves) in [
            (None, backend_state::ACTIVE, false),
            (Some(ABORT), backend_state::ACTIVE, true),
            (None, backend_state::DRAINING, true),
            (None, backend_state::GONE, true),
        ] {
            let (mut node, client, vip, old) = one(names);
            open(&node, client, vip, old);
            if let Some(kind) = end {
                node.enter(POD, &chunk(kind, client, vip).packet());
            }
            let new = at(names.remote, 9000);
            node.service(vip, SCTP, &[(new, false)]);
            node.state(1, state);
            // The association is left to finish in any case (SEMANTICS 10.2).
            node.enter(POD, &chunk(DATA, client, vip).packet()).is(
                Action::Pass,
                client,
                old,
                Reason::Established,
            );
            let out = node.enter(POD, &chunk(INIT, client, vip).packet());
            if moves {
                out.is(Action::Pass, client, new, Reason::NewFlow);
            } else {
                out.is(Action::Pass, client, old, Reason::Established);
            }
        }
    }
}

#[test]
fn association_from_outside_is_redirected_with_another_source() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (frontend, backend) = (at(names.node, 30080), at(names.remote, 8080));
        node.node_port(names, 30080, SCTP, &[(backend, false)]);
        // One port that SNAT may keep, one that it may not.
        for port in [4000, 50_000] {
            let client = at(names.outside, port);
            let init = chunk(INIT, client, frontend).packet();
            // XDP decides the same.
            let early = node.run(Program::Xdp, NODE, &init);
            let own = early.seen.src;
            early.is(Action::Redirect(NODE), own, backend, Reason::NewFlow);
            complete(&early);
            assert_eq!(own.ip(), at(names.node, 0).ip());
            assert_eq!(own.port() == port, port == 4000);
            let out = node.enter(NODE, &init);
            out.is(Action::Redirect(NODE), own, backend, Reason::Retransmitted);
            assert_eq!(out.skb.bytes, early.skb.bytes);
            let out = node.run(Program::Xdp, NODE, &chunk(INIT_ACK, backend, own).packet());
            out.is(
                Action::Redirect(NODE),
                frontend,
                client,
                Reason::Established,
            );
            complete(&out);
            let out = node.enter(NODE, &chunk(SHUTDOWN, client, frontend).packet());
            out.is(Action::Redirect(NODE), own, backend, Reason::Established);
            complete(&out);
        }
        assert_eq!(node.entries().0, 4);
    }
}

#[test]
fn association_through_a_tunnel_is_marked_for_masquerade() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, frontend) = (at(names.outside, 4000), at(names.node, 30080));
        let backend = at(names.tunnelled, 8080);
        node.node_port(names, 30080, SCTP, &[(backend, false)]);
        let out = node.enter(NODE, &chunk(INIT, client, frontend).packet());
        out.is(Action::Mark(MARK), client, backend, Reason::NewFlow);
        complete(&out);
        // Netfilter takes its own source away before the answer leaves.
        node.leave(NODE, &chunk(INIT_ACK, backend, client).packet())
            .is(Action::Pass, frontend, client, Reason::Established);
        assert_eq!(
            node.enter(TUNNEL, &chunk(DATA, backend, client).packet())
                .reasons,
            [Reason::NotOurs]
        );
    }
}

#[test]
fn pod_reaches_itself() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, vip, own) = (at(names.pod, 4000), at(names.vip, 80), at(names.pod, 8080));
        let hairpin = at(names.hairpin, 4000);
        node.service(vip, SCTP, &[(own, true)]);
        let out = node.enter(POD, &chunk(INIT, client, vip).packet());
        out.is(Action::Back, hairpin, own, Reason::NewFlow);
        complete(&out);
        let out = node.enter(POD, &chunk(INIT_ACK, own, hairpin).packet());
        out.is(Action::Back, vip, client, Reason::Established);
        complete(&out);
        assert_eq!(node.entries().0, 2);
    }
}

#[test]
fn checksum_stays_where_the_ports_stay_and_where_a_device_will_complete_it() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        let (same, other) = (at(names.remote, 80), at(names.remote, 8080));
        node.service(vip, SCTP, &[(same, false)]);
        let init = chunk(INIT, client, vip).packet();
        let out = node.enter(POD, &init);
        let ip = if names.v6 { 40 } else { 20 };
        assert_eq!(complete(&out), init[ip + 8..ip + 12]);
        let (node, ..) = one(names);
        open(&node, client, vip, other);
        let out = node.enter(POD, &Build::sctp(client, vip).partial_checksum().packet());
        out.is(Action::Pass, client, other, Reason::Established);
        assert_eq!(out.seen.segment[8..12], [0; 4]);
    }
}

#[test]
fn checksum_covers_what_the_headers_say_and_not_what_pads_the_frame() {
    for names in &FAMILIES {
        let (node, client, vip, backend) = one(names);
        for options in 0..=3 {
            let packet = Build::sctp(client, vip).chunk(INIT).options(options);
            let packet = match options {
                2.. if names.v6 => packet.extension(60, options),
                _ => packet,
            };
            let mut bytes = packet.frame();
            bytes.extend_from_slice(&[0xee; 10]);
            let out = node.run_skb(Program::TcIngress, Skb::new(bytes, POD));
            assert_eq!((out.action, out.seen.dst), (Action::Pass, backend));
            complete(&out);
        }
    }
}

#[test]
fn parts_of_a_packet_follow_the_first_one_if_the_ports_stay() {
    for names in &FAMILIES {
        for port in [80, 8080] {
            let mut node = Node::new();
            let (client, vip, backend) = (
                at(names.pod, 4000),
                at(names.vip, 80),
                at(names.remote, port),
            );
            node.service(vip, SCTP, &[(backend, false)]);
            open(&node, client, vip, backend);
            let data = Build::sctp(client, vip).payload(&[9; 400]).id(77);
            let [first, later] = data.parts(104);
            let out = node.enter(POD, &first);
            if port == 80 {
                assert_eq!(
                    (out.action, out.seen.dst.ip()),
                    (Action::Pass, backend.ip())
                );
                assert_eq!(out.reasons, [Reason::Established]);
            } else {
                // The sum depends on the whole packet's length, which no first part tells.
                assert_eq!(
                    (out.action, out.reasons),
                    (Action::Drop, vec![Reason::EditFailed])
                );
            }
            let out = node.enter(POD, &later);
            assert_eq!(
                (out.action, out.seen.dst.ip()),
                (Action::Pass, backend.ip())
            );
            // Where it enters from another pod it is none of this association.
            assert_eq!(
                node.enter(OTHER_POD, &chunk(DATA, backend, client).packet())
                    .reasons,
                [Reason::NotOurs]
            );
        }
    }
}

#[test]
fn segments_of_one_large_packet_are_not_taken_for_too_big() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, frontend, backend) = (
            at(names.outside, 4000),
            at(names.node, 30080),
            at(names.remote, 8080),
        );
        node.node_port(names, 30080, SCTP, &[(backend, false)]);
        node.enter(NODE, &chunk(INIT, client, frontend).packet());
        node.enter(
            NODE,
            &chunk(INIT_ACK, backend, at(names.node, 4000)).packet(),
        );
        let data = Build::sctp(client, frontend)
            .partial_checksum()
            .dont_fragment();
        let mut skb = Skb::new(data.payload(&[1; 4000]).frame(), NODE);
        skb.gso_size = GSO_BY_FRAGS;
        let out = node.run_skb(Program::TcIngress, skb.clone());
        assert_eq!(
            (out.action, out.reasons),
            (Action::Redirect(NODE), vec![Reason::Established])
        );
        // One packet of that length is.
        skb.gso_size = 0;
        let out = node.run_skb(Program::TcIngress, skb);
        assert_eq!(
            (out.action, out.reasons),
            (Action::Back, vec![Reason::TooBig])
        );
    }
}
