//! Who may connect, whose source is changed, and what becomes of what no Service has: SEMANTICS 4.7, 4.10, 9.

use std::net::SocketAddr;

use proxy_common::addr::{Addr, V4, V6};
use proxy_common::flags::{AddrFlags, DeviceFlags, FrontendFlags, detect, feature};
use proxy_common::key::RangeKey;
use proxy_common::path::Action;
use proxy_common::path::hook::socket::{Errno, Outcome};
use proxy_common::reason::{Hook, Reason};
use proxy_common::sim::{Call, Program, Storage, World, world::Holds};
use proxy_common::value::{Cidr, Frontend, Slice};

use crate::node::{FAMILIES, MARK, NODE, Names, Node, OTHER_POD, POD, TCP, TUNNEL, UDP, at};
use crate::traffic::first;

/// A network of the pod's size in both families.
fn network<A: Addr>(ip: &str) -> Cidr<A> {
    let (addr, mask) = (
        proxy_common::sim::scene::addr::<A>(ip).words(),
        if A::IS_V6 {
            "ffff:ffff:ffff:ffff::"
        } else {
            "255.255.255.0"
        },
    );
    let mask: A = proxy_common::sim::scene::addr(mask);
    let mut words = mask.words();
    words
        .iter_mut()
        .zip(addr)
        .for_each(|(word, addr)| *word &= addr);
    Cidr {
        addr: A::from_words(words),
        mask,
        used: 1,
    }
}

fn set_cidr(world: &mut World, names: &Names, index: usize, ip: &str) {
    if names.v6 {
        world.v6.cidrs[index] = network::<V6>(ip);
    } else {
        world.v4.cidrs[index] = network::<V4>(ip);
    }
}

fn allow(world: &mut World, names: &Names, set: u32, ip: &str) {
    fn put<A: Addr>(world: &mut World, set: u32, ip: &str)
    where
        World: Holds<A>,
    {
        let prefix = 32 + if A::IS_V6 { 64 } else { 24 };
        let addr = proxy_common::sim::scene::addr(ip);
        world
            .family_mut()
            .ranges
            .insert(RangeKey { prefix, set, addr });
    }
    if names.v6 {
        put::<V6>(world, set, ip);
    } else {
        put::<V4>(world, set, ip);
    }
}

fn call(node: &Node, bound: &str, dst: SocketAddr, proto: u8) -> Outcome<V6> {
    let storage = Storage::default();
    let call = Call {
        world: &node.world,
        storage: Some(&storage),
        connects: false,
        random: 0,
        bound: bound.parse().unwrap(),
    };
    call.send(dst, proto)
}

fn nowhere(names: &Names) -> &'static str {
    if names.v6 { "::" } else { "0.0.0.0" }
}

/// The class by device, source address or not at all, and the role that decides the way all the same (SEMANTICS 9.4, 21.11, 21.12).
#[test]
fn class_is_told_by_the_detector_and_the_way_by_the_device() {
    for names in &FAMILIES {
        let (inside, outside) = (at(names.remote, 1), at(names.remote, 2));
        for (how, from_pod, from_outside) in [
            (detect::DEVICE, inside, outside),
            (detect::CIDR, outside, inside),
            (detect::NONE, outside, outside),
        ] {
            let mut node = Node::new();
            node.world.settings.detect = how;
            // The detector by address takes clients outside for pods, and no other.
            set_cidr(&mut node.world, names, 0, names.outside);
            let sets = [inside, outside].map(|backend| node.set(&[(backend, false)]));
            let vip = at(names.vip, 80);
            node.frontend(
                vip,
                TCP,
                FrontendFlags::default(),
                [sets[0], sets[1], Slice::default()],
            );
            let client = at(names.pod, 4000);
            let out = node.enter(POD, &first(TCP, client, vip).packet());
            out.is(Action::Pass, client, from_pod, Reason::NewFlow);
            let out = node.enter(NODE, &first(TCP, at(names.outside, 4000), vip).packet());
            out.is(
                Action::Redirect(NODE),
                at(names.node, 4000),
                from_outside,
                Reason::NewFlow,
            );
        }
    }
}

#[test]
fn detector_by_device_asks_for_the_bit_and_not_for_the_role() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let device = node.world.devices.get_mut(&POD).unwrap();
        device.flags = DeviceFlags::POD.with(DeviceFlags::REDIRECT);
        let (vip, client) = (at(names.vip, 80), at(names.pod, 4000));
        let sets = [1, 2].map(|port| node.set(&[(at(names.remote, port), false)]));
        node.frontend(
            vip,
            TCP,
            FrontendFlags::default(),
            [sets[0], sets[1], Slice::default()],
        );
        let out = node.enter(POD, &first(TCP, client, vip).packet());
        out.is(Action::Pass, client, at(names.remote, 2), Reason::NewFlow);
    }
}

/// SEMANTICS 9.2: the frontend's bit of the class, for pods, local backends and remote ones.
#[test]
fn masquerade_bit_marks_or_redirects() {
    for names in &FAMILIES {
        for exact in [0, feature::EXACT_MASQUERADE] {
            let mut node = Node::new();
            node.world.settings.features = exact;
            let both = FrontendFlags::MASQUERADE_INSIDE.with(FrontendFlags::MASQUERADE_OUTSIDE);
            let (vip, local, remote) = (
                at(names.vip, 80),
                at(names.local, 8080),
                at(names.remote, 8080),
            );
            let slice = node.set(&[(local, true)]);
            node.frontend(vip, TCP, both, [slice; 3]);
            for (device, client) in [(POD, at(names.pod, 4000)), (NODE, at(names.outside, 4000))] {
                let out = node.enter(device, &first(TCP, client, vip).packet());
                out.is(Action::Mark(MARK), client, local, Reason::NewFlow);
            }
            let slice = node.set(&[(remote, false)]);
            node.frontend(vip, UDP, both, [slice; 3]);
            let client = at(names.outside, 4000);
            let out = node.enter(NODE, &first(UDP, client, vip).packet());
            out.is(
                Action::Redirect(NODE),
                at(names.node, 4000),
                remote,
                Reason::NewFlow,
            );
            let out = node.enter(POD, &first(UDP, at(names.pod, 4000), vip).packet());
            out.is(
                Action::Mark(MARK),
                at(names.pod, 4000),
                remote,
                Reason::NewFlow,
            );
        }
    }
}

/// `sourceIP: kube-proxy`: without the bit nobody's source is changed but a hairpin's (SEMANTICS 9.2).
#[test]
fn exact_masquerade_keeps_the_client_where_no_bit_says_else() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (vip, remote) = (at(names.vip, 80), at(names.remote, 8080));
        node.service(vip, TCP, &[(remote, false)]);
        let client = at(names.outside, 4000);
        node.world.settings.features = feature::EXACT_MASQUERADE;
        let out = node.enter(NODE, &first(TCP, client, vip).packet());
        out.is(Action::Pass, client, remote, Reason::NewFlow);
        node.world.settings.features = 0;
        let client = at(names.outside, 4001);
        let out = node.enter(NODE, &first(TCP, client, vip).packet());
        out.is(
            Action::Redirect(NODE),
            at(names.node, 4001),
            remote,
            Reason::NewFlow,
        );
        // A backend that reaches itself from where its device does not see the answers.
        node.world.settings.features = feature::EXACT_MASQUERADE;
        let itself = at(names.tunnelled, 8080);
        node.service(at(names.vip, 81), TCP, &[(itself, false)]);
        let client = at(names.tunnelled, 4000);
        let out = node.enter(TUNNEL, &first(TCP, client, at(names.vip, 81)).packet());
        out.is(Action::Mark(MARK), client, itself, Reason::NewFlow);
    }
}

/// SEMANTICS 4.7: dropped, not rejected, pods too, with and without endpoints.
#[test]
fn source_ranges_drop_all_others() {
    for names in &FAMILIES {
        let mut node = Node::new();
        allow(&mut node.world, names, 7, names.pod);
        // Another set has the client, this one has not.
        allow(&mut node.world, names, 8, names.outside);
        let backend = at(names.remote, 8080);
        let slice = node.set(&[(backend, false)]);
        let (vip, empty) = (at(names.vip, 80), at(names.vip, 81));
        let value = Frontend {
            service: 1,
            flags: FrontendFlags::RANGES.with(FrontendFlags::REJECT),
            ranges: 7,
            ..Frontend::default()
        };
        node.write(
            vip,
            TCP,
            Frontend {
                slices: [slice; 3],
                ..value
            },
        );
        node.write(empty, TCP, value);
        let stranger = at(names.outside, 4000);
        for frontend in [vip, empty] {
            let out = node.enter(NODE, &first(TCP, stranger, frontend).packet());
            out.is(Action::Drop, stranger, frontend, Reason::SourceRangeDenied);
            let out = node.run(Program::Xdp, NODE, &first(TCP, stranger, frontend).packet());
            out.is(Action::Pass, stranger, frontend, Reason::SourceRangeDenied);
        }
        let client = at(names.local, 4000);
        let out = node.enter(OTHER_POD, &first(TCP, client, vip).packet());
        out.is(Action::Pass, client, backend, Reason::NewFlow);
        let out = node.enter(OTHER_POD, &first(TCP, client, empty).packet());
        assert_eq!(out.reasons, [Reason::NoEndpoints]);
    }
}

/// SEMANTICS 4.7 at the socket hooks: a bound socket by its address, others by the node's.
#[test]
fn source_ranges_bind_processes_of_the_host_too() {
    for names in &FAMILIES {
        for denied in [false, true] {
            let mut node = Node::new();
            allow(&mut node.world, names, 7, names.pod);
            let slice = node.set(&[(at(names.remote, 8080), false)]);
            let vip = at(names.vip, 80);
            let mut flags = FrontendFlags::RANGES;
            if denied {
                flags = flags.with(FrontendFlags::HOST_DENIED);
            }
            let value = Frontend {
                service: 1,
                flags,
                ranges: 7,
                slices: [slice; 3],
                ..Frontend::default()
            };
            node.write(vip, TCP, value);
            let fails = Outcome::Fail(Errno::HostUnreachable);
            assert_eq!(call(&node, nowhere(names), vip, TCP) == fails, denied);
            assert_ne!(call(&node, names.pod, vip, TCP), fails);
            assert_eq!(call(&node, names.outside, vip, TCP), fails);
            let counted = node.world.counted(Reason::SourceRangeDenied, Hook::Socket);
            assert_eq!(counted, 1 + u64::from(denied));
        }
    }
}

/// SEMANTICS 4.10: rejected at addresses that the agent marked, for every class, and at none of the node's own.
#[test]
fn unknown_port_of_a_cluster_ip_is_rejected() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let (vip, client) = (at(names.vip, 80), at(names.pod, 4000));
        node.service(vip, TCP, &[(at(names.remote, 8080), false)]);
        let unknown = at(names.vip, 81);
        let out = node.enter(POD, &first(TCP, client, unknown).packet());
        out.is(Action::Pass, client, unknown, Reason::NotOurs);
        assert_eq!(call(&node, nowhere(names), unknown, TCP), Outcome::Pass);
        node.know(vip.ip(), AddrFlags::REJECT_UNKNOWN);
        for proto in [TCP, UDP] {
            let out = node.enter(POD, &first(proto, client, unknown).packet());
            assert_eq!(
                (out.action, out.reasons.as_slice()),
                (Action::Back, [Reason::UnknownPort].as_slice())
            );
            assert_eq!(
                (out.seen.src.ip(), out.seen.dst.ip()),
                (vip.ip(), client.ip())
            );
            let refused = Outcome::Fail(Errno::ConnectionRefused);
            assert_eq!(call(&node, nowhere(names), unknown, proto), refused);
        }
        // A socket for ping.
        assert_eq!(call(&node, nowhere(names), unknown, 1), Outcome::Pass);
        node.know(vip.ip(), AddrFlags::NODE);
        let out = node.enter(POD, &first(TCP, client, unknown).packet());
        out.is(Action::Pass, client, unknown, Reason::NotOurs);
        assert_eq!(call(&node, nowhere(names), unknown, TCP), Outcome::Pass);
    }
}

/// SEMANTICS 4.10: an address of a `ServiceCIDR` that no Service has.
#[test]
fn unallocated_address_is_dropped() {
    for names in &FAMILIES {
        let mut node = Node::new();
        node.service(at(names.vip, 80), TCP, &[(at(names.remote, 8080), false)]);
        let (client, free) = (at(names.pod, 4000), at(names.other_vip, 80));
        let out = node.enter(POD, &first(TCP, client, free).packet());
        out.is(Action::Pass, client, free, Reason::NotOurs);
        set_cidr(&mut node.world, names, 1, names.tunnelled);
        set_cidr(&mut node.world, names, 2, names.vip);
        let out = node.enter(POD, &first(TCP, client, free).packet());
        out.is(Action::Drop, client, free, Reason::UnallocatedAddress);
        let fails = Outcome::Fail(Errno::HostUnreachable);
        assert_eq!(call(&node, nowhere(names), free, UDP), fails);
        // What is known is no matter of CIDRS, and neither is another network.
        let out = node.enter(POD, &first(TCP, client, at(names.vip, 81)).packet());
        assert_eq!(out.reasons, [Reason::NotOurs]);
        let out = node.enter(POD, &first(TCP, client, at(names.narrow, 80)).packet());
        assert_eq!(out.reasons, [Reason::NotOurs]);
    }
}

/// A router and this node would send the packet to and fro until its TTL ends.
#[test]
fn packet_that_would_loop_is_dropped() {
    for names in &FAMILIES {
        let mut node = Node::new();
        node.service(at(names.vip, 80), TCP, &[(at(names.remote, 8080), false)]);
        let (client, unknown) = (at(names.outside, 4000), at(names.vip, 81));
        let out = node.enter(NODE, &first(TCP, client, unknown).packet());
        out.is(Action::Drop, client, unknown, Reason::RoutingLoop);
        let out = node.enter(TUNNEL, &first(TCP, client, unknown).packet());
        out.is(Action::Pass, client, unknown, Reason::NotOurs);
        let out = node.enter(POD, &first(TCP, client, unknown).packet());
        out.is(Action::Pass, client, unknown, Reason::NotOurs);
        node.know(unknown.ip(), AddrFlags::NODE);
        let out = node.enter(NODE, &first(TCP, client, unknown).packet());
        out.is(Action::Pass, client, unknown, Reason::NotOurs);
    }
}

/// SEMANTICS 3.6, iptables profile: no endpoints is told on every address of the node, also where `NodePort`s are not served.
#[test]
fn node_port_without_endpoints_rejects_everywhere() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let other = at(names.other_vip, 30080);
        node.know(other.ip(), AddrFlags::NODE);
        let any = at(nowhere(names), 30080);
        let flags = FrontendFlags::NODE_PORT.with(FrontendFlags::REJECT);
        node.frontend(any, TCP, flags, [Slice::default(); 3]);
        let client = at(names.outside, 4000);
        let out = node.enter(NODE, &first(TCP, client, other).packet());
        out.is(Action::Pass, client, other, Reason::NotOurs);
        node.frontend(
            any,
            TCP,
            flags.with(FrontendFlags::EVERYWHERE),
            [Slice::default(); 3],
        );
        let out = node.enter(NODE, &first(TCP, client, other).packet());
        assert_eq!(out.reasons, [Reason::NoEndpoints]);
        let refused = Outcome::Fail(Errno::ConnectionRefused);
        assert_eq!(call(&node, nowhere(names), other, TCP), refused);
    }
}

/// An address that ADDRS has not costs no other lookup: a frontend alone is not found.
#[test]
fn addrs_decides_first() {
    for names in &FAMILIES {
        let mut node = Node::new();
        let vip = at(names.vip, 80);
        node.service(vip, TCP, &[(at(names.remote, 8080), false)]);
        node.world.v4.addrs.clear();
        node.world.v6.addrs.clear();
        let client = at(names.pod, 4000);
        let out = node.enter(POD, &first(TCP, client, vip).packet());
        out.is(Action::Pass, client, vip, Reason::NotOurs);
        assert_eq!(call(&node, nowhere(names), vip, TCP), Outcome::Pass);
    }
}
