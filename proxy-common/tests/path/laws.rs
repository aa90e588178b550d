//! Laws that hold for all traffic. Chance comes from proptest, the judge is the oracle.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::be::Be16;
use proxy_common::flags::{AddrFlags, FlowFlags};
use proxy_common::key::FlowKey;
use proxy_common::path::csum::Delta;
use proxy_common::path::{Action, Verdict};
use proxy_common::reason::Reason;
use proxy_common::sim::build::Build;
use proxy_common::sim::services::Services;
use proxy_common::sim::traffic::{Hooks, Shot, Traffic};
use proxy_common::sim::{Program, Skb, World, oracle, scene, world::Holds};
use proxy_common::value::{BackendState, Flow, backend_state};

use crate::node::{FAMILIES, NODE, Names, PORTS, check_pairs};

const HOOKS: [Hooks; 3] = [
    Hooks {
        ingress: Program::TcIngress,
        egress: Program::TcEgress,
    },
    Hooks {
        ingress: Program::TcIngressL3,
        egress: Program::TcEgressL3,
    },
    Hooks {
        ingress: Program::Xdp,
        egress: Program::TcEgress,
    },
];

/// A node with Services of every kind, and traffic for it.
fn scene(names: Names, hooks: Hooks, flows: usize, seed: u64) -> (World, Traffic) {
    let mut world = scene::world(scene::settings(), flows);
    let mut services = Services::new(names, 1);
    let frontends = if names.v6 {
        services.all_kinds::<V6>(&mut world)
    } else {
        services.all_kinds::<V4>(&mut world)
    };
    (world, Traffic::new(names, hooks, &frontends, seed))
}

/// Runs one packet and returns what became of it, with the reasons that were counted.
fn run(world: &World, shot: &Shot) -> (Action, Skb, Vec<Reason>) {
    let before = world.counters.borrow().clone();
    let mut skb = shot.skb.clone();
    let action = shot.program.run(world, &mut skb);
    let after = world.counters.borrow();
    let counted = after
        .iter()
        .filter(|(key, count)| before.get(key) != Some(count));
    (
        action,
        skb,
        counted.map(|((reason, _), _)| *reason).collect(),
    )
}

/// Plays `length` packets, with changes to the Services if `lively`, and lets `judge` see each.
fn play(
    names: Names,
    hooks: Hooks,
    (flows, seed, length, lively): (usize, u64, usize, bool),
    mut judge: impl FnMut(&World, &Shot, &(Action, Skb, Vec<Reason>)),
) {
    let (mut world, mut traffic) = scene(names, hooks, flows, seed);
    for _ in 0..length {
        if lively && traffic.rng.one_in(10) {
            Services::disturb(&mut world, &mut traffic.rng);
        }
        if lively && traffic.rng.one_in(20) {
            if names.v6 {
                Services::reshape::<V6>(&mut world, &mut traffic.rng);
            } else {
                Services::reshape::<V4>(&mut world, &mut traffic.rng);
            }
        }
        if traffic.rng.one_in(30) {
            world.clock.set(world.clock.get() + 1);
        }
        let shot = traffic.shot();
        let outcome = run(&world, &shot);
        judge(&world, &shot, &outcome);
        traffic.saw(&shot, outcome.0, &outcome.1);
    }
}

fn everything(
    seed: u64,
    flows: usize,
    lively: bool,
    judge: impl Fn(&World, &Shot, &(Action, Skb, Vec<Reason>)),
) {
    for names in FAMILIES {
        for hooks in HOOKS {
            play(names, hooks, (flows, seed, 150, lively), &judge);
        }
    }
}

/// Nothing but the link-layer header differs.
fn untouched(shot: &Shot, skb: &Skb) -> bool {
    shot.skb == *skb
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packets_that_came_with_right_checksums_leave_with_right_ones(seed: u64) {
        everything(seed, 1000, true, |_, shot, (action, skb, _)| {
            let l2 = shot.program.l2();
            if oracle::see(&shot.skb.bytes[l2..]).is_ok() && *action != Action::Drop {
                let seen = oracle::see(&skb.bytes[l2..]);
                assert!(seen.is_ok(), "{seen:?} {action:?} {shot:?} became {skb:?}");
            }
        });
    }

    #[test]
    fn entries_of_both_directions_are_each_others_peer(seed: u64, flows in 0..40_usize) {
        everything(seed, flows, true, |world, _, _| {
            check_pairs(&world.v4.flows.all());
            check_pairs(&world.v6.flows.all());
            assert!(world.v4.flows.len() <= flows && world.v6.flows.len() <= flows);
        });
    }

    #[test]
    fn every_packet_is_counted_and_what_is_not_ours_is_untouched(seed: u64) {
        everything(seed, 30, true, |_, shot, (action, skb, reasons)| {
            assert!(!reasons.is_empty());
            let aside = [Reason::NotOurs, Reason::FragmentUnknown, Reason::Deferred, Reason::Inconsistent];
            if reasons.iter().all(|reason| aside.contains(reason)) {
                assert_eq!(*action, Action::Pass);
                assert!(untouched(shot, skb), "{reasons:?} changed {shot:?}");
            }
        });
    }

    #[test]
    fn xdp_redirects_or_leaves_the_packet_alone(seed: u64) {
        everything(seed, 30, true, |_, shot, (action, skb, _)| {
            if shot.program == Program::Xdp && !matches!(action, Action::Redirect(_)) {
                assert!(untouched(shot, skb));
            }
        });
    }

    #[test]
    fn packet_that_xdp_leaves_gets_from_tc_what_it_would_have_got_without(seed: u64) {
        for names in FAMILIES {
            // Two nodes with the same traffic, one with XDP before TC.
            let hooks = Hooks { ingress: Program::TcIngress, egress: Program::TcEgress };
            let (with, mut traffic) = scene(names, hooks, 1000, seed);
            let (without, _) = scene(names, hooks, 1000, seed);
            for _ in 0..150 {
                let shot = traffic.shot();
                let (action, skb, _) = run(&without, &shot);
                let ingress = shot.program == Program::TcIngress;
                let early = Shot { program: Program::Xdp, ..shot.clone() };
                let seen = if ingress && shot.skb.gso_size == 0 { run(&with, &early) } else { run(&with, &shot) };
                let seen = if ingress && seen.0 == Action::Pass { run(&with, &shot) } else { seen };
                prop_assert_eq!((&seen.0, &seen.1.bytes), (&action, &skb.bytes));
                traffic.saw(&shot, action, &skb);
            }
            prop_assert_eq!(with.v4.flows.all(), without.v4.flows.all());
            prop_assert_eq!(with.v6.flows.all(), without.v6.flows.all());
        }
    }

    #[test]
    fn filter_of_flows_changes_nothing(seed: u64) {
        for names in FAMILIES {
            for hooks in HOOKS {
                // Two nodes with the same traffic; the filter of one keeps nothing away.
                let (with, mut traffic) = scene(names, hooks, 1000, seed);
                let (without, _) = scene(names, hooks, 1000, seed);
                without.v4.filter.borrow_mut().extend(0..=u16::MAX);
                without.v6.filter.borrow_mut().extend(0..=u16::MAX);
                for _ in 0..150 {
                    if traffic.rng.one_in(30) {
                        with.clock.set(with.clock.get() + 1);
                        without.clock.set(with.clock.get());
                    }
                    let shot = traffic.shot();
                    let outcome = run(&with, &shot);
                    prop_assert_eq!(&run(&without, &shot), &outcome, "{:?}", shot);
                    traffic.saw(&shot, outcome.0, &outcome.1);
                }
            }
        }
    }

    #[test]
    fn only_a_redirect_ages_a_packet_and_payload_is_kept(seed: u64) {
        everything(seed, 1000, true, |_, shot, (action, skb, reasons)| {
            let l2 = shot.program.l2();
            let (Ok(before), Ok(after)) = (oracle::see(&shot.skb.bytes[l2..]), oracle::see(&skb.bytes[l2..])) else { return };
            let rejected = [Reason::NoEndpoints, Reason::UnknownPort, Reason::EchoAnswered, Reason::TooBig, Reason::TtlExceeded];
            if matches!(action, Action::Drop) || reasons.iter().any(|reason| rejected.contains(reason)) {
                return;
            }
            let redirected = matches!(action, Action::Redirect(_) | Action::RedirectNeigh(_));
            assert_eq!(after.ttl, before.ttl - u8::from(redirected));
            assert_eq!(after.segment.len(), before.segment.len());
            if before.proto == 17 && !before.fragment {
                assert_eq!(after.segment[8..], before.segment[8..]);
            }
            if before.proto == 132 && !before.fragment {
                assert_eq!(after.segment[4..8], before.segment[4..8]);
                assert_eq!(after.segment[12..], before.segment[12..]);
            }
        });
    }

    #[test]
    fn source_ports_of_ours_are_in_the_range(seed: u64) {
        everything(seed, 1000, true, |_, shot, (action, skb, _)| {
            let l2 = shot.program.l2();
            let own: [SocketAddr; 2] = FAMILIES.map(|names| crate::node::at(names.node, 0));
            let Ok(seen) = oracle::see(&skb.bytes[l2..]) else { return };
            let ours = own.iter().any(|own| own.ip() == seen.src.ip()) && matches!(action, Action::Redirect(_));
            // Answers come from a NodePort, requests from a port of ours.
            if ours && seen.src.port() != 0 && !(30_080..30_090).contains(&seen.src.port()) {
                assert!((PORTS.0..=PORTS.1).contains(&seen.src.port()), "{seen:?}");
            }
        });
    }

    #[test]
    fn tuple_has_one_backend_while_its_set_is_unchanged(seed: u64) {
        for names in FAMILIES {
            for hooks in HOOKS {
                let mut backends = BTreeMap::new();
                play(names, hooks, (1000, seed, 200, false), |_, shot, (action, skb, reasons)| {
                    let l2 = shot.program.l2();
                    let (Ok(before), Ok(after)) = (oracle::see(&shot.skb.bytes[l2..]), oracle::see(&skb.bytes[l2..])) else { return };
                    let translated = [Reason::NewFlow, Reason::Retransmitted, Reason::Established];
                    let request = matches!(before.proto, 6 | 17 | 132) && !before.fragment && before.dst.port() < 31_000;
                    if request && *action != Action::Drop && reasons.iter().all(|reason| translated.contains(reason)) {
                        let tuple = (before.proto, before.src, before.dst);
                        let backend = *backends.entry(tuple).or_insert(after.dst);
                        assert_eq!(backend, after.dst, "{tuple:?}");
                    }
                });
            }
        }
    }

    #[test]
    fn rewrite_then_inverse_is_identity(
        v6: bool, proto in proptest::sample::select(&[6_u8, 17, 132]), flags: u8, ports: [u16; 4], hosts: [u16; 4], options in 0..=10_u8,
        zero: bool, payload in proptest::collection::vec(any::<u8>(), 0..200), egress: bool,
    ) {
        let ip = |host: u16| if v6 { format!("fd00::{host:x}:1") } else { format!("10.7.{}.{}", host >> 8, host & 255) };
        let ends = [0, 1, 2, 3].map(|index| crate::node::at(&ip(hosts[index]), ports[index]));
        let mut packet = Build::flow(proto, ends[0], ends[1]).options(options).payload(&payload);
        if v6 && options > 5 {
            packet = packet.extension(60, options - 5);
        }
        packet = match proto {
            6 => packet.flags(flags & !0x07),
            17 if zero => packet.zero_checksum(),
            132 if zero => packet.partial_checksum(),
            _ => packet,
        };
        let mut world = scene::world(scene::settings(), 10);
        // The flows below name backend 0.
        world.states.set(0, BackendState { state: backend_state::ACTIVE, ..BackendState::default() });
        let program = if egress { Program::TcEgress } else { Program::TcIngress };
        let flags = if egress { FlowFlags::REPLY } else { FlowFlags(0) };
        if v6 { toggle::<V6>(&mut world, ends, proto, flags) } else { toggle::<V4>(&mut world, ends, proto, flags) }
        let original = Skb::new(packet.frame(), NODE);
        let mut skb = original.clone();
        prop_assert_eq!(program.run(&world, &mut skb), Action::Pass);
        let seen = oracle::see(&skb.bytes[14..]).unwrap();
        prop_assert_eq!((seen.src, seen.dst), (ends[2], ends[3]));
        prop_assert_eq!(program.run(&world, &mut skb), Action::Pass);
        prop_assert_eq!(skb, original);
    }

    #[test]
    fn incremental_checksum_equals_a_recomputed_one(
        mut bytes in proptest::collection::vec(any::<u8>(), 64..128), changes: Vec<(u8, [u8; 4], bool)>,
    ) {
        bytes.truncate(bytes.len() / 4 * 4);
        let field = !oracle::sum(&bytes);
        let mut delta = Delta::NONE;
        for (place, new, whole) in changes {
            let at = usize::from(place) % (bytes.len() / 4) * 4;
            let old: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
            if whole {
                delta = delta.word(u32::from_ne_bytes(old), u32::from_ne_bytes(new));
                bytes[at..at + 4].copy_from_slice(&new);
            } else {
                delta = delta.half(u16::from_ne_bytes([old[2], old[3]]), u16::from_ne_bytes([new[0], new[1]]));
                bytes[at + 2..at + 4].copy_from_slice(&new[..2]);
            }
        }
        let updated = Be16::from_raw(delta.apply(Be16::new(field).raw())).get();
        // Zero has two forms in ones' complement.
        prop_assert_eq!(updated % 0xffff, !oracle::sum(&bytes) % 0xffff);
        let all = [bytes.as_slice(), &updated.to_be_bytes()].concat();
        prop_assert_eq!(oracle::sum(&all), 0xffff);
    }

    #[test]
    fn verdict_survives_its_packing(value: u32) {
        prop_assert_eq!(Verdict::mark(value).action(), Action::Mark(value));
        prop_assert_eq!(Verdict::redirect(value).action(), Action::Redirect(value));
        prop_assert_eq!(Verdict::redirect_neigh(value).action(), Action::RedirectNeigh(value));
        prop_assert_eq!([Verdict::PASS.action(), Verdict::BACK.action(), Verdict::DROP.action()], [Action::Pass, Action::Back, Action::Drop]);
    }
}

/// Entries that translate the first pair of `ends` to the second, and the second to the first.
fn toggle<A: Addr>(world: &mut World, ends: [SocketAddr; 4], proto: u8, flags: FlowFlags)
where
    World: Holds<A>,
{
    let addr = |end: SocketAddr| A::from_ip(end.ip()).unwrap();
    for end in ends {
        world
            .family_mut()
            .addrs
            .insert(addr(end), AddrFlags::VIRTUAL);
    }
    for [a, b, c, d] in [ends, [ends[2], ends[3], ends[0], ends[1]]] {
        let key = FlowKey::new(
            addr(a),
            addr(b),
            Be16::new(a.port()),
            Be16::new(b.port()),
            proto,
        );
        let flow = Flow {
            src: addr(c),
            dst: addr(d),
            sport: Be16::new(c.port()),
            dport: Be16::new(d.port()),
            flags,
            ..Flow::default()
        };
        world.family().put_flow(key, flow);
    }
}
