//! Dry runs, by which `explain` asks: the candidate that is named, the facts, and nothing recorded.

use std::net::{IpAddr, SocketAddr};

use proxy_common::addr::V6;
use proxy_common::be::Be16;
use proxy_common::explain::{self, Fact, Question};
use proxy_common::flags::{AddrFlags, FrontendFlags, feature};
use proxy_common::path::Action;
use proxy_common::path::hook::socket::{Errno, Outcome};
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::sim::frame::explain_socket;
use proxy_common::sim::{Call, Program, Skb};
use proxy_common::value::{Class, Frontend, Slice};

use crate::node::{FAMILIES, MARK, NODE, Names, Node, POD, TCP, UDP, at};
use crate::traffic::first;

/// Three backends at `remote` behind the VIP, for all that could be recorded.
fn three(names: &Names) -> (Node, SocketAddr) {
    let mut node = Node::new();
    node.world.settings.features = feature::DRY_RUN;
    let slice = node.set(&[1, 2, 3].map(|port| (at(names.remote, port), false)));
    let vip = at(names.vip, 80);
    let flags = FrontendFlags::ROUND_ROBIN.with(FrontendFlags::LEAST_CONNECTIONS);
    let value = Frontend {
        service: 5,
        flags: flags.with(FrontendFlags::MASQUERADE_INSIDE),
        affinity_seconds: 100,
        slices: [slice; 3],
        ..Frontend::default()
    };
    for proto in [TCP, UDP] {
        node.write(vip, proto, value);
    }
    (node, vip)
}

fn ask(node: &Node, device: u32, candidate: u32, packet: &Build) -> (Action, Skb) {
    let mut skb = Skb::new(packet.frame(), device);
    skb.mark = candidate;
    let action = Program::TcIngress.run(&node.world, &mut skb);
    (action, skb)
}

fn fact(skb: &Skb, fact: Fact) -> u32 {
    skb.cb.get()[fact as usize]
}

fn mapped(ip: IpAddr) -> V6 {
    match ip {
        IpAddr::V4(ip) => V6::from(ip.to_ipv6_mapped()),
        IpAddr::V6(ip) => V6::from(ip),
    }
}

#[test]
fn candidate_is_the_one_that_is_named_and_facts_are_told() {
    for names in &FAMILIES {
        let (node, vip) = three(names);
        for candidate in 0..7 {
            for (device, client, class) in [
                (POD, at(names.pod, 4000), Class::Inside),
                (NODE, at(names.outside, 4000), Class::Outside),
            ] {
                let (action, skb) = ask(&node, device, candidate, &first(TCP, client, vip));
                let seen = proxy_common::sim::oracle::see(&skb.bytes[14..]).unwrap();
                let port = 1 + u16::try_from(candidate % 3).unwrap();
                assert_eq!(seen.dst, at(names.remote, port));
                let (wanted, mark) = if device == POD {
                    (Action::Mark(MARK), MARK)
                } else {
                    (Action::Redirect(NODE), 0)
                };
                assert_eq!((action, skb.mark), (wanted, mark));
                assert_eq!(fact(&skb, Fact::Reason), Reason::NewFlow as u32 + 1);
                assert_eq!(fact(&skb, Fact::Service), 5);
                assert_eq!(fact(&skb, Fact::Backends), 3);
                assert_eq!(fact(&skb, Fact::Class), class as u32 + 1);
                assert_eq!(fact(&skb, Fact::Frontend), explain::EXACT);
            }
        }
    }
}

#[test]
fn dry_run_records_and_counts_nothing_and_asks_no_record() {
    for names in &FAMILIES {
        let (mut node, vip) = three(names);
        for proto in [TCP, UDP] {
            // A conversation that lives already.
            node.world.settings.features = 0;
            let client = at(names.pod, 4000);
            node.enter(POD, &first(proto, client, vip).packet());
            let before = (node.entries(), node.world.counters.borrow().clone());
            let records = (
                node.world.v4.affinity_records(),
                node.world.v6.affinity_records(),
            );
            let turns = node.world.turns.get(5);
            node.world.settings.features = feature::DRY_RUN;
            node.wait(1);
            for candidate in 0..3 {
                for part in first(proto, client, vip).payload(&[7; 64]).id(9).parts(24) {
                    let mut skb = Skb::new(proxy_common::sim::build::ethernet(&part), POD);
                    skb.mark = candidate;
                    Program::TcIngress.run(&node.world, &mut skb);
                }
                let (_, skb) = ask(&node, POD, candidate, &first(proto, client, vip));
                let seen = proxy_common::sim::oracle::see(&skb.bytes[14..]).unwrap();
                assert_eq!(u32::from(seen.dst.port()), candidate + 1);
            }
            assert_eq!(
                (node.entries(), node.world.counters.borrow().clone()),
                before
            );
            let after = (
                node.world.v4.affinity_records(),
                node.world.v6.affinity_records(),
            );
            assert_eq!(after, records);
            assert_eq!(node.world.turns.get(5), turns);
            assert!(node.world.v4.fragments.borrow().is_empty());
            assert!(node.world.v6.fragments.borrow().is_empty());
        }
    }
}

#[test]
fn question_about_a_socket_is_answered_as_the_hooks_would() {
    for names in &FAMILIES {
        let (mut node, vip) = three(names);
        let unknown = at(names.vip, 81);
        node.know(vip.ip(), AddrFlags::REJECT_UNKNOWN);
        let away = at(names.other_vip, 80);
        node.frontend(away, TCP, FrontendFlags::default(), [Slice::default(); 3]);
        for (dst, candidate, wanted, reason, service) in [
            (vip, 4, None, Some(Reason::NewFlow), 5),
            (
                unknown,
                0,
                Some(Outcome::Fail(Errno::ConnectionRefused)),
                Some(Reason::UnknownPort),
                0,
            ),
            (
                away,
                0,
                Some(Outcome::Fail(Errno::HostUnreachable)),
                Some(Reason::NoLocalEndpoints),
                80,
            ),
            (at(names.pod, 80), 0, Some(Outcome::Pass), None, 0),
        ] {
            let wanted =
                wanted.unwrap_or(Outcome::To(mapped(at(names.remote, 2).ip()), Be16::new(2)));
            let question = Question {
                dst: mapped(dst.ip()),
                port: Be16::new(dst.port()),
                proto: TCP,
                bound: V6::default(),
            };
            let mut skb = Skb::new(question.bytes().to_vec(), NODE);
            skb.mark = candidate;
            assert_eq!(explain_socket(&node.world, &mut skb), Some(()));
            assert_eq!(explain::answer(&skb.bytes), Some(wanted));
            let number = reason.map_or(0, |reason| reason as u32 + 1);
            assert_eq!(
                (fact(&skb, Fact::Reason), fact(&skb, Fact::Service)),
                (number, service)
            );
            let call = Call {
                world: &node.world,
                storage: None,
                connects: false,
                random: candidate,
                bound: IpAddr::from([0, 0, 0, 0]),
            };
            assert_eq!(call.send(dst, TCP), wanted);
        }
    }
}

#[test]
fn question_is_laid_out_as_documented() {
    let question = Question {
        dst: V6::from_mapped_v4(std::net::Ipv4Addr::new(10, 96, 0, 10).into()),
        port: Be16::new(53),
        proto: UDP,
        bound: mapped("fd00::1".parse().unwrap()),
    };
    let mut wanted = vec![0; 12];
    wanted.extend([
        0x88, 0xb5, 0, 53, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 96, 0, 10,
    ]);
    wanted.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 17]);
    wanted.resize(explain::SIZE, 0);
    assert_eq!(question.bytes().to_vec(), wanted);
    assert_eq!(explain::answer(&wanted), Some(Outcome::Pass));
    assert_eq!(explain::answer(&wanted[1..]), None);
    wanted[explain::ANSWER as usize] = 9;
    assert_eq!(explain::answer(&wanted), None);
}
