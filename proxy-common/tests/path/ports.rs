//! Source ports: the client's own where it can be, another where it is taken or out of range.

use std::net::SocketAddr;

use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::value::Frontend;

use crate::node::{
    FAMILIES, NODE, Names, Node, OTHER_POD, POD, PORTS, SCTP, TCP, TUNNEL, UDP, answering, at,
    opening,
};
use crate::traffic::{answer, first};

#[test]
fn source_port_outside_the_range_is_replaced_by_one_inside() {
    for names in &FAMILIES {
        let mut node = Node::new();
        node.node_port(names, 30080, UDP, &[(at(names.remote, 8080), false)]);
        for port in (PORTS.1 + 1..=u16::MAX).step_by(97) {
            let packet = Build::udp(at(names.outside, port), at(names.node, 30080)).packet();
            let out = node.enter(NODE, &packet);
            let chosen = out.seen.src.port();
            assert!((PORTS.0..=PORTS.1).contains(&chosen), "{chosen} for {port}");
        }
    }
}

#[test]
fn client_with_affinity_has_as_many_ports_as_any_other() {
    for names in &FAMILIES {
        for proto in [TCP, UDP, SCTP] {
            let mut node = Node::new();
            let frontend = at(names.vip, 80);
            let slice = node.set(&[(at(names.remote, 8080), false)]);
            let sticky = Frontend {
                service: 1,
                slices: [slice; 3],
                affinity_seconds: 10_800,
                ..Frontend::default()
            };
            node.write(frontend, proto, sticky);
            for port in 50_000..50_300 {
                let client = at(names.outside, port);
                let out = node.enter(NODE, &opening(proto, client, frontend).packet());
                assert_eq!(out.reasons, [Reason::NewFlow], "port {port}");
            }
            assert_eq!(node.entries(), (0, 300));
        }
    }
}

#[test]
fn two_frontends_with_one_backend_do_not_share_an_answer() {
    for names in &FAMILIES {
        for proto in [TCP, UDP] {
            let mut node = Node::new();
            let (client, backend) = (at(names.pod, 4000), at(names.remote, 8080));
            let frontends = [at(names.vip, 80), at(names.other_vip, 80)];
            let mut sources = Vec::new();
            for frontend in frontends {
                node.service(frontend, proto, &[(backend, false)]);
                let out = node.enter(POD, &first(proto, client, frontend).packet());
                assert_eq!(
                    (out.seen.dst, out.reasons.as_slice()),
                    (backend, [Reason::NewFlow].as_slice())
                );
                sources.push(out.seen.src);
            }
            assert_eq!(sources[0], client);
            assert_eq!(sources[1].ip(), client.ip());
            assert_ne!(sources[1], client);
            for (source, frontend) in sources.iter().zip(frontends) {
                let out = node.leave(POD, &answer(proto, backend, *source).packet());
                out.is(Action::Pass, frontend, client, Reason::Established);
            }
        }
    }
}

/// A node with a client in a pod, and a Service that has a backend.
fn served(names: &Names, proto: u8) -> (Node, [SocketAddr; 3]) {
    let mut node = Node::new();
    let [client, frontend, backend] =
        [at(names.pod, 4000), at(names.vip, 80), at(names.remote, 53)];
    node.service(frontend, proto, &[(backend, false)]);
    (node, [client, frontend, backend])
}

#[test]
fn client_that_speaks_to_the_backend_itself_too_gets_another_port_there() {
    for names in &FAMILIES {
        for proto in [TCP, UDP, SCTP] {
            for answered in [false, true] {
                let (node, [client, frontend, backend]) = served(names, proto);
                node.enter(POD, &opening(proto, client, frontend).packet());
                let answers = |to, expected| {
                    let out = node.leave(POD, &answering(proto, backend, to).packet());
                    out.is(Action::Pass, expected, client, Reason::Established);
                };
                let more = |to, source, reason| {
                    let packet = Build::flow(proto, client, to).packet();
                    let out = node.enter(POD, &packet);
                    out.is(Action::Pass, source, backend, reason);
                };
                // The second question of a UDP client brings its conversation into FLOWS.
                let second = if proto == UDP {
                    Reason::Retransmitted
                } else {
                    Reason::Established
                };
                if answered {
                    answers(client, frontend);
                    more(frontend, client, second);
                }
                let out = node.enter(POD, &opening(proto, client, backend).packet());
                let source = out.seen.src;
                out.is(Action::Pass, source, backend, Reason::NewFlow);
                assert_eq!(source.ip(), client.ip());
                assert!((PORTS.0..=PORTS.1).contains(&source.port()), "{source}");
                assert_ne!(source, client);
                // Both go on, whoever is answered first.
                answers(source, backend);
                answers(client, frontend);
                more(backend, source, second);
                if !answered {
                    more(frontend, client, second);
                }
                for (to, source) in [(backend, source), (frontend, client)] {
                    more(to, source, Reason::Established);
                    answers(source, to);
                }
                assert_eq!(node.entries(), (4, 0));
            }
        }
    }
}

#[test]
fn client_keeps_its_port_to_a_backend_that_nothing_else_of_it_needs() {
    for names in &FAMILIES {
        for proto in [TCP, UDP, SCTP] {
            let (node, [client, frontend, backend]) = served(names, proto);
            let directly = |device, from| {
                let out = node.enter(device, &opening(proto, from, backend).packet());
                out.is(Action::Pass, from, backend, Reason::NotOurs);
            };
            directly(POD, client);
            node.enter(POD, &opening(proto, client, frontend).packet());
            directly(POD, at(names.pod, 4001));
            directly(OTHER_POD, at(names.local, 4000));
            // Translated by one device, and seen by another.
            directly(NODE, client);
            // Nobody answered in a minute.
            node.wait(60);
            directly(POD, client);
            if proto == TCP {
                node.enter(POD, &opening(proto, client, frontend).packet());
                node.leave(POD, &answering(proto, backend, client).packet());
                node.enter(POD, &Build::tcp(client, frontend).rst().packet());
                directly(POD, client);
            }
        }
    }
}

#[test]
fn first_packet_that_comes_again_by_another_device_keeps_its_port() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, frontend) = (at(names.outside, 4000), at(names.node, 30080));
        let backend = at(names.local, 8080);
        node.node_port(names, 30080, TCP, &[(backend, true)]);
        let packet = opening(TCP, client, frontend).packet();
        for (device, reason) in [
            (NODE, Reason::NewFlow),
            (TUNNEL, Reason::Retransmitted),
            (NODE, Reason::Retransmitted),
        ] {
            let out = node.enter(device, &packet);
            out.is(Action::Pass, client, backend, reason);
        }
    }
}

#[test]
fn source_ports_that_run_out_drop_the_connection() {
    for names in &FAMILIES {
        let mut node = Node::new();
        node.world.settings.snat_port_min = 5000;
        node.world.settings.snat_port_max = 5003;
        node.node_port(names, 30080, UDP, &[(at(names.remote, 8080), false)]);
        let mut taken = std::collections::BTreeSet::new();
        let mut exhausted = 0;
        for port in 40_000..40_100 {
            let packet = Build::udp(at(names.outside, port), at(names.node, 30080)).packet();
            let out = node.enter(NODE, &packet);
            match out.reasons.as_slice() {
                [Reason::NewFlow] => assert!(taken.insert(out.seen.src.port())),
                [Reason::SnatPortsExhausted] => {
                    assert_eq!(out.action, Action::Drop);
                    exhausted += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((taken.len(), exhausted), (4, 96));
        // Nobody answered in a minute: the ports are free again.
        node.wait(60);
        let packet = Build::udp(at(names.outside, 50_000), at(names.node, 30080)).packet();
        assert_eq!(node.enter(NODE, &packet).reasons, [Reason::NewFlow]);
    }
}

#[test]
fn ports_of_the_silent_go_to_others_when_no_other_is_left() {
    for names in &FAMILIES {
        let mut node = Node::new();
        node.world.settings.snat_port_min = 5000;
        node.world.settings.snat_port_max = 5000;
        let frontend = at(names.node, 30080);
        let backend = at(names.remote, 8080);
        node.node_port(names, 30080, UDP, &[(backend, false)]);
        let ask = |node: &mut Node, client: u16| {
            let packet = Build::udp(at(names.outside, client), frontend).packet();
            node.enter(NODE, &packet).reasons
        };
        assert_eq!(ask(&mut node, 40_001), [Reason::NewFlow]);
        node.wait(4);
        assert_eq!(ask(&mut node, 40_002), [Reason::SnatPortsExhausted]);
        node.wait(1);
        assert_eq!(ask(&mut node, 40_002), [Reason::NewFlow]);
        // Who lost the port is a new client, and waits as others do.
        assert_eq!(ask(&mut node, 40_001), [Reason::SnatPortsExhausted]);
        // What was answered keeps its port for the minute.
        let out = node.enter(NODE, &answer(UDP, backend, at(names.node, 5000)).packet());
        assert_eq!(out.reasons, [Reason::Established]);
        node.wait(59);
        assert_eq!(ask(&mut node, 40_001), [Reason::SnatPortsExhausted]);
        node.wait(1);
        assert_eq!(ask(&mut node, 40_001), [Reason::NewFlow]);
    }
}
