//! What the maps of one family hold, as far as the plans went, and the step to what they should hold.
//!
//! The work of a step is proportional to the `ServicePort` it is about. A step either happens or leaves no trace.

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::flags::AddrFlags;
use proxy_common::key::FrontendKey;
use proxy_common::limits;
use proxy_common::value::{Frontend, Slice};

use crate::addrs::Addrs;
use crate::claims::Claims;
use crate::cluster::PortIndex;
use crate::desired::{Desired, NoLocal, Wish};
use crate::draft::Draft;
use crate::endpoint::Facts;
use crate::family::{Cidrs, Family};
use crate::ids::BackendIds;
use crate::names::{named, named_ranges, named_tables};
use crate::policy::Profile;
use crate::ranges::Ranges;
use crate::recover::{Reader, Recovered, Spare};
use crate::slots::Slots;
use crate::tables::Tables;
use crate::unit::{Turns, Unit, addresses, hold, place, want_tables};
use crate::view::{FamilyStats, count};

/// A map that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NoRoom(pub(crate) &'static str);

/// What a step needs beside the family's own state.
pub(crate) struct Step<'a, A> {
    pub(crate) now_ms: u64,
    pub(crate) ids: &'a mut BackendIds,
    pub(crate) tables: &'a mut Tables,
    pub(crate) spare: &'a mut Spare<A>,
    pub(crate) draft: &'a mut Draft<A>,
    pub(crate) turns: &'a mut Turns,
    /// Set if a Maglev table is missing for good.
    pub(crate) tableless: &'a mut bool,
}

/// One family's maps.
#[derive(Clone, Debug)]
pub(crate) struct Applied<A> {
    capacity: usize,
    frontends: BTreeMap<FrontendKey<A>, Frontend>,
    units: BTreeMap<PortIndex, Unit<A>>,
    slots: Slots,
    addrs: Addrs<A>,
    ranges: Ranges<A>,
    /// `None` when nobody knows what CIDRS holds.
    cidrs: Option<Cidrs<A>>,
    /// What the last plan replaced or deleted, in case the kernel refused.
    replaced: BTreeMap<FrontendKey<A>, Frontend>,
    refused: BTreeSet<FrontendKey<A>>,
    stats: FamilyStats,
}

impl<A: Family> Applied<A> {
    /// Empty maps.
    pub(crate) fn new(frontends: u32, backends: u32, profile: Profile) -> Self {
        Self {
            capacity: frontends as usize,
            frontends: BTreeMap::new(),
            units: BTreeMap::new(),
            slots: Slots::new(0..backends),
            addrs: Addrs::new(profile == Profile::Nftables),
            ranges: Ranges::new(limits::SOURCE_RANGES),
            cidrs: Some(Cidrs::default()),
            replaced: BTreeMap::new(),
            refused: BTreeSet::new(),
            stats: FamilyStats::default(),
        }
    }

    /// Takes over the frontends and slots of an earlier run.
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
        self.cidrs = None;
        recovered
    }

    /// Takes over the addresses and source ranges of an earlier run, after its frontends.
    pub(crate) fn recover_addrs(&mut self, addrs: Vec<(A, AddrFlags)>, ranges: Vec<(u32, A, u8)>) {
        self.ranges.recover(ranges);
        for (key, frontend) in &self.frontends {
            self.addrs.add(key, frontend);
            if let Some(set) = named_ranges(frontend) {
                self.ranges.recover_name(set);
            }
        }
        self.addrs.recover(addrs);
        self.ranges.end_recovery();
    }

    /// The Maglev tables that frontends of an earlier run name.
    pub(crate) fn recovered_tables(&self) -> impl Iterator<Item = Slice> {
        self.frontends.values().flat_map(named_tables)
    }

    /// Takes over the Maglev tables of an earlier run that stand for the sets of its units.
    pub(crate) fn adopt_tables(&self, units: &BTreeMap<u32, Unit<A>>, tables: &mut Tables) {
        for frontend in self.frontends.values() {
            let Some(unit) = units.get(&frontend.service) else {
                continue;
            };
            let sets = [
                (Facts::IN_CLUSTER, unit.sets.cluster),
                (Facts::IN_LOCAL, unit.sets.local),
            ];
            for ((set, slice), offset) in sets.into_iter().zip(frontend.tables) {
                if offset != 0 && frontend.slices.contains(&slice) {
                    tables.adopt(addresses(&unit.held, set), offset);
                }
            }
        }
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
    pub(crate) fn begin(&mut self, now_ms: u64, draft: &mut Draft<A>) -> bool {
        self.replaced.clear();
        self.refused.clear();
        let ranges = self.ranges.expire(now_ms);
        let freed = !ranges.is_empty();
        draft.remove_ranges(ranges);
        self.slots.expire(now_ms) || freed
    }

    /// Brings CIDRS to what it should be, and ADDRS to what the frontends ask for.
    pub(crate) fn end(&mut self, cidrs: Cidrs<A>, draft: &mut Draft<A>) {
        draft.set_addrs(self.addrs.take());
        let old = self.cidrs.replace(cidrs.clone());
        if old.as_ref() == Some(&cidrs) {
            return;
        }
        // Local pods are told apart before a frontend counts on it.
        let first = old.filter(|old| old.local != cidrs.local).map(|old| Cidrs {
            local: cidrs.local,
            services: old.services,
        });
        let first = first.filter(|first| *first != cidrs);
        draft.set_cidrs(first.into_iter().chain([cidrs]).collect());
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
            ranges,
            no_local,
        } = desired;
        let new = frontends
            .iter()
            .filter(|wish| !self.frontends.contains_key(&wish.key))
            .count();
        if self.frontends.len().saturating_add(new) > self.capacity {
            return Err(NoRoom(A::FRONTENDS));
        }
        let asked = ranges.as_deref().map(|ranges| self.ranges.ask(ranges));
        if matches!(asked, Some(None)) {
            return Err(NoRoom(A::SOURCE_RANGES));
        }
        let asked = asked.flatten();
        let none = Unit::default();
        let old = self.units.get(&port).unwrap_or(&none);
        let placed = hold(&old.held, candidates, step.ids, step.spare)
            .ok_or(NoRoom("BACKEND_STATE"))
            .and_then(|new| {
                if let Some((sets, writes)) = place(old, &new.held, &mut self.slots, step.ids) {
                    Ok((new, sets, writes))
                } else {
                    new.undo(step.ids, step.spare);
                    Err(NoRoom(A::BACKENDS))
                }
            });
        if let (Err(_), Some(asked)) = (&placed, asked) {
            self.ranges.cancel(asked);
        }
        let (new, sets, writes) = placed?;
        if let Some(asked) = asked.filter(|asked| asked.is_new) {
            let ranges = ranges.clone().unwrap_or_default();
            step.draft.add_ranges(asked.set, ranges);
        }
        step.turns.extend(new.turns);
        let (tables, offsets) = want_tables(port, rules.algorithm, &new.held, step);
        for table in old.tables.into_iter().flatten() {
            step.tables.leave(port, table, step.now_ms);
        }
        let unit = Unit {
            held: new.held.into(),
            sets,
            no_local: *no_local,
            tables,
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
        let set = asked.map(|asked| asked.set);
        for Wish { key, kind, ranged } in frontends {
            let ranges = set.filter(|_| *ranged);
            self.store(
                *key,
                rules.frontend(service, *kind, sets, offsets, ranges),
                step,
            );
        }
        Ok(())
    }

    fn store(&mut self, key: FrontendKey<A>, frontend: Frontend, step: &mut Step<'_, A>) {
        let old = self.frontends.insert(key, frontend);
        if old == Some(frontend) {
            return;
        }
        self.name(&key, &frontend, step.tables);
        if let Some(old) = old {
            self.unname(&key, &old, step.tables, step.now_ms);
            self.replaced.insert(key, old);
        }
        step.draft.upsert(key, frontend);
    }

    /// The maps get a frontend: what it names stays.
    fn name(&mut self, key: &FrontendKey<A>, frontend: &Frontend, tables: &mut Tables) {
        named(frontend).for_each(|slice| self.slots.retain(slice));
        named_tables(frontend).for_each(|table| tables.retain(table));
        if let Some(set) = named_ranges(frontend) {
            self.ranges.retain(set);
        }
        self.addrs.add(key, frontend);
    }

    /// The maps lose a frontend: what only it named may go.
    fn unname(
        &mut self,
        key: &FrontendKey<A>,
        frontend: &Frontend,
        tables: &mut Tables,
        now_ms: u64,
    ) {
        named(frontend).for_each(|slice| self.slots.release(slice, now_ms));
        named_tables(frontend).for_each(|table| tables.release(table, now_ms));
        if let Some(set) = named_ranges(frontend) {
            self.ranges.release(set, now_ms);
        }
        self.addrs.remove(key, frontend);
    }

    /// Deletes those of `keys` that do not belong to the port that has them now. Whether there were any.
    pub(crate) fn sweep(
        &mut self,
        keys: BTreeSet<FrontendKey<A>>,
        owner: impl Fn(&FrontendKey<A>) -> Option<u32>,
        tables: &mut Tables,
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
            self.unname(&key, &frontend, tables, now_ms);
            self.replaced.insert(key, frontend);
            draft.delete(key);
            swept = true;
        }
        swept
    }

    /// The kernel refused to store or delete `key`: it still holds what it held before the plan.
    pub(crate) fn failed(
        &mut self,
        key: FrontendKey<A>,
        claims: &mut Claims<A>,
        tables: &mut Tables,
        now_ms: u64,
    ) {
        let old = self.replaced.get(&key).copied();
        let planned = self.frontends.get(&key).copied();
        if let Some(old) = old {
            self.name(&key, &old, tables);
            self.frontends.insert(key, old);
        } else {
            self.frontends.remove(&key);
        }
        if let Some(planned) = planned {
            self.unname(&key, &planned, tables, now_ms);
        }
        self.refused.insert(key);
        claims.look_at(key);
    }

    /// The kernel refused to say what `addr` is.
    pub(crate) fn failed_addr(&mut self, addr: A) {
        self.addrs.failed(addr);
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

    /// When source ranges are to be removed.
    pub(crate) fn ranges_due(&self) -> Option<u64> {
        self.ranges.next_due()
    }

    /// Whether addresses wait for another try.
    pub(crate) fn addrs_due(&self) -> bool {
        self.addrs.is_due()
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
