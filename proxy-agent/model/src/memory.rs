//! The maps in memory: performs plans as the kernel would. For tests, and for commands that work on a stored state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proxy_common::addr::{Addr, V4, V6};
use proxy_common::flags::AddrFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend, LutWord};

use crate::plan::{Dump, MapOp};

/// The local pods' range, and the `ServiceCIDR`s.
pub type Cidrs<A> = (Option<(A, u8)>, Vec<(A, u8)>);

/// The maps that plans are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMaps {
    /// `FRONTENDS_V4`.
    pub frontends4: BTreeMap<FrontendKey<V4>, Frontend>,
    /// `FRONTENDS_V6`.
    pub frontends6: BTreeMap<FrontendKey<V6>, Frontend>,
    /// `BACKENDS_V4`; what is absent is zero.
    pub backends4: BTreeMap<u32, Backend<V4>>,
    /// `BACKENDS_V6`; what is absent is zero.
    pub backends6: BTreeMap<u32, Backend<V6>>,
    /// `BACKEND_STATE`; what is absent is zero.
    pub states: BTreeMap<u32, BackendState>,
    /// `ADDRS_V4`, the planner's bits.
    pub addrs4: BTreeMap<V4, AddrFlags>,
    /// `ADDRS_V6`, the planner's bits.
    pub addrs6: BTreeMap<V6, AddrFlags>,
    /// `SOURCE_RANGES_V4`: set, network, prefix length.
    pub ranges4: BTreeSet<(u32, V4, u8)>,
    /// `SOURCE_RANGES_V6`: set, network, prefix length.
    pub ranges6: BTreeSet<(u32, V6, u8)>,
    /// LUT: Maglev tables by their first word.
    pub tables: BTreeMap<u32, Arc<[u16]>>,
    /// `CIDRS_V4`: the local pods' range, and the `ServiceCIDR`s.
    pub cidrs4: Cidrs<V4>,
    /// `CIDRS_V6`: the local pods' range, and the `ServiceCIDR`s.
    pub cidrs6: Cidrs<V6>,
}

impl MemoryMaps {
    /// Performs a plan.
    pub fn apply(&mut self, ops: &[MapOp]) {
        for op in ops {
            self.apply_one(op);
        }
    }

    /// Performs one operation.
    pub fn apply_one(&mut self, op: &MapOp) {
        match op {
            MapOp::WriteStates(states) => {
                for (id, state) in states {
                    // Connections of an earlier owner of the id do not count.
                    let same = |known: &&BackendState| known.generation == state.generation;
                    let known = self.states.get(id).filter(same);
                    let active = known.map_or(0, |known| known.active);
                    self.states.insert(*id, BackendState { active, ..*state });
                }
            }
            MapOp::WriteBackends4 { offset, backends } => self
                .backends4
                .extend((*offset..).zip(backends.iter().copied())),
            MapOp::WriteBackends6 { offset, backends } => self
                .backends6
                .extend((*offset..).zip(backends.iter().copied())),
            MapOp::UpsertFrontends4(frontends) => self.frontends4.extend(frontends.iter().copied()),
            MapOp::UpsertFrontends6(frontends) => self.frontends6.extend(frontends.iter().copied()),
            MapOp::DeleteFrontends4(keys) => keys.iter().for_each(|key| {
                self.frontends4.remove(key);
            }),
            MapOp::DeleteFrontends6(keys) => keys.iter().for_each(|key| {
                self.frontends6.remove(key);
            }),
            MapOp::SetAddrs4(addrs) => set_addrs(&mut self.addrs4, addrs),
            MapOp::SetAddrs6(addrs) => set_addrs(&mut self.addrs6, addrs),
            MapOp::AddRanges4 { set, ranges } => self
                .ranges4
                .extend(ranges.iter().map(|(addr, bits)| (*set, *addr, *bits))),
            MapOp::AddRanges6 { set, ranges } => self
                .ranges6
                .extend(ranges.iter().map(|(addr, bits)| (*set, *addr, *bits))),
            MapOp::RemoveRanges4 { set, ranges } => ranges.iter().for_each(|(addr, bits)| {
                self.ranges4.remove(&(*set, *addr, *bits));
            }),
            MapOp::RemoveRanges6 { set, ranges } => ranges.iter().for_each(|(addr, bits)| {
                self.ranges6.remove(&(*set, *addr, *bits));
            }),
            MapOp::WriteTable { offset, entries } => self.write_table(*offset, entries),
            MapOp::SetCidrs4 { local, services } => self.cidrs4 = (*local, services.clone()),
            MapOp::SetCidrs6 { local, services } => self.cidrs6 = (*local, services.clone()),
        }
    }

    fn write_table(&mut self, offset: u32, entries: &Arc<[u16]>) {
        let end = |offset: u32, entries: &Arc<[u16]>| {
            let words = entries.len().div_ceil(LutWord::default().0.len());
            (offset as usize).saturating_add(words).saturating_add(1)
        };
        let last = end(offset, entries);
        self.tables
            .retain(|known, old| *known as usize >= last || end(*known, old) <= offset as usize);
        self.tables.insert(offset, Arc::clone(entries));
    }

    /// The contents, as they would be read from the kernel.
    pub fn dump(&self) -> Dump {
        Dump {
            frontends4: self
                .frontends4
                .iter()
                .map(|(key, value)| (*key, *value))
                .collect(),
            frontends6: self
                .frontends6
                .iter()
                .map(|(key, value)| (*key, *value))
                .collect(),
            backends4: self
                .backends4
                .iter()
                .map(|(slot, value)| (*slot, *value))
                .collect(),
            backends6: self
                .backends6
                .iter()
                .map(|(slot, value)| (*slot, *value))
                .collect(),
            states: self
                .states
                .iter()
                .map(|(id, value)| (*id, *value))
                .collect(),
            addrs4: self.addrs4.iter().map(|(a, f)| (*a, *f)).collect(),
            addrs6: self.addrs6.iter().map(|(a, f)| (*a, *f)).collect(),
            ranges4: self.ranges4.iter().copied().collect(),
            ranges6: self.ranges6.iter().copied().collect(),
            tables: self
                .tables
                .iter()
                .map(|(at, entries)| (*at, Arc::clone(entries)))
                .collect(),
        }
    }
}

fn set_addrs<A: Addr>(known: &mut BTreeMap<A, AddrFlags>, addrs: &[(A, AddrFlags)]) {
    for (addr, flags) in addrs {
        if *flags == AddrFlags::default() {
            known.remove(addr);
        } else {
            known.insert(*addr, *flags);
        }
    }
}
