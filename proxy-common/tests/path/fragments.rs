//! Parts of a datagram follow their first part.

use std::net::SocketAddr;

use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::sim::oracle;

use crate::node::{FAMILIES, NODE, Node, OTHER_POD, Out, POD, UDP, at};

/// The datagram that a receiver makes of both parts, judged.
#[track_caller]
fn assembled(first: &Out, later: &Out) -> (SocketAddr, SocketAddr, Vec<u8>) {
    assert!(first.seen.fragment && later.seen.fragment);
    assert_eq!(
        (first.seen.src.ip(), first.seen.dst.ip()),
        (later.seen.src.ip(), later.seen.dst.ip())
    );
    let segment = [first.seen.segment.as_slice(), &later.seen.segment].concat();
    let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    let (src, dst) = (
        SocketAddr::new(first.seen.src.ip(), port(0)),
        SocketAddr::new(first.seen.dst.ip(), port(2)),
    );
    // The same datagram in one piece: its checksum must be the one that the first part carries.
    let whole = Build::udp(src, dst).payload(&segment[8..]).packet();
    assert_eq!(oracle::see(&whole).unwrap().segment, segment);
    (src, dst, segment[8..].to_vec())
}

#[test]
fn later_part_follows_the_first_to_the_backend_and_back() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, vip, backend) = (
            at(names.pod, 4000),
            at(names.vip, 53),
            at(names.remote, 5353),
        );
        node.service(vip, UDP, &[(backend, false)]);
        let payload: Vec<u8> = (0..200).collect();
        let [first, later] = Build::udp(client, vip).payload(&payload).id(77).parts(104);
        let (first, later) = (node.enter(POD, &first), node.enter(POD, &later));
        assert_eq!((first.action, later.action), (Action::Pass, Action::Pass));
        assert_eq!(
            assembled(&first, &later),
            (client, backend, payload.clone())
        );
        let [first, later] = Build::udp(backend, client)
            .payload(&payload)
            .id(78)
            .parts(104);
        // Where they enter the node they are none of ours yet.
        for part in [&first, &later] {
            assert_eq!(node.enter(OTHER_POD, part).skb.bytes[14..], *part);
        }
        let (first, later) = (node.leave(POD, &first), node.leave(POD, &later));
        assert_eq!(assembled(&first, &later), (vip, client, payload));
    }
}

#[test]
fn parts_of_a_redirected_datagram_are_redirected() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, frontend, backend) = (
            at(names.outside, 4000),
            at(names.node, 30053),
            at(names.remote, 5353),
        );
        let own = at(names.node, 4000);
        node.node_port(names, 30053, UDP, &[(backend, false)]);
        let payload = [9; 160];
        let [first, later] = Build::udp(client, frontend).payload(&payload).parts(80);
        let (first, later) = (node.enter(NODE, &first), node.enter(NODE, &later));
        assert_eq!(
            (first.action, later.action),
            (Action::Redirect(NODE), Action::Redirect(NODE))
        );
        assert_eq!((first.seen.ttl, later.seen.ttl), (63, 63));
        assert_eq!(assembled(&first, &later), (own, backend, payload.to_vec()));
        let [first, later] = Build::udp(backend, own).payload(&payload).parts(80);
        let (first, later) = (node.enter(NODE, &first), node.enter(NODE, &later));
        assert_eq!(
            assembled(&first, &later),
            (frontend, client, payload.to_vec())
        );
    }
}

#[test]
fn part_whose_first_one_was_not_seen_is_untouched_and_counted() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (client, vip) = (at(names.pod, 4000), at(names.vip, 53));
        node.service(vip, UDP, &[(at(names.remote, 5353), false)]);
        let [first, later] = Build::udp(client, vip).payload(&[9; 64]).id(5).parts(40);
        for out in [node.enter(POD, &later), node.leave(POD, &later)] {
            assert_eq!(
                (out.action, &out.skb.bytes[14..], out.reasons),
                (Action::Pass, &later[..], vec![Reason::FragmentUnknown])
            );
        }
        node.enter(POD, &first);
        let other = Build::udp(client, vip).payload(&[9; 64]).id(6).parts(40);
        assert_eq!(
            node.enter(POD, &other[1]).reasons,
            [Reason::FragmentUnknown]
        );
        assert_eq!(node.enter(POD, &later).reasons, [Reason::Established]);
    }
}

#[test]
fn atomic_fragment_is_a_whole_packet() {
    // RFC 6946: a fragment header with offset 0 and no more to come.
    let names = &FAMILIES[1];
    let mut node = Node::new();
    let (client, vip, backend) = (
        at(names.pod, 4000),
        at(names.vip, 53),
        at(names.remote, 5353),
    );
    node.service(vip, UDP, &[(backend, false)]);
    let out = node.enter(
        POD,
        &Build::udp(client, vip)
            .extension(44, 0)
            .payload(b"x")
            .packet(),
    );
    out.is(Action::Pass, client, backend, Reason::NewFlow);
    assert!(node.world.v6.fragments.borrow().is_empty());
}
