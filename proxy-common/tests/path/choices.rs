//! Which backend a new connection gets: session affinity (SEMANTICS 8) and the algorithms.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use proxy_common::flags::{FlowFlags, FrontendFlags};
use proxy_common::path::hook::socket::Outcome;
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::sim::{Call, Program, Storage};
use proxy_common::value::{Frontend, LutWord, Slice, backend_sets, backend_state};

use crate::node::{FAMILIES, NODE, Names, Node, POD, PORTS, TCP, UDP, at};
use crate::traffic::{answer, first};

/// Four backends at `remote`, ports 1 to 4, which are their ids too.
fn four(names: &Names, value: Frontend) -> (Node, SocketAddr) {
    let mut node = Node::new();
    let slice = node.set(&[1, 2, 3, 4].map(|port| (at(names.remote, port), false)));
    let vip = at(names.vip, 80);
    let value = Frontend {
        service: 5,
        slices: [slice; 3],
        ..value
    };
    for proto in [TCP, UDP] {
        node.write(vip, proto, value);
    }
    (node, vip)
}

fn by(flags: FrontendFlags) -> Frontend {
    Frontend {
        flags,
        ..Frontend::default()
    }
}

fn sticky(seconds: u32) -> Frontend {
    Frontend {
        affinity_seconds: seconds,
        ..Frontend::default()
    }
}

/// The port of the backend that a connection of a pod gets.
#[track_caller]
fn choice(node: &Node, client: SocketAddr, vip: SocketAddr) -> u16 {
    let out = node.enter(POD, &first(TCP, client, vip).packet());
    assert!(matches!(
        out.reasons.as_slice(),
        [Reason::NewFlow | Reason::Retransmitted]
    ));
    out.seen.dst.port()
}

fn host(node: &Node, bound: IpAddr, random: u32, vip: SocketAddr) -> u16 {
    let storage = Storage::default();
    let call = Call {
        world: &node.world,
        storage: Some(&storage),
        connects: false,
        random,
        bound,
    };
    match call.send(vip, TCP) {
        Outcome::To(_, port) => port.get(),
        other => panic!("{other:?}"),
    }
}

/// Makes the frontend choose from one backend.
fn narrow(node: &mut Node, vip: SocketAddr, value: Frontend, offset: u32) {
    let slices = [Slice { offset, count: 1 }; 3];
    node.write(
        vip,
        TCP,
        Frontend {
            service: 5,
            slices,
            ..value
        },
    );
}

/// SEMANTICS 8.1, 8.2, 8.5: the record outlives a change of the set, and counts for every frontend of the `ServicePort`.
#[test]
fn affinity_keeps_the_backend_of_a_client_for_all_frontends() {
    for names in &FAMILIES {
        let (mut node, vip) = four(names, sticky(100));
        let client = names.pod;
        let chosen = choice(&node, at(client, 4000), vip);
        let other = at(names.other_vip, 8);
        for offset in 1..=4 {
            narrow(&mut node, vip, sticky(100), offset);
            narrow(&mut node, other, sticky(100), offset);
            let port = 4000 + u16::try_from(offset).unwrap();
            assert_eq!(choice(&node, at(client, port), vip), chosen);
            assert_eq!(choice(&node, at(client, port + 100), other), chosen);
            assert_eq!(host(&node, client.parse().unwrap(), 0, vip), chosen);
        }
        // Another client, or a ServicePort of its own, has no part in it.
        let fresh = 1 + chosen % 4;
        narrow(&mut node, vip, sticky(100), fresh.into());
        assert_eq!(choice(&node, at(names.local, 4000), vip), fresh);
        let slices = [Slice {
            offset: fresh.into(),
            count: 1,
        }; 3];
        node.write(
            other,
            TCP,
            Frontend {
                service: 6,
                slices,
                ..sticky(100)
            },
        );
        assert_eq!(choice(&node, at(client, 5000), other), fresh);
    }
}

/// SEMANTICS 8.3: counted from the last new connection, which data does not refresh.
#[test]
fn affinity_ends_with_its_timeout_after_the_last_new_connection() {
    for names in &FAMILIES {
        let (mut node, vip) = four(names, sticky(100));
        let chosen = choice(&node, at(names.pod, 4000), vip);
        let fresh = 1 + chosen % 4;
        narrow(&mut node, vip, sticky(100), fresh.into());
        node.wait(99);
        assert_eq!(choice(&node, at(names.pod, 4001), vip), chosen);
        node.wait(99);
        // The same SYN again is no new connection.
        let out = node.enter(
            POD,
            &Build::tcp(at(names.pod, 4001), vip).flags(0x10).packet(),
        );
        assert_eq!(out.reasons, [Reason::NotOurs]);
        node.wait(1);
        assert_eq!(choice(&node, at(names.pod, 4002), vip), fresh);
        node.wait(60);
        let syn = first(TCP, at(names.pod, 4003), vip).packet();
        assert_eq!(node.enter(POD, &syn).reasons, [Reason::NewFlow]);
        node.wait(50);
        assert_eq!(node.enter(POD, &syn).reasons, [Reason::Retransmitted]);
        narrow(&mut node, vip, sticky(100), chosen.into());
        node.wait(49);
        assert_eq!(choice(&node, at(names.pod, 4004), vip), fresh);
        node.wait(100);
        assert_eq!(choice(&node, at(names.pod, 4005), vip), chosen);
    }
}

/// SEMANTICS 8.5, 8.6.
#[test]
fn affinity_does_not_outlive_its_backend_or_leave_the_set() {
    for names in &FAMILIES {
        for spoil in 0..5 {
            let (mut node, vip) = four(names, sticky(100));
            let chosen = choice(&node, at(names.pod, 4000), vip);
            let (id, fresh) = (u32::from(chosen), 1 + chosen % 4);
            let mut value = sticky(100);
            let mut state = node.world.states.get(id).unwrap();
            match spoil {
                0 => state.state = backend_state::GONE,
                1 => state.state = backend_state::DRAINING,
                2 => state.generation += 1,
                3 => state.sets = backend_sets::LOCAL,
                _ => {
                    state.sets = backend_sets::CLUSTER;
                    value.flags = FrontendFlags::LOCAL_INSIDE;
                }
            }
            node.world.states.set(id, state);
            narrow(&mut node, vip, value, fresh.into());
            assert_eq!(choice(&node, at(names.pod, 4001), vip), fresh, "{spoil}");
        }
    }
}

/// SEMANTICS 8.1 at the socket hooks: unbound sockets are one client.
#[test]
fn affinity_of_the_host_is_by_bound_address() {
    for names in &FAMILIES {
        let (node, vip) = four(names, sticky(100));
        let any: IpAddr = if names.v6 { "::" } else { "0.0.0.0" }.parse().unwrap();
        let own: IpAddr = names.node.parse().unwrap();
        assert_eq!(host(&node, any, 0, vip), 1);
        assert_eq!(host(&node, any, u32::MAX, vip), 1);
        assert_eq!(host(&node, own, u32::MAX, vip), 4);
        assert_eq!(host(&node, own, 0, vip), 4);
    }
}

/// XDP leaves no record of a connection that it leaves to TC.
#[test]
fn affinity_and_turns_are_not_touched_by_what_is_deferred() {
    for names in &FAMILIES {
        let value = Frontend {
            flags: FrontendFlags::ROUND_ROBIN,
            ..sticky(100)
        };
        let (node, vip) = four(names, value);
        let packet = first(TCP, at(names.pod, 4000), vip).packet();
        let out = node.run(Program::Xdp, POD, &packet);
        assert_eq!(out.reasons, [Reason::Deferred]);
        assert!(node.world.v4.affinity_records().is_empty());
        assert!(node.world.v6.affinity_records().is_empty());
        assert_eq!(node.world.turns.get(5), Some(0));
    }
}

#[test]
fn round_robin_serves_backends_in_turn_and_a_repeated_syn_keeps_its_own() {
    for names in &FAMILIES {
        let (node, vip) = four(names, by(FrontendFlags::ROUND_ROBIN));
        for round in 0..3 {
            for wanted in 1..=4 {
                let client = at(names.pod, 4000 + round * 4 + wanted);
                assert_eq!(choice(&node, client, vip), wanted);
                assert_eq!(choice(&node, client, vip), wanted);
            }
        }
        assert_eq!(host(&node, names.node.parse().unwrap(), 7, vip), 1);
        // A backend that went is not kept for a repeated SYN.
        let client = at(names.pod, 6000);
        assert_eq!(choice(&node, client, vip), 2);
        let state = node.world.states.get(2).unwrap();
        node.world.states.set(
            2,
            proxy_common::value::BackendState {
                state: backend_state::GONE,
                ..state
            },
        );
        assert_eq!(choice(&node, client, vip), 3);
    }
}

#[test]
fn round_robin_keeps_udp_conversations_and_redirected_ones() {
    for names in &FAMILIES {
        let (node, vip) = four(names, by(FrontendFlags::ROUND_ROBIN));
        for (device, client) in [(POD, names.pod), (NODE, names.outside)] {
            let mut seen = BTreeMap::new();
            for _ in 0..3 {
                for port in 4000..4004 {
                    let packet = first(UDP, at(client, port), vip).packet();
                    let out = node.enter(device, &packet);
                    let dst = *seen.entry(port).or_insert(out.seen.dst);
                    assert_eq!(out.seen.dst, dst);
                }
            }
            assert_eq!(
                seen.values()
                    .collect::<std::collections::BTreeSet<_>>()
                    .len(),
                4
            );
        }
    }
}

/// What is kept of the choice stands under the client's own tuple, which may look like an answer's: its port is one that answers come to.
#[test]
fn round_robin_takes_no_question_for_an_answer() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let vip = at(names.vip, PORTS.0);
        let slice = node.set(&[(at(names.remote, 8080), false)]);
        let value = Frontend {
            slices: [slice; 3],
            ..by(FrontendFlags::ROUND_ROBIN)
        };
        node.write(vip, UDP, value);
        let packet = first(UDP, at(names.outside, 4000), vip).packet();
        assert_eq!(node.enter(NODE, &packet).reasons, [Reason::NewFlow]);
        assert_eq!(node.enter(NODE, &packet).reasons, [Reason::Retransmitted]);
    }
}

/// Of two random ones the one with fewer open connections; the count follows FLOWS.
#[test]
fn least_connections_evens_out() {
    for names in &FAMILIES {
        let (node, vip) = four(names, by(FrontendFlags::LEAST_CONNECTIONS));
        let active = |id| node.world.states.get(id).unwrap().active;
        for port in 0..400 {
            let client = at(names.pod, 4000 + port);
            let chosen = choice(&node, client, vip);
            assert_eq!(choice(&node, client, vip), chosen);
            let back = answer(TCP, at(names.remote, chosen), client).packet();
            assert_eq!(node.leave(POD, &back).reasons, [Reason::Established]);
        }
        let counts = [1, 2, 3, 4].map(active);
        assert_eq!(counts.iter().sum::<u32>(), 400);
        assert!(
            counts.iter().all(|count| (85..=115).contains(count)),
            "{counts:?}"
        );
        let flows4 = node
            .world
            .v4
            .flows
            .all()
            .into_iter()
            .map(|(_, flow)| flow.flags);
        let flows6 = node
            .world
            .v6
            .flows
            .all()
            .into_iter()
            .map(|(_, flow)| flow.flags);
        assert!(
            flows4
                .chain(flows6)
                .all(|flags| flags.has(FlowFlags::COUNTED))
        );
        // A closed connection whose ports are used anew leaves the count.
        let client = at(names.pod, 4000);
        node.enter(POD, &Build::tcp(client, vip).flags(0x14).packet());
        let before: u32 = [1, 2, 3, 4].map(active).iter().sum();
        node.enter(POD, &first(TCP, client, vip).packet());
        let after: u32 = [1, 2, 3, 4].map(active).iter().sum();
        assert_eq!((before, after), (400, 399));
    }
}

/// By source address alone, and by what the table says; without one, by source address all the same.
#[test]
fn maglev_chooses_by_table_and_source_address() {
    for names in &FAMILIES {
        let value = Frontend {
            tables: [9, 20],
            ..by(FrontendFlags::MAGLEV)
        };
        let (mut node, vip) = four(names, value);
        node.world.lut.set(9, LutWord([5, 0, 0, 0]));
        node.world.lut.set(10, LutWord([2, 2, 2, 2]));
        node.world.lut.set(11, LutWord([2, 0, 0, 0]));
        node.world.lut.set(20, LutWord([1, 0, 0, 0]));
        for ip in [names.pod, names.local, names.node] {
            for port in 4000..4010 {
                assert_eq!(choice(&node, at(ip, port), vip), 3);
            }
            assert_eq!(host(&node, ip.parse().unwrap(), 0, vip), 3);
        }
        let slices = [Slice {
            offset: 1,
            count: 4,
        }; 3];
        let local = FrontendFlags::MAGLEV.with(FrontendFlags::LOCAL_INSIDE);
        node.write(
            vip,
            TCP,
            Frontend {
                service: 5,
                slices,
                flags: local,
                ..value
            },
        );
        assert_eq!(choice(&node, at(names.pod, 5000), vip), 1);
        let bare = Frontend {
            service: 5,
            slices,
            tables: [0, 0],
            ..value
        };
        node.write(vip, TCP, bare);
        let chosen = choice(&node, at(names.pod, 6000), vip);
        assert!((6001..6040).all(|port| choice(&node, at(names.pod, port), vip) == chosen));
        // An entry beyond the set, as no agent writes it, is no reason to fail.
        node.world.lut.set(9, LutWord([1, 0, 0, 0]));
        node.world.lut.set(10, LutWord([9, 9, 9, 9]));
        node.write(
            vip,
            TCP,
            Frontend {
                tables: [9, 9],
                ..bare
            },
        );
        assert_eq!(choice(&node, at(names.pod, 7000), vip), chosen);
    }
}
