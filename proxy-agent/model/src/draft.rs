//! Collects the operations of a plan by phase, and puts the phases in order.
//!
//! The order is what makes every prefix safe: whatever a frontend names is complete before it is named, and stays until nobody
//! names it any more.

use std::sync::Arc;

use proxy_common::flags::AddrFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Frontend, backend_state};

use crate::family::{Cidrs, Family, Range};
use crate::ids::BackendIds;
use crate::plan::MapOp;
use crate::unit::{Run, Turns};

/// Elements in one operation, so that a batch's buffers stay small.
const BATCH: usize = 4_096;

/// The operations of one family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft<A> {
    writes: Vec<Run<A>>,
    new_ranges: Vec<(u32, Vec<Range<A>>)>,
    old_ranges: Vec<(u32, Vec<Range<A>>)>,
    addrs: Vec<(A, AddrFlags)>,
    cidrs: Vec<Cidrs<A>>,
    upserts: Vec<(FrontendKey<A>, Frontend)>,
    deletes: Vec<FrontendKey<A>>,
}

impl<A: Family> Draft<A> {
    /// Writes slots; runs that touch become one operation.
    pub(crate) fn write(&mut self, runs: Vec<Run<A>>) {
        for (offset, backends) in runs {
            match self.writes.last_mut() {
                Some((start, written))
                    if u32::try_from(written.len())
                        .is_ok_and(|len| start.checked_add(len) == Some(offset))
                        && written.len().saturating_add(backends.len()) <= BATCH =>
                {
                    written.extend(backends);
                }
                _ => self.writes.push((offset, backends)),
            }
        }
    }

    /// Adds a set that the frontends of this plan name.
    pub(crate) fn add_ranges(&mut self, set: u32, ranges: Vec<Range<A>>) {
        self.new_ranges.push((set, ranges));
    }

    /// Removes sets that no frontend names any more.
    pub(crate) fn remove_ranges(&mut self, sets: Vec<(u32, Vec<Range<A>>)>) {
        self.old_ranges.extend(sets);
    }

    /// Says what addresses are.
    pub(crate) fn set_addrs(&mut self, addrs: Vec<(A, AddrFlags)>) {
        self.addrs.extend(addrs);
    }

    /// Replaces CIDRS, in this order: before the frontends all but the last of them.
    pub(crate) fn set_cidrs(&mut self, cidrs: Vec<Cidrs<A>>) {
        self.cidrs = cidrs;
    }

    pub(crate) fn upsert(&mut self, key: FrontendKey<A>, frontend: Frontend) {
        self.upserts.push((key, frontend));
    }

    pub(crate) fn delete(&mut self, key: FrontendKey<A>) {
        self.deletes.push(key);
    }
}

/// The operations of one family, by phase.
struct Phases {
    /// What frontends name.
    before: Vec<MapOp>,
    upserts: Vec<MapOp>,
    /// Between the frontends that come and those that go.
    addrs: Vec<MapOp>,
    deletes: Vec<MapOp>,
    /// What frontends named.
    after: Vec<MapOp>,
}

impl<A: Family> Draft<A> {
    fn phases(self) -> Phases {
        let Self {
            writes,
            new_ranges,
            old_ranges,
            addrs,
            cidrs,
            upserts,
            deletes,
        } = self;
        let mut cidrs: Vec<MapOp> = cidrs.into_iter().map(A::set_cidrs).collect();
        // ServiceCIDRs come last: what is no Service's address is known only then.
        let last = cidrs.pop();
        let mut before = cidrs;
        before.extend(
            writes
                .into_iter()
                .map(|(offset, run)| A::write(offset, run)),
        );
        before.extend(
            new_ranges
                .into_iter()
                .map(|(set, ranges)| A::add_ranges(set, ranges)),
        );
        let mut after: Vec<MapOp> = old_ranges
            .into_iter()
            .map(|(set, ranges)| A::remove_ranges(set, ranges))
            .collect();
        after.extend(last);
        Phases {
            before,
            upserts: batches(upserts).map(A::upsert).collect(),
            addrs: batches(addrs).map(A::set_addrs).collect(),
            deletes: batches(deletes).map(A::delete).collect(),
            after,
        }
    }
}

/// The plan: new backends, then frontends, then what nobody names any more.
pub(crate) fn assemble<A: Family, B: Family>(
    one: Draft<A>,
    two: Draft<B>,
    tables: Vec<(u32, Arc<[u16]>)>,
    turns: &Turns,
    ids: &BackendIds,
) -> Vec<MapOp> {
    let in_sets = |turned: &[(u32, u16)]| -> Vec<MapOp> {
        let write = |&(id, sets): &_| (id, ids.state(id, backend_state::ACTIVE, sets));
        let batches = turned.chunks(BATCH);
        batches
            .map(|batch| MapOp::WriteStates(batch.iter().map(write).collect()))
            .collect()
    };
    let in_none = |turned: &[u32], state| -> Vec<MapOp> {
        let write = |&id: &_| (id, ids.state(id, state, 0));
        let batches = turned.chunks(BATCH);
        batches
            .map(|batch| MapOp::WriteStates(batch.iter().map(write).collect()))
            .collect()
    };
    let (one, two) = (one.phases(), two.phases());
    let tables = tables
        .into_iter()
        .map(|(offset, entries)| MapOp::WriteTable { offset, entries });
    let phases = [
        in_sets(&turns.activate),
        one.before,
        two.before,
        tables.collect(),
        one.upserts,
        two.upserts,
        one.addrs,
        two.addrs,
        one.deletes,
        two.deletes,
        in_sets(&turns.narrow),
        in_none(&turns.drain, backend_state::DRAINING),
        in_none(&turns.retire, backend_state::GONE),
        one.after,
        two.after,
    ];
    let mut ops = Vec::with_capacity(phases.iter().map(Vec::len).sum());
    ops.extend(phases.into_iter().flatten());
    ops
}

fn batches<T>(mut items: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let rest = items.split_off(items.len().min(BATCH));
        let batch = std::mem::replace(&mut items, rest);
        (!batch.is_empty()).then_some(batch)
    })
}
