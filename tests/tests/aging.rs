//! `age_v4` and `age_v6`: the same flows and batches of keys through the kernel's programs and the memory body. What is deleted, and what
//! is counted, must be equal.

use anyhow::{Result, ensure};
use integration::prog_run::{Kernel, coarse_seconds};
use integration::requirements;
use proxy_common::addr::{Addr, V4, V6, proto};
use proxy_common::be::Be16;
use proxy_common::flags::{FlowFlags, feature, flow_state};
use proxy_common::key::FlowKey;
use proxy_common::limits;
use proxy_common::path::hook::age::{HEADER, KEYS, bytes};
use proxy_common::sim::World;
use proxy_common::sim::frame::age;
use proxy_common::sim::rng::Rng;
use proxy_common::sim::scene;
use proxy_common::sim::world::Holds;
use proxy_common::value::{BackendState, Flow, Settings};

/// Sets of flows for each family.
const ROUNDS: u64 = 20;
/// Connections in one.
const CONNECTIONS: u16 = 100;
/// Backends that count them.
const BACKENDS: u32 = 4;

/// Bits of what a direction may have seen.
const STATES: [u16; 6] = [
    0,
    flow_state::FIN_CLIENT,
    flow_state::FIN_BACKEND,
    flow_state::RST_CLIENT,
    flow_state::RST_BACKEND,
    flow_state::REPLIED,
];

/// A second near the end of somebody's patience, or after `now`.
fn last_seen(rng: &mut Rng, now: u32) -> u32 {
    let patience = *rng.pick(&[
        0,
        limits::CLOSED_SECONDS,
        limits::UDP_SECONDS,
        limits::SCTP_SECONDS,
        limits::TCP_HALF_CLOSED_SECONDS,
        limits::TCP_ESTABLISHED_SECONDS,
    ]);
    now.saturating_sub(patience + *rng.pick(&[0, 1, 2])) + rng.pick(&[0, 0, 1])
}

/// Fills FLOWS with connections of all kinds, some of which lack an entry. Returns all keys, and some that are nobody's.
fn fill<A: Addr>(world: &World, rng: &mut Rng, now: u32) -> Vec<FlowKey<A>>
where
    World: Holds<A>,
{
    let mut keys = Vec::new();
    for number in 0..CONNECTIONS {
        let [client, frontend, backend] =
            [1, 2, 3].map(|last| A::from_words([0x1234_5600 | last; 4]));
        let (cport, fport, bport) = (Be16::new(1000 + number), Be16::new(80), Be16::new(8080));
        let proto = *rng.pick(&[proto::TCP, proto::TCP, proto::UDP, proto::SCTP]);
        let owner = 1 + u32::from(number) % BACKENDS;
        let common = Flow {
            backend: owner,
            generation: *rng.pick(&[5, 5, 4]),
            flags: *rng.pick(&[FlowFlags::COUNTED, FlowFlags::default()]),
            ..Flow::default()
        };
        let mut seen = |flow: Flow<A>| Flow {
            state: *rng.pick(&STATES) | *rng.pick(&STATES),
            last_seen: last_seen(rng, now),
            ..flow
        };
        let request = seen(Flow {
            src: client,
            dst: backend,
            sport: cport,
            dport: bport,
            ..common
        });
        let answer = seen(Flow {
            src: frontend,
            dst: client,
            sport: fport,
            dport: cport,
            flags: common.flags.with(FlowFlags::REPLY),
            ..common
        });
        let key = FlowKey::new(client, frontend, cport, fport, proto);
        let peer = request.peer(proto);
        let (with_request, with_answer) = match rng.below(10) {
            0 => (true, false),
            1 => (false, true),
            2 => (false, false),
            _ => (true, true),
        };
        if with_request {
            world.family().put_flow(key, request);
        }
        if with_answer {
            world.family().put_flow(peer, answer);
        }
        // In any order, or one of them only.
        match rng.below(4) {
            0 => keys.push(key),
            1 => keys.push(peer),
            2 => keys.extend([key, peer]),
            _ => keys.extend([peer, key]),
        }
    }
    keys
}

/// One set of flows through both. `None`: the clock's second changed meanwhile. Otherwise how many entries went, and how many stay.
fn round<A: Addr>(
    kernel: &mut Kernel,
    settings: Settings,
    seed: u64,
) -> Result<Option<(u32, usize)>>
where
    World: Holds<A>,
{
    let mut rng = Rng::new(seed);
    let mut world = scene::world(settings, 2 * usize::from(CONNECTIONS));
    for id in 1..=BACKENDS {
        let state = BackendState {
            generation: 5,
            active: 1_000,
            ..BackendState::default()
        };
        world.states.set(id, state);
    }
    let now = coarse_seconds();
    world.clock = now.into();
    let keys = fill::<A>(&world, &mut rng, now);
    kernel.mirror(&world)?;
    let mut counts = Vec::new();
    // Sometimes more than a program takes.
    for part in keys.chunks(KEYS + rng.below(3)) {
        let batch: Vec<u8> = HEADER
            .into_iter()
            .chain(part.iter().flat_map(bytes))
            .collect();
        counts.push((kernel.age(A::IS_V6, &batch)?, age::<A>(&world, &batch)));
    }
    if coarse_seconds() != now {
        return Ok(None);
    }
    ensure!(
        counts.iter().all(|(kernel, memory)| kernel == memory),
        "entries that went, by kernel and memory: {counts:?}"
    );
    kernel.same(&world)?;
    let ended = counts.iter().map(|(kernel, _)| kernel).sum();
    Ok(Some((ended, Holds::<A>::family(&world).flows.len())))
}

fn agree<A: Addr>(test: &str) -> Result<()>
where
    World: Holds<A>,
{
    if !requirements::met(test) {
        return Ok(());
    }
    let settings = Settings {
        features: feature::COARSE_CLOCK,
        ..scene::settings()
    };
    let mut kernel = Kernel::load(settings, 1_024, &[])?;
    kernel.load_aging()?;
    let (mut ended, mut left, mut given_up) = (0, 0, 0);
    for seed in 0..ROUNDS {
        let found = loop {
            match round::<A>(&mut kernel, settings, seed)? {
                Some(found) => break found,
                None => given_up += 1,
            }
            ensure!(given_up < 1_000, "no round ends within a second");
        };
        ended += found.0;
        left += found.1;
    }
    println!("{test}: {ended} entries went, {left} stayed; {given_up} rounds given up");
    ensure!(ended > 500 && left > 500, "nothing to compare");
    Ok(())
}

#[test]
fn aging_agrees_on_ipv4() -> Result<()> {
    agree::<V4>("aging_agrees_on_ipv4")
}

#[test]
fn aging_agrees_on_ipv6() -> Result<()> {
    agree::<V6>("aging_agrees_on_ipv6")
}
