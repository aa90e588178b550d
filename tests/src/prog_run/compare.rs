//! The same traffic through kernel and memory, packet by packet.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use proxy_common::addr::{V4, V6};
use proxy_common::flags::feature;
use proxy_common::path::Action;
use proxy_common::reason::{Hook, Reason};
use proxy_common::sim::scene::{self, Names};
use proxy_common::sim::services::Services;
use proxy_common::sim::traffic::{Hooks, Shot, Traffic};
use proxy_common::sim::{Program, Skb, World};
use proxy_common::value::Settings;

use super::{Kernel, Left, coarse_seconds};

/// Entries in each FLOWS: few, so that it fills.
const FLOWS: u32 = 16;
/// Sets of EMBRYOS: few, so that they overflow.
const EMBRYO_SETS: u32 = 2;
/// Packets before all starts anew.
const SEQUENCE: usize = 250;
/// Sequences given up after which a play ends: the machine is too slow.
const HOPELESS: usize = 1_000;

/// How often each outcome was seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// Packets that both bodies agreed on, by program.
    pub packets: BTreeMap<Program, usize>,
    /// Reasons that were counted.
    pub reasons: BTreeMap<(Program, Reason), usize>,
    /// Packets that the kernel refuses to run a program on, or cannot be told the `EtherType` of.
    pub refused: usize,
    /// Sequences given up because the clock's second changed in the middle of a packet.
    pub given_up: usize,
}

impl Tally {
    /// Packets that `program` saw.
    pub fn of(&self, program: Program) -> usize {
        self.packets.get(&program).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            packets,
            reasons,
            refused,
            given_up,
        } = self;
        for (program, count) in packets {
            write!(f, "{}: {count} packets", program.name())?;
            for ((_, reason), count) in reasons.iter().filter(|((other, _), _)| other == program) {
                write!(f, ", {} {count}", reason.label())?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "refused by the kernel: {refused}, sequences given up at the turn of a second: {given_up}"
        )
    }
}

/// A sequence in progress.
pub(super) struct Play<'a> {
    pub(super) world: &'a mut World,
    pub(super) base: &'a BTreeMap<(Reason, Hook), u64>,
    pub(super) tally: &'a mut Tally,
}

/// Settings that decide who is masqueraded, and the way to pods of the node.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// [`feature::EXACT_MASQUERADE`], [`feature::HOST_ROUTING`] or nothing.
    pub features: u32,
    /// One of `flags::detect`.
    pub detect: u32,
}

/// A kernel and a memory that must agree.
pub struct Lane {
    pub(super) kernel: Kernel,
    pub(super) names: Names,
    pub(super) hooks: Hooks,
    settings: Settings,
}

impl Lane {
    /// Loads the programs of `hooks`. Call it, and all else, inside the scene's namespace.
    pub fn new(names: Names, hooks: Hooks, policy: Policy) -> Result<Self> {
        let settings = Settings {
            // Few ports, so that they run out.
            snat_port_min: 4000,
            snat_port_max: 4003,
            embryo_mask: EMBRYO_SETS - 1,
            features: feature::COARSE_CLOCK | policy.features,
            detect: policy.detect,
            ..scene::settings()
        };
        let mut kernel = Kernel::load(settings, FLOWS, &[hooks.ingress, hooks.egress])?;
        if hooks.ingress == Program::Xdp {
            kernel.occupy_devices()?;
        }
        Ok(Self {
            kernel,
            names,
            hooks,
            settings,
        })
    }

    /// Plays sequences until each of `programs` has seen `packets` packets and each of `wanted` was counted; for those at most a few times as
    /// many packets.
    pub fn play(
        &mut self,
        seed: u64,
        programs: &[Program],
        packets: usize,
        wanted: &[(Program, Reason)],
    ) -> Result<Tally> {
        const PATIENCE: usize = 5;

        let mut tally = Tally::default();
        let mut number = seed;
        let below = |tally: &Tally, packets| programs.iter().any(|one| tally.of(*one) < packets);
        let lacks = |tally: &Tally| wanted.iter().any(|one| !tally.reasons.contains_key(one));
        while below(&tally, packets) || lacks(&tally) && below(&tally, PATIENCE * packets) {
            // One that was given up is played again, or what only it leads to would be missing.
            while !self
                .sequence(number, &mut tally)
                .with_context(|| format!("sequence {number:#x} of {:?}", self.hooks))?
            {
                tally.given_up += 1;
                ensure!(
                    tally.given_up < HOPELESS,
                    "no sequence ends within a second"
                );
            }
            number = number.wrapping_add(1);
        }
        Ok(tally)
    }

    /// Plays one sequence; `false`: given up at the turn of a second.
    fn sequence(&mut self, seed: u64, tally: &mut Tally) -> Result<bool> {
        let mut world = scene::world(self.settings, usize::try_from(FLOWS)?);
        let mut services = Services::new(self.names, 1);
        let frontends = if self.names.v6 {
            services.all_kinds::<V6>(&mut world)
        } else {
            services.all_kinds::<V4>(&mut world)
        };
        self.kernel.mirror(&world)?;
        let base = self.counters()?;
        let mut play = Play {
            world: &mut world,
            base: &base,
            tally: &mut *tally,
        };
        let prologue = match seed % 8 {
            0 => self.race(&mut play, self.names.pod, scene::POD),
            1 => self.race(&mut play, self.names.outside, scene::NODE),
            2 => self.fill(&mut play),
            3 => self.stick(&mut play),
            _ => Ok(Some(())),
        };
        if prologue?.is_none() {
            return Ok(false);
        }
        let mut traffic = Traffic::new(self.names, self.hooks, &frontends, seed);
        for step in 0..SEQUENCE {
            self.change(&mut world, &mut traffic)?;
            let shot = traffic.shot();
            let Some((action, skb)) = self
                .step(&world, &shot, &base, tally)
                .with_context(|| format!("packet {step}: {shot:?}"))?
            else {
                return Ok(false);
            };
            traffic.saw(&shot, action, &skb);
        }
        self.kernel.same(&world)?;
        let counters = self.counters()?;
        for (key, count) in &counters {
            let counted = world.counted(key.0, key.1);
            ensure!(
                count - base[key] == counted,
                "{key:?}: kernel {}, memory {counted}",
                count - base[key]
            );
        }
        Ok(true)
    }

    /// Now and then something changes beside the packets, in both bodies.
    fn change(&mut self, world: &mut World, traffic: &mut Traffic) -> Result<()> {
        if traffic.rng.one_in(12)
            && let Some(id) = Services::disturb(world, &mut traffic.rng)
        {
            self.kernel.mirror_state(world, id)?;
        }
        if traffic.rng.one_in(15) {
            if self.names.v6 {
                Services::reshape::<V6>(world, &mut traffic.rng);
            } else {
                Services::reshape::<V4>(world, &mut traffic.rng);
            }
            self.kernel.mirror_frontends(world)?;
        }
        if traffic.rng.one_in(20) {
            let seconds = *traffic.rng.pick(&[1, 1, 1, 59, 60, 61]);
            world.age(seconds);
            self.kernel.mirror_flows(world)?;
        }
        Ok(())
    }

    /// One packet through both. `None`: the second changed meanwhile, so that they may differ.
    pub(super) fn step(
        &self,
        world: &World,
        shot: &Shot,
        base: &BTreeMap<(Reason, Hook), u64>,
        tally: &mut Tally,
    ) -> Result<Option<(Action, Skb)>> {
        if !expressible(shot) {
            tally.refused += 1;
            return Ok(Some((Action::Pass, shot.skb.clone())));
        }
        let now = coarse_seconds();
        let left = self.kernel.run(shot.program, &shot.skb)?;
        if coarse_seconds() != now {
            return Ok(None);
        }
        let Some(left) = left else {
            tally.refused += 1;
            return Ok(Some((Action::Pass, shot.skb.clone())));
        };
        world.clock.set(now);
        let before = Entries::of(world);
        let counted = world.counters.borrow().clone();
        let mut skb = shot.skb.clone();
        let action = shot.program.run(world, &mut skb);
        let expected = Left {
            returned: returned(shot.program, action, skb.ifindex),
            bytes: skb.bytes.clone(),
            mark: skb.mark,
        };
        ensure!(
            left == expected,
            "{action:?}: kernel {left:?}, memory {expected:?}"
        );
        before.followed(&self.kernel, world)?;
        for (key, count) in world.counters.borrow().iter() {
            if counted.get(key) != Some(count) {
                let kernel = self.kernel.counted(key.0, key.1)? - base[key];
                ensure!(kernel == *count, "{key:?}: kernel {kernel}, memory {count}");
                *tally.reasons.entry((shot.program, key.0)).or_default() += 1;
            }
        }
        *tally.packets.entry(shot.program).or_default() += 1;
        Ok(Some((action, skb)))
    }

    fn counters(&self) -> Result<BTreeMap<(Reason, Hook), u64>> {
        let mut counters = BTreeMap::new();
        for reason in Reason::ALL {
            for hook in Hook::ALL {
                counters.insert((*reason, *hook), self.kernel.counted(*reason, *hook)?);
            }
        }
        Ok(counters)
    }
}

/// Whether a test run gives the packet its `EtherType`: the kernel reads that where an Ethernet header has it, even for programs
/// of devices without one. The scene's addresses are chosen so that it is right, but noise can change them.
fn expressible(shot: &Shot) -> bool {
    let place = shot.skb.bytes.get(12..14);
    place == Some(shot.skb.protocol.raw().to_ne_bytes().as_slice())
}

/// What the program returns for an action.
fn returned(program: Program, action: Action, ifindex: u32) -> i32 {
    if program == Program::Xdp {
        return match action {
            // XDP_TX, XDP_REDIRECT, XDP_DROP, XDP_PASS
            Action::Redirect(out) if out == ifindex => 3,
            Action::Redirect(_) => 4,
            Action::Drop => 1,
            _ => 2,
        };
    }
    match action {
        // TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_REDIRECT
        Action::Pass | Action::Mark(_) => -1,
        Action::Drop => 2,
        Action::Back | Action::Redirect(_) | Action::RedirectNeigh(_) | Action::RedirectPeer(_) => {
            7
        }
    }
}

macro_rules! entries {
    ($($name:ident: $key:ident => $value:ident, $family:ident.$map:ident;)*) => {
        /// What packets wrote, in the order of the keys.
        struct Entries {
            $($name: Vec<(proxy_common::key::$key<family!($family)>, proxy_common::value::$value<family!($family)>)>,)*
        }

        impl Entries {
            fn of(world: &World) -> Self {
                Self { $($name: list!(world, $family.$map),)* }
            }

            /// Fails if the kernel's maps did not change as memory's did.
            fn followed(&self, kernel: &Kernel, world: &World) -> Result<()> {
                let after = Self::of(world);
                $(kernel.$family.$map.followed(&self.$name, &after.$name)?;)*
                Ok(())
            }
        }
    };
}

macro_rules! family {
    (v4) => {
        V4
    };
    (v6) => {
        V6
    };
}

macro_rules! list {
    ($world:ident, $family:ident.fragments) => {{
        let fragments = $world.$family.fragments.borrow();
        fragments
            .iter()
            .map(|(key, value)| (*key, *value))
            .collect()
    }};
    ($world:ident, $family:ident.affinity) => {
        $world.$family.affinity_records()
    };
    ($world:ident, $family:ident.$map:ident) => {
        $world.$family.$map.all()
    };
}

entries! {
    flows4: FlowKey => Flow, v4.flows;
    flows6: FlowKey => Flow, v6.flows;
    embryos4: FlowKey => Flow, v4.embryos;
    embryos6: FlowKey => Flow, v6.embryos;
    affinity4: AffinityKey => Affinity, v4.affinity;
    affinity6: AffinityKey => Affinity, v6.affinity;
    fragments4: FragmentKey => Fragment, v4.fragments;
    fragments6: FragmentKey => Fragment, v6.fragments;
}
