//! UDP conversations: one question and one answer cost no flow; a backend that is gone is replaced.

use proxy_common::flags::flow_state::REPLIED;
use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::value::backend_state;

use crate::node::{FAMILIES, NODE, Names, Node, POD, UDP, at};

fn one(names: &Names) -> Node {
    let mut node = Node::new();
    node.service(at(names.vip, 53), UDP, &[(at(names.remote, 5353), false)]);
    node
}

#[test]
fn question_and_answer_leave_no_flow() {
    for names in &FAMILIES {
        let node = one(names);
        for port in 4000..4100 {
            let (client, vip, backend) = (
                at(names.pod, port),
                at(names.vip, 53),
                at(names.remote, 5353),
            );
            node.enter(POD, &Build::udp(client, vip).packet()).is(
                Action::Pass,
                client,
                backend,
                Reason::NewFlow,
            );
            node.leave(POD, &Build::udp(backend, client).packet()).is(
                Action::Pass,
                vip,
                client,
                Reason::Established,
            );
        }
        assert_eq!(node.entries(), (0, 100));
    }
}

#[test]
fn client_that_speaks_again_after_an_answer_gets_a_flow() {
    for names in &FAMILIES {
        let node = one(names);
        let (client, vip, backend) = (
            at(names.pod, 4000),
            at(names.vip, 53),
            at(names.remote, 5353),
        );
        let question = Build::udp(client, vip).packet();
        node.enter(POD, &question);
        // Both addresses of a DNS query leave in one go: no conversation yet.
        node.enter(POD, &question)
            .is(Action::Pass, client, backend, Reason::Retransmitted);
        assert_eq!(node.entries().0, 0);
        node.leave(POD, &Build::udp(backend, client).packet());
        node.enter(POD, &question)
            .is(Action::Pass, client, backend, Reason::Retransmitted);
        assert_eq!(node.states(names), [REPLIED; 2]);
        node.enter(POD, &question)
            .is(Action::Pass, client, backend, Reason::Established);
    }
}

/// ADDRS is asked before FLOWS: see the path's description of UDP.
#[test]
fn flow_ends_with_the_address_that_it_was_made_for() {
    for names in &FAMILIES {
        let mut node = one(names);
        let (client, vip, backend) = (
            at(names.pod, 4000),
            at(names.vip, 53),
            at(names.remote, 5353),
        );
        let question = Build::udp(client, vip).packet();
        node.enter(POD, &question);
        node.leave(POD, &Build::udp(backend, client).packet());
        node.enter(POD, &question);
        node.enter(POD, &question)
            .is(Action::Pass, client, backend, Reason::Established);
        assert_eq!(node.entries(), (2, 0));
        node.world.v4.addrs.clear();
        node.world.v6.addrs.clear();
        node.enter(POD, &question)
            .is(Action::Pass, client, vip, Reason::NotOurs);
    }
}

#[test]
fn client_that_goes_on_without_answers_gets_a_flow() {
    for names in &FAMILIES {
        let node = one(names);
        let (client, vip, backend) = (
            at(names.pod, 4000),
            at(names.vip, 53),
            at(names.remote, 5353),
        );
        let question = Build::udp(client, vip).packet();
        node.enter(POD, &question);
        node.wait(1);
        node.enter(POD, &question)
            .is(Action::Pass, client, backend, Reason::Retransmitted);
        assert_eq!(node.entries().0, 2);
    }
}

#[test]
fn full_flow_table_holds_no_datagram() {
    for names in &FAMILIES {
        for flows in 0..2 {
            let mut node = Node::with_flows(flows);
            let (client, vip, backend) = (
                at(names.pod, 4000),
                at(names.vip, 53),
                at(names.remote, 5353),
            );
            node.service(vip, UDP, &[(backend, false)]);
            let question = Build::udp(client, vip).packet();
            node.enter(POD, &question);
            node.leave(POD, &Build::udp(backend, client).packet());
            let out = node.enter(POD, &question);
            assert_eq!((out.action, out.seen.dst), (Action::Pass, backend));
            assert_eq!(out.reasons, [Reason::Retransmitted, Reason::FlowTableFull]);
            assert_eq!(node.entries(), (0, 1));
            node.leave(POD, &Build::udp(backend, client).packet()).is(
                Action::Pass,
                vip,
                client,
                Reason::Established,
            );
        }
    }
}

/// A flow, then another set of backends and `state` for the old one.
fn moved(names: &Names, state: u16) -> Node {
    let mut node = one(names);
    let (client, vip, backend) = (
        at(names.pod, 4000),
        at(names.vip, 53),
        at(names.remote, 5353),
    );
    node.enter(POD, &Build::udp(client, vip).packet());
    node.leave(POD, &Build::udp(backend, client).packet());
    node.enter(POD, &Build::udp(client, vip).packet());
    assert_eq!(node.entries().0, 2);
    node.service(vip, UDP, &[(at(names.remote, 9000), false)]);
    node.state(1, state);
    node
}

#[test]
fn flow_of_a_backend_that_is_gone_is_balanced_again() {
    for names in &FAMILIES {
        let node = moved(names, backend_state::GONE);
        let (client, vip, new) = (
            at(names.pod, 4000),
            at(names.vip, 53),
            at(names.remote, 9000),
        );
        let out = node.enter(POD, &Build::udp(client, vip).packet());
        assert_eq!((out.action, out.seen.dst), (Action::Pass, new));
        assert_eq!(out.reasons, [Reason::NewFlow, Reason::Rebalanced]);
        node.leave(POD, &Build::udp(new, client).packet()).is(
            Action::Pass,
            vip,
            client,
            Reason::Established,
        );
        node.enter(POD, &Build::udp(client, vip).packet()).is(
            Action::Pass,
            client,
            new,
            Reason::Retransmitted,
        );
        node.enter(POD, &Build::udp(client, vip).packet()).is(
            Action::Pass,
            client,
            new,
            Reason::Established,
        );
    }
}

#[test]
fn flow_of_a_backend_that_still_serves_stays() {
    for names in &FAMILIES {
        for state in [backend_state::ACTIVE, backend_state::DRAINING] {
            let node = moved(names, state);
            let (client, vip) = (at(names.pod, 4000), at(names.vip, 53));
            let out = node.enter(POD, &Build::udp(client, vip).packet());
            out.is(
                Action::Pass,
                client,
                at(names.remote, 5353),
                Reason::Established,
            );
        }
    }
}

#[test]
fn endpoint_that_came_back_under_another_id_is_balanced_again_once() {
    for names in &FAMILIES {
        let mut node = moved(names, backend_state::GONE);
        let (client, vip, backend) = (
            at(names.pod, 4000),
            at(names.vip, 53),
            at(names.remote, 5353),
        );
        node.service(vip, UDP, &[(backend, false)]);
        let question = Build::udp(client, vip).packet();
        assert_eq!(node.enter(POD, &question).seen.dst, backend);
        node.leave(POD, &Build::udp(backend, client).packet());
        node.enter(POD, &question);
        node.enter(POD, &question)
            .is(Action::Pass, client, backend, Reason::Established);
    }
}

#[test]
fn client_that_spoke_while_there_was_no_endpoint_recovers() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, vip, backend) = (
            at(names.pod, 4000),
            at(names.vip, 53),
            at(names.remote, 5353),
        );
        node.service(vip, UDP, &[]);
        assert_eq!(
            node.enter(POD, &Build::udp(client, vip).packet()).reasons,
            [Reason::NoEndpoints]
        );
        node.service(vip, UDP, &[(backend, false)]);
        node.enter(POD, &Build::udp(client, vip).packet()).is(
            Action::Pass,
            client,
            backend,
            Reason::NewFlow,
        );
    }
}

#[test]
fn zero_checksum_stays_zero() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, frontend, backend) = (
            at(names.outside, 4000),
            at(names.node, 30053),
            at(names.remote, 5353),
        );
        node.node_port(names, 30053, UDP, &[(backend, false)]);
        let out = node.enter(
            NODE,
            &Build::udp(client, frontend)
                .zero_checksum()
                .payload(b"?")
                .packet(),
        );
        out.is(
            Action::Redirect(NODE),
            at(names.node, 4000),
            backend,
            Reason::NewFlow,
        );
        assert_eq!(out.seen.segment[6..8], [0, 0]);
    }
}

#[test]
fn checksum_that_becomes_zero_is_written_as_ones() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, vip, backend) = (
            at(names.pod, 4000),
            at(names.vip, 53),
            at(names.remote, 5353),
        );
        node.service(vip, UDP, &[(backend, false)]);
        // The payload's two bytes run through all sums, so one of them leaves a sum of zero.
        let mut ones = 0;
        for filling in 0..=u16::MAX {
            let packet = Build::udp(client, vip)
                .payload(&filling.to_be_bytes())
                .packet();
            let out = node.enter(POD, &packet);
            assert_ne!(out.seen.segment[6..8], [0, 0]);
            ones += u32::from(out.seen.segment[6..8] == [0xff, 0xff]);
        }
        assert!(ones > 0);
    }
}
