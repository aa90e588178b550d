//! One node's state: the maps of both families and what they share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::addr::{Addr, V4, V6};
use crate::limits;
use crate::reason::{Hook, Reason};
use crate::sim::array::Array;
use crate::sim::tables::Family;
use crate::value::{BackendState, Device, Settings};

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
            v4: Family::new(flows),
            v6: Family::new(flows),
            devices: BTreeMap::new(),
            states: Array::new(limits::BACKENDS),
            settings,
            clock: Cell::new(1_000),
            counters: RefCell::default(),
        }
    }

    /// Makes all flows and embryos `seconds` older.
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
