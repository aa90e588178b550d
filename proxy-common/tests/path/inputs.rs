//! No input panics: any bytes, any map contents.

use proptest::prelude::*;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::be::Be16;
use proxy_common::flags::FlowFlags;
use proxy_common::key::{FlowKey, FrontendKey};
use proxy_common::path::parse::ethertype;
use proxy_common::sim::rng::Rng;
use proxy_common::sim::services::Services;
use proxy_common::sim::traffic::{Hooks, Traffic};
use proxy_common::sim::{Program, Skb, World, oracle, scene, world::Holds};
use proxy_common::value::{
    Backend, BackendState, Device, Flow, Fragment, Frontend, Settings, Slice,
};

use crate::node::FAMILIES;

/// What a map may hold if everything went wrong.
fn wreck<A: Addr>(world: &mut World, rng: &mut Rng)
where
    World: Holds<A>,
{
    let word = |rng: &mut Rng| u32::try_from(rng.bits() >> 32).unwrap();
    let small = |rng: &mut Rng| u16::try_from(rng.bits() >> 48).unwrap();
    let frontends: Vec<FrontendKey<A>> = world.family_mut().frontends.keys().copied().collect();
    for key in frontends {
        let slice = Slice {
            offset: word(rng) >> rng.below(32),
            count: word(rng) >> rng.below(32),
        };
        let value = Frontend {
            service: word(rng),
            flags: proxy_common::flags::FrontendFlags(word(rng)),
            affinity_seconds: word(rng),
            ranges: word(rng),
            slices: [slice; 3],
            tables: [word(rng), word(rng)],
        };
        world.family_mut().frontends.insert(key, value);
    }
    for slot in 0..16 {
        let addr = A::from_words([word(rng), word(rng), word(rng), word(rng)]);
        let backend = Backend {
            addr,
            port: Be16::new(small(rng)),
            flags: proxy_common::flags::BackendFlags(small(rng)),
            id: word(rng),
            generation: word(rng),
        };
        world.family_mut().backends.set(slot, backend);
        let state = BackendState {
            generation: word(rng),
            state: small(rng),
            sets: small(rng),
            active: word(rng),
            reserved: 0,
        };
        world.states.set(slot, state);
    }
    for ifindex in [10, 20, 30] {
        let device = Device {
            flags: proxy_common::flags::DeviceFlags(word(rng)),
            mtu: word(rng) >> rng.below(32),
            ..Device::default()
        };
        world.devices.insert(ifindex, device);
    }
}

/// A flow that nobody would write, under the tuple of `packet`.
fn poison<A: Addr>(world: &World, packet: &[u8], rng: &mut Rng)
where
    World: Holds<A>,
{
    let Ok(seen) = oracle::see(packet) else {
        return;
    };
    let (Some(src), Some(dst)) = (A::from_ip(seen.src.ip()), A::from_ip(seen.dst.ip())) else {
        return;
    };
    let key = FlowKey::new(
        src,
        dst,
        Be16::new(seen.src.port()),
        Be16::new(seen.dst.port()),
        seen.proto,
    );
    let bits = rng.bits().to_le_bytes();
    let flow = Flow {
        src: if bits[0] & 1 == 0 { dst } else { src },
        dst: src,
        sport: Be16::new(u16::from(bits[1])),
        flags: FlowFlags(u16::from_le_bytes([bits[2], bits[3]])),
        state: u16::from_le_bytes([bits[4], bits[5]]),
        last_seen: u32::from(bits[6]),
        ..Flow::default()
    };
    match bits[7] % 4 {
        0 => world.family().put_flow(key, flow),
        1 => world.family().put_embryo(key, flow),
        2 => world.family().put_flow(key.reversed(), flow),
        _ => {
            let fragment = Fragment {
                src,
                dst,
                flags: flow.flags,
                reserved: 0,
            };
            let key = proxy_common::key::FragmentKey::new(src, dst, u32::from(bits[6]), seen.proto);
            world.family().fragments.borrow_mut().insert(key, fragment);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_do_no_harm(bytes: Vec<u8>, kind in 0..3_u8, gso_size: u32, ifindex in 0..32_u32) {
        let protocol = match kind {
            0 => ethertype::IPV4,
            1 => ethertype::IPV6,
            _ => Be16::new(0x0806),
        };
        let mut world = scene::world(scene::settings(), 10);
        Services::new(FAMILIES[0], 1).all_kinds::<V4>(&mut world);
        Services::new(FAMILIES[1], 100).all_kinds::<V6>(&mut world);
        for program in Program::ALL {
            let mut framed = vec![0_u8; program.l2()];
            if let Some(place) = framed.get_mut(12..14) {
                place.copy_from_slice(&protocol.raw().to_ne_bytes());
            }
            framed.extend_from_slice(&bytes);
            let mut skb = Skb { gso_size, ..Skb::l3(framed, protocol, ifindex) };
            let counted = world.counters.borrow().values().sum::<u64>();
            let _action = program.run(&world, &mut skb);
            prop_assert!(world.counters.borrow().values().sum::<u64>() > counted);
        }
    }

    #[test]
    fn any_map_contents_do_no_harm(seed: u64, settings: [u16; 2], broken: bool) {
        for names in FAMILIES {
            let mut rng = Rng::new(seed);
            let mut world = scene::world(Settings {
                snat_port_min: settings[0],
                snat_port_max: settings[1],
                ..scene::settings()
            }, 20);
            let mut services = Services::new(names, 1);
            let frontends = if names.v6 { services.all_kinds::<V6>(&mut world) } else { services.all_kinds::<V4>(&mut world) };
            if broken && names.v6 {
                wreck::<V6>(&mut world, &mut rng);
            } else if broken {
                wreck::<V4>(&mut world, &mut rng);
            }
            let hooks = Hooks { ingress: Program::TcIngress, egress: Program::TcEgress };
            let mut traffic = Traffic::new(names, hooks, &frontends, seed);
            for _ in 0..60 {
                let shot = traffic.shot();
                for program in [shot.program, Program::Xdp] {
                    let packet = &shot.skb.bytes[program.l2()..];
                    if names.v6 { poison::<V6>(&world, packet, &mut rng) } else { poison::<V4>(&world, packet, &mut rng) }
                    let mut skb = shot.skb.clone();
                    let action = program.run(&world, &mut skb);
                    traffic.saw(&shot, action, &skb);
                }
            }
        }
    }
}
