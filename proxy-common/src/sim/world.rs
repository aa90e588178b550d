//! One node's state: the maps of both families and what they share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::addr::{Addr, V4, V6};
use crate::limits;
use crate::reason::{Hook, Reason};
use crate::sim::array::Array;
use crate::sim::tables::Family;
use crate::value::{BackendState, Device, LutWord, Settings};

/// All that the path of one node reads and writes.
#[derive(Debug)]
pub struct World {
    /// IPv4.
    pub v4: Family<V4>,
    /// IPv6.
    pub v6: Family<V6>,
    /// DEVICES.
    pub devices: BTreeMap<u32, Device>,
    /// `BACKEND_STATE`.
    pub states: Array<BackendState>,
    /// LUT.
    pub lut: Array<LutWord>,
    /// TURNS.
    pub turns: Array<u32>,
    /// SETTINGS.
    pub settings: Settings,
    /// Seconds of the monotonic clock.
    pub clock: Cell<u32>,
    /// COUNTERS; what was never counted is not there.
    pub counters: RefCell<BTreeMap<(Reason, Hook), u64>>,
}

impl World {
    /// Empty, with room for `flows` entries in each FLOWS.
    pub fn new(settings: Settings, flows: usize) -> Self {
        Self {
            v4: Family::new(flows, &settings),
            v6: Family::new(flows, &settings),
            devices: BTreeMap::new(),
            states: Array::new(limits::BACKENDS),
            lut: Array::new(limits::LUT),
            turns: Array::new(limits::TURNS),
            settings,
            clock: Cell::new(1_000),
            counters: RefCell::default(),
        }
    }

    /// Makes all flows, embryos and affinity records `seconds` older.
    pub fn age(&self, seconds: u32) {
        self.v4.age(seconds);
        self.v6.age(seconds);
    }

    /// How often `reason` was counted at `hook`.
    pub fn counted(&self, reason: Reason, hook: Hook) -> u64 {
        self.counters
            .borrow()
            .get(&(reason, hook))
            .copied()
            .unwrap_or_default()
    }

    /// Counts `reason` at `hook`.
    pub fn count(&self, reason: Reason, hook: Hook) {
        *self
            .counters
            .borrow_mut()
            .entry((reason, hook))
            .or_default() += 1;
    }
}

/// The parts of [`Env`] that need nothing but a [`World`].
macro_rules! of_world {
    () => {
        fn now(&self) -> u32 {
            self.world.clock.get()
        }

        fn has(&self, feature: u32) -> bool {
            self.world.settings.features & feature == feature
        }

        fn backend_state(&self, id: u32) -> Option<crate::value::BackendState> {
            self.world.states.get(id)
        }

        fn count_connection(&self, id: u32, generation: u32, open: bool) {
            if let Some(state) = self.world.states.get(id)
                && state.generation == generation
            {
                let active = state.active;
                let active = if open {
                    active.wrapping_add(1)
                } else {
                    active.wrapping_sub(1)
                };
                let state = crate::value::BackendState { active, ..state };
                self.world.states.set(id, state);
            }
        }

        fn lut(&self, word: u32) -> Option<crate::value::LutWord> {
            self.world.lut.get(word)
        }

        fn turn(&self, service: u32) -> u32 {
            let turns = &self.world.turns;
            turns
                .get(service % crate::limits::TURNS)
                .unwrap_or_default()
        }

        fn next_turn(&self, service: u32) {
            let index = service % crate::limits::TURNS;
            self.world
                .turns
                .set(index, self.turn(service).wrapping_add(1));
        }
    };
}
pub(super) use of_world;

/// `Services` over a [`World`].
macro_rules! services {
    () => {
        fn frontend(&self, key: &crate::key::FrontendKey<A>) -> Option<&crate::value::Frontend> {
            self.world.family().frontends.get(key)
        }

        fn backend(&self, slot: u32) -> Option<crate::value::Backend<A>> {
            self.world.family().backends.get(slot)
        }

        fn addr(&self, addr: &A) -> Option<crate::flags::AddrFlags> {
            self.world.family().addrs.get(addr).copied()
        }

        fn in_range(&self, key: &crate::key::RangeKey<A>) -> bool {
            self.world.family().in_range(key)
        }

        fn cidr(&self, index: u32) -> Option<&crate::value::Cidr<A>> {
            self.world.family().cidrs.get(index as usize)
        }

        fn affinity(&self, key: &crate::key::AffinityKey<A>) -> Option<crate::value::Affinity<A>> {
            self.world.family().affinity.borrow().get(key).copied()
        }

        fn affinity_insert(
            &self,
            key: &crate::key::AffinityKey<A>,
            affinity: &crate::value::Affinity<A>,
        ) {
            let mut records = self.world.family().affinity.borrow_mut();
            records.insert(*key, *affinity);
        }
    };
}
pub(super) use services;

/// Access to the maps of one family.
pub trait Holds<A: Addr> {
    /// The family's maps.
    fn family(&self) -> &Family<A>;
    /// The same, to change.
    fn family_mut(&mut self) -> &mut Family<A>;
}

impl Holds<V4> for World {
    fn family(&self) -> &Family<V4> {
        &self.v4
    }

    fn family_mut(&mut self) -> &mut Family<V4> {
        &mut self.v4
    }
}

impl Holds<V6> for World {
    fn family(&self) -> &Family<V6> {
        &self.v6
    }

    fn family_mut(&mut self) -> &mut Family<V6> {
        &mut self.v6
    }
}
