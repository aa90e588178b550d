//! The socket hooks: what a process of the host asks for, gets, and is told afterwards.

use std::net::SocketAddr;

use proxy_common::addr::{Addr as _, V6};
use proxy_common::be::Be16;
use proxy_common::flags::FrontendFlags;
use proxy_common::path::hook::socket::{Errno, Outcome};
use proxy_common::reason::{Hook, Reason};
use proxy_common::sim::{Call, Storage};
use proxy_common::value::{SOCKET_PEERS, Slice, backend_state};

use crate::node::{FAMILIES, Names, Node, TCP, UDP, at};

/// `addr` as the hooks report it.
fn to(addr: SocketAddr) -> Outcome<V6> {
    let ip = match addr.ip() {
        std::net::IpAddr::V4(ip) => V6::from(ip.to_ipv6_mapped()),
        std::net::IpAddr::V6(ip) => V6::from(ip),
    };
    Outcome::To(ip, Be16::new(addr.port()))
}

fn call<'a>(node: &'a Node, storage: &'a Storage, random: u32) -> Call<'a> {
    Call {
        world: &node.world,
        storage: Some(storage),
        connects: false,
        random,
        bound: std::net::Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn service(names: &Names, proto: u8) -> (Node, SocketAddr, [SocketAddr; 2]) {
    let mut node = Node::new();
    let (vip, backends) = (
        at(names.vip, 80),
        [at(names.remote, 8080), at(names.local, 8081)],
    );
    node.service(vip, proto, &backends.map(|backend| (backend, false)));
    (node, vip, backends)
}

#[test]
fn connect_goes_to_a_backend_and_getpeername_tells_the_frontend() {
    for names in &FAMILIES {
        for proto in [TCP, UDP] {
            let (node, vip, backends) = service(names, proto);
            for (random, backend) in [(0, backends[0]), (u32::MAX, backends[1])] {
                let storage = Storage::default();
                let call = call(&node, &storage, random);
                assert_eq!(call.send(vip, proto), to(backend));
                assert_eq!(call.receive(backend), to(vip));
                assert_eq!(call.receive(at(names.pod, 8080)), Outcome::Pass);
                assert_eq!(
                    call.receive(at(&backend.ip().to_string(), 1)),
                    Outcome::Pass
                );
            }
        }
    }
}

#[test]
fn connect_of_a_udp_socket_is_recorded_for_the_agent_and_nothing_else_is() {
    for names in &FAMILIES {
        for (proto, connects, recorded) in
            [(UDP, true, true), (UDP, false, false), (TCP, true, false)]
        {
            let (node, vip, backends) = service(names, proto);
            let storage = Storage::default();
            let call = Call {
                connects,
                ..call(&node, &storage, 0)
            };
            // The second time it has the backend already, but may be connected elsewhere.
            for _time in 0..2 {
                storage.forget_connected();
                assert_eq!(call.send(vip, proto), to(backends[0]));
                let peer = storage
                    .connected()
                    .map(|peer| (peer.backend, peer.backend_port));
                let Outcome::To(ip, port) = to(backends[0]) else {
                    unreachable!()
                };
                assert_eq!(peer, recorded.then_some((ip, port)), "{proto} {connects}");
            }
            assert_eq!(call.send(at(names.vip, 81), proto), Outcome::Pass);
        }
    }
}

#[test]
fn what_no_frontend_names_is_untouched_and_costs_no_memory() {
    for names in &FAMILIES {
        let (mut node, vip, _) = service(names, TCP);
        node.node_port(names, 30080, TCP, &[(at(names.local, 8080), true)]);
        let storage = Storage::default();
        let call = call(&node, &storage, 0);
        assert_eq!(call.send(at(names.vip, 81), TCP), Outcome::Pass);
        assert_eq!(call.send(vip, UDP), Outcome::Pass);
        assert_eq!(call.send(at(names.other_vip, 80), TCP), Outcome::Pass);
        assert_eq!(call.send(at(names.pod, 30080), TCP), Outcome::Pass);
        assert_eq!(call.receive(vip), Outcome::Pass);
        assert_eq!(storage.recorded(), None);
        assert!(node.world.counters.borrow().is_empty());
    }
}

#[test]
fn mapped_address_is_the_ipv4_frontend() {
    let names = &FAMILIES[0];
    let (node, vip, backends) = service(names, TCP);
    let storage = Storage::default();
    let call = call(&node, &storage, 0);
    let mapped = at("::ffff:8.0.96.1", 80);
    assert_eq!(call.send(mapped, TCP), to(backends[0]));
    // An IPv6 socket is told the mapped form, an IPv4 one the address itself: one record does for both.
    assert_eq!(call.receive(at("::ffff:8.0.2.7", 8080)), to(vip));
    assert_eq!(call.receive(backends[0]), to(vip));
}

#[test]
fn node_port_is_reached_by_loopback_and_by_no_address_at_all() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let backend = at(names.local, 8080);
        node.node_port(names, 30080, TCP, &[(backend, true)]);
        let (any, loopback) = if names.v6 {
            ("::", "::1")
        } else {
            ("0.0.0.0", "127.0.0.1")
        };
        let storage = Storage::default();
        assert_eq!(
            call(&node, &storage, 0).send(at(loopback, 30080), TCP),
            Outcome::Pass
        );
        node.serve_node_ports(loopback.parse().unwrap());
        let others: &[&str] = if names.v6 {
            &[]
        } else {
            &["127.0.0.53", "127.255.0.1", "::ffff:127.0.0.1"]
        };
        for ip in [any, loopback, names.node].iter().chain(others) {
            assert_eq!(
                call(&node, &storage, 0).send(at(ip, 30080), TCP),
                to(backend),
                "{ip}"
            );
        }
    }
}

#[test]
fn no_endpoints_is_refused_and_none_by_policy_is_unreachable() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let storage = Storage::default();
        node.service(at(names.vip, 80), TCP, &[]);
        let local = node.set(&[(at(names.local, 8080), true)]);
        node.frontend(
            at(names.vip, 81),
            TCP,
            FrontendFlags::default(),
            [local, local, Slice::default()],
        );
        let call = call(&node, &storage, 0);
        assert_eq!(
            call.send(at(names.vip, 80), TCP),
            Outcome::Fail(Errno::ConnectionRefused)
        );
        assert_eq!(
            call.send(at(names.vip, 81), TCP),
            Outcome::Fail(Errno::HostUnreachable)
        );
        assert_eq!(node.world.counted(Reason::NoEndpoints, Hook::Socket), 1);
        assert_eq!(
            node.world.counted(Reason::NoLocalEndpoints, Hook::Socket),
            1
        );
        assert_eq!(
            (
                Errno::ConnectionRefused as i32,
                Errno::HostUnreachable as i32
            ),
            (111, 113)
        );
    }
}

#[test]
fn socket_keeps_its_backend_while_that_takes_connections() {
    for names in &FAMILIES {
        for state in [backend_state::DRAINING, backend_state::GONE] {
            let (mut node, vip, backends) = service(names, UDP);
            let storage = Storage::default();
            assert_eq!(call(&node, &storage, 0).send(vip, UDP), to(backends[0]));
            assert_eq!(
                call(&node, &storage, u32::MAX).send(vip, UDP),
                to(backends[0])
            );
            node.state(1, state);
            assert_eq!(
                call(&node, &storage, u32::MAX).send(vip, UDP),
                to(backends[1])
            );
            assert_eq!(call(&node, &storage, 0).send(vip, UDP), to(backends[1]));
            let (new, old) = (Reason::NewFlow, Reason::Established);
            assert_eq!(
                (
                    node.world.counted(new, Hook::Socket),
                    node.world.counted(old, Hook::Socket)
                ),
                (2, 2)
            );
        }
    }
}

#[test]
fn socket_remembers_several_frontends_and_forgets_the_oldest() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let storage = Storage::default();
        let peers: u16 = SOCKET_PEERS.try_into().unwrap();
        for index in 0..=peers {
            node.service(
                at(names.vip, 80 + index),
                UDP,
                &[(at(names.remote, 8080 + index), false)],
            );
        }
        let call = call(&node, &storage, 0);
        for index in 0..peers {
            assert_eq!(
                call.send(at(names.vip, 80 + index), UDP),
                to(at(names.remote, 8080 + index))
            );
        }
        for index in 0..peers {
            assert_eq!(
                call.receive(at(names.remote, 8080 + index)),
                to(at(names.vip, 80 + index))
            );
        }
        assert_eq!(
            call.send(at(names.vip, 80 + peers), UDP),
            to(at(names.remote, 8080 + peers))
        );
        assert_eq!(call.receive(at(names.remote, 8080)), Outcome::Pass);
        for index in 1..=peers {
            assert_eq!(
                call.receive(at(names.remote, 8080 + index)),
                to(at(names.vip, 80 + index))
            );
        }
    }
}

#[test]
fn backend_of_two_frontends_answers_for_the_one_used_last() {
    for names in &FAMILIES {
        let (mut node, vip, backends) = service(names, UDP);
        let other = at(names.other_vip, 80);
        node.service(other, UDP, &[(backends[0], false)]);
        let storage = Storage::default();
        let call = call(&node, &storage, 0);
        for frontend in [vip, other, vip, other] {
            assert_eq!(call.send(frontend, UDP), to(backends[0]));
            assert_eq!(call.receive(backends[0]), to(frontend));
        }
    }
}

#[test]
fn socket_without_memory_is_left_to_the_packet_path() {
    for names in &FAMILIES {
        let (node, vip, _) = service(names, TCP);
        let call = Call {
            world: &node.world,
            storage: None,
            connects: false,
            random: 0,
            bound: std::net::Ipv4Addr::UNSPECIFIED.into(),
        };
        assert_eq!(call.send(vip, TCP), Outcome::Pass);
        assert_eq!(node.world.counted(Reason::Inconsistent, Hook::Socket), 1);
        assert!(V6::default().mapped_v4().is_none() && V6::unspecified() == V6::default());
    }
}
