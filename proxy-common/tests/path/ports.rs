//! Source ports: the client's own where it can be, another where it is taken or out of range.

use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::value::Frontend;

use crate::node::{FAMILIES, NODE, Node, POD, PORTS, SCTP, TCP, UDP, at, opening};
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
