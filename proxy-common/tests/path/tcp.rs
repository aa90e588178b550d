//! The life of a TCP connection.

use proxy_common::flags::flow_state::{FIN_BACKEND, FIN_CLIENT, REPLIED, RST_BACKEND, RST_CLIENT};
use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::value::backend_state;

use crate::node::{FAMILIES, NODE, Names, Node, POD, TCP, at};

/// A Service of ten remote backends.
fn ten(names: &Names) -> Node {
    let mut node = Node::new();
    let backends: Vec<_> = (0..10)
        .map(|index| (at(names.remote, 8080 + index), false))
        .collect();
    node.service(at(names.vip, 80), TCP, &backends);
    node
}

/// The backend that a connection from `port` was given, after SYN and SYN-ACK.
fn established(node: &Node, names: &Names, port: u16) -> std::net::SocketAddr {
    let (client, vip) = (at(names.pod, port), at(names.vip, 80));
    let backend = node
        .enter(POD, &Build::tcp(client, vip).syn().packet())
        .seen
        .dst;
    node.leave(POD, &Build::tcp(backend, client).syn_ack().packet())
        .is(Action::Pass, vip, client, Reason::Established);
    backend
}

#[test]
fn syn_that_comes_again_keeps_its_backend() {
    for names in &FAMILIES {
        let node = ten(names);
        for port in 4000..4050 {
            let (client, vip) = (at(names.pod, port), at(names.vip, 80));
            let syn = Build::tcp(client, vip).syn().packet();
            let first = node.enter(POD, &syn);
            node.wait(1);
            node.enter(POD, &syn)
                .is(Action::Pass, client, first.seen.dst, Reason::Retransmitted);
        }
        assert_eq!(node.entries(), (0, 50));
    }
}

#[test]
fn syn_ack_promotes_both_directions_and_another_one_changes_nothing() {
    for names in &FAMILIES {
        let node = ten(names);
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        let backend = established(&node, names, 4000);
        assert_eq!(node.entries().0, 2);
        node.leave(POD, &Build::tcp(backend, client).syn_ack().packet())
            .is(Action::Pass, vip, client, Reason::Established);
        node.enter(POD, &Build::tcp(client, vip).packet()).is(
            Action::Pass,
            client,
            backend,
            Reason::Established,
        );
        assert_eq!(node.states(names), [REPLIED, REPLIED]);
        assert_eq!(node.entries().0, 2);
    }
}

#[test]
fn packet_without_flow_that_opens_nothing_goes_to_the_stack() {
    for names in &FAMILIES {
        let node = ten(names);
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        for flags in [0x10, 0x18, 0x11, 0x14, 0x12, 0x04, 0x00, 0x03, 0x06] {
            let packet = Build::tcp(client, vip).flags(flags).packet();
            node.enter(POD, &packet)
                .is(Action::Pass, client, vip, Reason::NotOurs);
        }
        // ECN (RFC 3168 section 6.1.1): a SYN with ECE and CWR opens too.
        let out = node.enter(POD, &Build::tcp(client, vip).flags(0xc2).packet());
        assert_eq!(out.reasons, [Reason::NewFlow]);
    }
}

#[test]
fn embryo_takes_no_data_before_the_answer() {
    for names in &FAMILIES {
        let node = ten(names);
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        let backend = node
            .enter(POD, &Build::tcp(client, vip).syn().packet())
            .seen
            .dst;
        // A backend that sends data without SYN-ACK is none of this connection.
        let data = Build::tcp(backend, client).packet();
        node.leave(POD, &data)
            .is(Action::Pass, backend, client, Reason::NotOurs);
        assert_eq!(node.entries(), (0, 1));
    }
}

#[test]
fn refusal_of_a_backend_comes_from_the_frontend_and_keeps_nothing() {
    for names in &FAMILIES {
        let node = ten(names);
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        let backend = node
            .enter(POD, &Build::tcp(client, vip).syn().packet())
            .seen
            .dst;
        node.leave(POD, &Build::tcp(backend, client).rst().packet())
            .is(Action::Pass, vip, client, Reason::Established);
        assert_eq!(node.entries(), (0, 1));
    }
}

#[test]
fn ends_of_a_connection_are_noted_in_both_entries() {
    for names in &FAMILIES {
        for (from_client, from_backend, state) in [
            (Some(0x11), None, FIN_CLIENT),
            (None, Some(0x11), FIN_BACKEND),
            (Some(0x11), Some(0x11), FIN_CLIENT | FIN_BACKEND),
            (Some(0x14), None, RST_CLIENT),
            (None, Some(0x04), RST_BACKEND),
            (None, None, 0),
        ] {
            let node = ten(names);
            let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
            let backend = established(&node, names, 4000);
            if let Some(flags) = from_client {
                let out = node.enter(POD, &Build::tcp(client, vip).flags(flags).packet());
                out.is(Action::Pass, client, backend, Reason::Established);
            }
            if let Some(flags) = from_backend {
                let out = node.leave(POD, &Build::tcp(backend, client).flags(flags).packet());
                out.is(Action::Pass, vip, client, Reason::Established);
            }
            assert_eq!(node.states(names), [REPLIED | state; 2]);
        }
    }
}

#[test]
fn syn_on_a_closed_flow_chooses_again() {
    for names in &FAMILIES {
        let mut node = ten(names);
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        let old = established(&node, names, 4000);
        node.enter(POD, &Build::tcp(client, vip).fin().packet());
        node.leave(POD, &Build::tcp(old, client).fin().packet());
        // Meanwhile there is another set of backends.
        let new = at(names.remote, 9000);
        node.service(vip, TCP, &[(new, false)]);
        let out = node.enter(POD, &Build::tcp(client, vip).syn().packet());
        out.is(Action::Pass, client, new, Reason::NewFlow);
        assert_eq!(node.entries().0, 0);
        node.leave(POD, &Build::tcp(new, client).syn_ack().packet())
            .is(Action::Pass, vip, client, Reason::Established);
        assert_eq!(node.states(names), [REPLIED; 2]);
    }
}

#[test]
fn direct_connection_takes_over_the_ports_of_a_closed_flow() {
    for names in &FAMILIES {
        let node = ten(names);
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        let backend = established(&node, names, 4000);
        node.enter(POD, &Build::tcp(client, vip).rst().packet());
        // The same client port, to the backend's own address.
        node.enter(POD, &Build::tcp(client, backend).syn().packet())
            .is(Action::Pass, client, backend, Reason::NotOurs);
        for answer in [
            Build::tcp(backend, client).syn_ack(),
            Build::tcp(backend, client),
            Build::tcp(backend, client).fin(),
        ] {
            node.leave(POD, &answer.packet())
                .is(Action::Pass, backend, client, Reason::NotOurs);
        }
        assert_eq!(node.entries().0, 0);
    }
}

#[test]
fn syn_on_a_closed_flow_to_the_same_backend_opens_a_new_one() {
    for names in &FAMILIES {
        let node = ten(names);
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        let backend = established(&node, names, 4000);
        node.enter(POD, &Build::tcp(client, vip).rst().packet());
        let out = node.enter(POD, &Build::tcp(client, vip).syn().packet());
        assert_eq!((out.action, out.seen.dst), (Action::Pass, backend));
        node.leave(POD, &Build::tcp(backend, client).syn_ack().packet())
            .is(Action::Pass, vip, client, Reason::Established);
        assert_eq!(node.states(names), [REPLIED; 2]);
    }
}

#[test]
fn syn_on_an_open_flow_keeps_a_living_backend_only() {
    for names in &FAMILIES {
        for state in [
            backend_state::ACTIVE,
            backend_state::DRAINING,
            backend_state::GONE,
        ] {
            let mut node = ten(names);
            let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
            let old = established(&node, names, 4000);
            let new = at(names.remote, 9000);
            node.service(vip, TCP, &[(new, false)]);
            for id in 1..=10 {
                node.state(id, state);
            }
            // Data of the old connection goes on in any case.
            node.enter(POD, &Build::tcp(client, vip).packet()).is(
                Action::Pass,
                client,
                old,
                Reason::Established,
            );
            let out = node.enter(POD, &Build::tcp(client, vip).syn().packet());
            if state == backend_state::ACTIVE {
                out.is(Action::Pass, client, old, Reason::Established);
            } else {
                out.is(Action::Pass, client, new, Reason::NewFlow);
            }
        }
    }
}

#[test]
fn syn_knows_a_backend_id_that_was_given_to_another_endpoint() {
    for names in &FAMILIES {
        let mut node = ten(names);
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        established(&node, names, 4000);
        for id in 1..=10 {
            let mut state = node.world.states.get(id).unwrap();
            state.generation += 1;
            node.world.states.set(id, state);
        }
        let new = at(names.remote, 9000);
        node.service(vip, TCP, &[(new, false)]);
        let out = node.enter(POD, &Build::tcp(client, vip).syn().packet());
        out.is(Action::Pass, client, new, Reason::NewFlow);
    }
}

#[test]
fn endpoint_that_came_back_under_another_id_is_recorded_with_it() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, vip, backend) = (
            at(names.pod, 4000),
            at(names.vip, 80),
            at(names.remote, 8080),
        );
        node.service(vip, TCP, &[(backend, false)]);
        established(&node, names, 4000);
        node.state(1, backend_state::GONE);
        node.service(vip, TCP, &[(backend, false)]);
        established(&node, names, 4000);
        let valid = node.enter(POD, &Build::tcp(client, vip).syn().packet());
        valid.is(Action::Pass, client, backend, Reason::Established);
    }
}

#[test]
fn full_flow_table_drops_the_answer_and_leaves_nothing_behind() {
    for names in &FAMILIES {
        for flows in 0..2 {
            let mut node = Node::with_flows(flows);
            let (client, vip, backend) = (
                at(names.pod, 4000),
                at(names.vip, 80),
                at(names.remote, 8080),
            );
            node.service(vip, TCP, &[(backend, false)]);
            node.enter(POD, &Build::tcp(client, vip).syn().packet());
            let out = node.leave(POD, &Build::tcp(backend, client).syn_ack().packet());
            assert_eq!(
                (out.action, out.reasons.as_slice()),
                (Action::Drop, [Reason::FlowTableFull].as_slice())
            );
            assert_eq!(node.entries(), (0, 1));
        }
    }
}

#[test]
fn answer_that_lost_a_race_is_dropped_and_leaves_nothing_behind() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 80));
        let (slow, quick) = (at(names.remote, 8080), at(names.remote, 9000));
        node.service(vip, TCP, &[(slow, false)]);
        node.enter(POD, &Build::tcp(client, vip).syn().packet());
        node.service(vip, TCP, &[(quick, false)]);
        node.enter(POD, &Build::tcp(client, vip).syn().packet());
        node.leave(POD, &Build::tcp(quick, client).syn_ack().packet())
            .is(Action::Pass, vip, client, Reason::Established);
        let out = node.leave(POD, &Build::tcp(slow, client).syn_ack().packet());
        assert_eq!(
            (out.action, out.reasons.as_slice()),
            (Action::Drop, [Reason::TupleTaken].as_slice())
        );
        assert_eq!(node.entries().0, 2);
        node.enter(POD, &Build::tcp(client, vip).packet()).is(
            Action::Pass,
            client,
            quick,
            Reason::Established,
        );
    }
}

#[test]
fn redirected_connection_lives_the_same_life_at_ingress() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, frontend, backend) = (
            at(names.outside, 4000),
            at(names.node, 30080),
            at(names.remote, 8080),
        );
        let own = at(names.node, 4000);
        node.node_port(names, 30080, TCP, &[(backend, false)]);
        node.enter(NODE, &Build::tcp(client, frontend).syn().packet());
        node.enter(NODE, &Build::tcp(backend, own).syn_ack().packet());
        node.enter(NODE, &Build::tcp(client, frontend).fin().packet())
            .is(Action::Redirect(NODE), own, backend, Reason::Established);
        node.enter(NODE, &Build::tcp(backend, own).fin().packet())
            .is(
                Action::Redirect(NODE),
                frontend,
                client,
                Reason::Established,
            );
        assert_eq!(node.states(names), [REPLIED | FIN_CLIENT | FIN_BACKEND; 2]);
        node.enter(NODE, &Build::tcp(client, frontend).syn().packet())
            .is(Action::Redirect(NODE), own, backend, Reason::NewFlow);
        assert_eq!(node.entries().0, 0);
    }
}
