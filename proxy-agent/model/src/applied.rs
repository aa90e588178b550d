//! What the maps of one family hold, as far as the plans went, and the step to what they should hold.
//!
//! The work of a step is proportional to the `ServicePort` it is about. A step either happens or leaves no trace.

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::key::FrontendKey;
use proxy_common::value::{Frontend, Slice};

use crate::claims::Claims;
use crate::cluster::PortIndex;
use crate::desired::{Desired, NoLocal};
use crate::draft::Draft;
use crate::family::Family;
use crate::ids::BackendIds;
use crate::recover::{Reader, Recovered, Spare};
use crate::slots::Slots;
use crate::unit::{Turns, Unit, hold, place};
use crate::view::FamilyStats;

/// A map that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NoRoom(pub(crate) &'static str);

/// What a step needs beside the family's own state.
pub(crate) struct Step<'a, A> {
    pub(crate) now_ms: u64,
    pub(crate) ids: &'a mut BackendIds,
    pub(crate) spare: &'a mut Spare<A>,
    pub(crate) draft: &'a mut Draft<A>,
    pub(crate) turns: &'a mut Turns,
}

/// One family's maps.
#[derive(Clone, Debug)]
pub(crate) struct Applied<A> {
    capacity: usize,
    frontends: BTreeMap<FrontendKey<A>, Frontend>,
    units: BTreeMap<PortIndex, Unit<A>>,
    slots: Slots,
    /// What the last plan replaced or deleted, in case the kernel refused.
    replaced: BTreeMap<FrontendKey<A>, Frontend>,
    refused: BTreeSet<FrontendKey<A>>,
    stats: FamilyStats,
}

impl<A: Family> Applied<A> {
    /// Empty maps.
    pub(crate) fn new(frontends: u32, backends: u32) -> Self {
        Self {
            capacity: frontends as usize,
            frontends: BTreeMap::new(),
            units: BTreeMap::new(),
            slots: Slots::new(backends),
            replaced: BTreeMap::new(),
            refused: BTreeSet::new(),
            stats: FamilyStats::default(),
        }
    }

    /// Takes over the maps of an earlier run.
    pub(crate) fn recover(
        &mut self,
        frontends: Vec<(FrontendKey<A>, Frontend)>,
        reader: Reader<'_, A>,
    ) -> Recovered<A> {
        self.frontends = frontends.into_iter().collect();
        self.slots.recover(self.frontends.values().flat_map(named));
        // Slices that overlap are damage. Nobody may take their frontends for good old state and keep them for lack of room: they
        // are what takes the room. No port has service id 0.
        for frontend in self.frontends.values_mut() {
            if !named(frontend).all(|slice| self.slots.is_exact(slice)) {
                frontend.service = 0;
            }
        }
        let recovered = reader.read(&self.frontends, &self.slots);
        for unit in recovered.units.values() {
            self.slots.retain(unit.sets.cluster);
            self.slots.retain(unit.sets.local);
        }
        recovered
    }

    /// Has the next plan look at all frontends.
    pub(crate) fn look_at_all(&self, claims: &mut Claims<A>) {
        self.frontends.keys().for_each(|key| claims.look_at(*key));
    }

    /// Makes a recovered unit that of `port`.
    pub(crate) fn attach(&mut self, port: PortIndex, unit: Unit<A>) {
        count(&mut self.stats, &Unit::default(), &unit);
        self.units.insert(port, unit);
    }

    /// Gives up a recovered unit that no port took.
    pub(crate) fn detach(&mut self, unit: &Unit<A>, now_ms: u64, turns: &mut Turns) {
        self.slots.release(unit.sets.cluster, now_ms);
        self.slots.release(unit.sets.local, now_ms);
        turns.retire.extend(unit.held.iter().map(|held| held.id));
    }

    /// Forgets what the last plan replaced, and frees what nobody names any more. Whether there is room that was not there.
    pub(crate) fn begin(&mut self, now_ms: u64) -> bool {
        self.replaced.clear();
        self.refused.clear();
        self.slots.expire(now_ms)
    }

    /// Brings `port` to what it should be.
    pub(crate) fn update(
        &mut self,
        port: PortIndex,
        service: u32,
        desired: &Desired<A>,
        step: &mut Step<'_, A>,
    ) -> Result<(), NoRoom> {
        let Desired {
            frontends,
            candidates,
            rules,
            no_local,
        } = desired;
        let new = frontends
            .iter()
            .filter(|(key, _)| !self.frontends.contains_key(key))
            .count();
        if self.frontends.len().saturating_add(new) > self.capacity {
            return Err(NoRoom(A::FRONTENDS));
        }
        let none = Unit::default();
        let old = self.units.get(&port).unwrap_or(&none);
        let new =
            hold(&old.held, candidates, step.ids, step.spare).ok_or(NoRoom("BACKEND_STATE"))?;
        let Some((sets, writes)) = place(old, &new.held, &mut self.slots, step.ids) else {
            new.undo(step.ids, step.spare);
            return Err(NoRoom(A::BACKENDS));
        };
        step.turns.extend(new.turns);
        let unit = Unit {
            held: new.held.into(),
            sets,
            no_local: *no_local,
        };
        count(&mut self.stats, old, &unit);
        // New names first, so that no run is without one in between.
        self.slots.retain(sets.cluster);
        self.slots.retain(sets.local);
        self.slots.release(old.sets.cluster, step.now_ms);
        self.slots.release(old.sets.local, step.now_ms);
        step.draft.write(writes);
        if unit.held.is_empty() && unit.no_local == NoLocal::default() {
            self.units.remove(&port);
        } else {
            self.units.insert(port, unit);
        }
        for (key, kind) in frontends {
            self.store(*key, rules.frontend(service, *kind, sets), step);
        }
        Ok(())
    }

    fn store(&mut self, key: FrontendKey<A>, frontend: Frontend, step: &mut Step<'_, A>) {
        let old = self.frontends.insert(key, frontend);
        if old == Some(frontend) {
            return;
        }
        named(&frontend).for_each(|slice| self.slots.retain(slice));
        if let Some(old) = old {
            named(&old).for_each(|slice| self.slots.release(slice, step.now_ms));
            self.replaced.insert(key, old);
        }
        step.draft.upsert(key, frontend);
    }

    /// Deletes those of `keys` that do not belong to the port that has them now. Whether there were any.
    pub(crate) fn sweep(
        &mut self,
        keys: BTreeSet<FrontendKey<A>>,
        owner: impl Fn(&FrontendKey<A>) -> Option<u32>,
        now_ms: u64,
        draft: &mut Draft<A>,
    ) -> bool {
        let mut swept = false;
        for key in keys {
            let Some(frontend) = self.frontends.get(&key).copied() else {
                continue;
            };
            if owner(&key) == Some(frontend.service) {
                continue;
            }
            self.frontends.remove(&key);
            named(&frontend).for_each(|slice| self.slots.release(slice, now_ms));
            self.replaced.insert(key, frontend);
            draft.delete(key);
            swept = true;
        }
        swept
    }

    /// The kernel refused to store or delete `key`: it still holds what it held before the plan.
    pub(crate) fn failed(&mut self, key: FrontendKey<A>, claims: &mut Claims<A>, now_ms: u64) {
        let old = self.replaced.get(&key).copied();
        let planned = self.frontends.get(&key).copied();
        if let Some(old) = old {
            named(&old).for_each(|slice| self.slots.retain(slice));
            self.frontends.insert(key, old);
        } else {
            self.frontends.remove(&key);
        }
        if let Some(planned) = planned {
            named(&planned).for_each(|slice| self.slots.release(slice, now_ms));
        }
        self.refused.insert(key);
        claims.look_at(key);
    }

    pub(crate) fn frontend(&self, key: &FrontendKey<A>) -> Option<&Frontend> {
        self.frontends.get(key)
    }

    pub(crate) fn unit(&self, port: PortIndex) -> Option<&Unit<A>> {
        self.units.get(&port)
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.slots.next_due()
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.len()
    }

    pub(crate) fn stats(&self) -> FamilyStats {
        FamilyStats {
            frontends: self.frontends.len(),
            slots: self.slots.used() as usize,
            ..self.stats
        }
    }
}

/// The slices that a frontend names, each once.
fn named(frontend: &Frontend) -> impl Iterator<Item = Slice> + use<> {
    let [inside, outside, host] = frontend.slices;
    let outside = Some(outside).filter(|slice| *slice != inside);
    let host = Some(host).filter(|slice| *slice != inside && Some(*slice) != outside);
    [Some(inside), outside, host]
        .into_iter()
        .flatten()
        .filter(|slice| slice.count > 0)
}

/// Keeps the counts of a family when a unit changes.
fn count<A: Family>(stats: &mut FamilyStats, old: &Unit<A>, new: &Unit<A>) {
    for (unit, is_new) in [(old, false), (new, true)] {
        let selected = unit
            .held
            .iter()
            .filter(|held| held.facts.selected())
            .count();
        let draining = unit.held.len().saturating_sub(selected);
        let counts = [
            (&mut stats.backends, selected),
            (&mut stats.draining, draining),
            (
                &mut stats.no_local_internal,
                usize::from(unit.no_local.internal),
            ),
            (
                &mut stats.no_local_external,
                usize::from(unit.no_local.external),
            ),
        ];
        for (count, number) in counts {
            *count = if is_new {
                count.saturating_add(number)
            } else {
                count.saturating_sub(number)
            };
        }
    }
}
