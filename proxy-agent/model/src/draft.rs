//! Collects the operations of a plan by phase, and puts the phases in order.
//!
//! The order is what makes every prefix safe: whatever a frontend names is complete before it is named, and stays until nobody
//! names it any more.

use proxy_common::key::FrontendKey;
use proxy_common::value::{Frontend, backend_state};

use crate::family::Family;
use crate::ids::BackendIds;
use crate::plan::MapOp;
use crate::unit::{Run, Turns};

/// Elements in one operation, so that a batch's buffers stay small.
const BATCH: usize = 4_096;

/// The operations of one family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft<A> {
    writes: Vec<Run<A>>,
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

    pub(crate) fn upsert(&mut self, key: FrontendKey<A>, frontend: Frontend) {
        self.upserts.push((key, frontend));
    }

    pub(crate) fn delete(&mut self, key: FrontendKey<A>) {
        self.deletes.push(key);
    }
}

/// The plan: new backends, then frontends, then what nobody names any more.
pub(crate) fn assemble<A: Family, B: Family>(
    one: Draft<A>,
    two: Draft<B>,
    turns: &Turns,
    ids: &BackendIds,
) -> Vec<MapOp> {
    let states = |turned: &[u32], state| -> Vec<MapOp> {
        turned
            .iter()
            .map(|&id| MapOp::WriteState {
                id,
                state: ids.state(id, state),
            })
            .collect()
    };
    let mut ops = states(&turns.activate, backend_state::ACTIVE);
    ops.extend(
        one.writes
            .into_iter()
            .map(|(offset, backends)| A::write(offset, backends)),
    );
    ops.extend(
        two.writes
            .into_iter()
            .map(|(offset, backends)| B::write(offset, backends)),
    );
    ops.extend(batches(one.upserts).map(A::upsert));
    ops.extend(batches(two.upserts).map(B::upsert));
    ops.extend(batches(one.deletes).map(A::delete));
    ops.extend(batches(two.deletes).map(B::delete));
    ops.extend(states(&turns.drain, backend_state::DRAINING));
    ops.extend(states(&turns.retire, backend_state::GONE));
    ops
}

fn batches<T>(mut items: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let rest = items.split_off(items.len().min(BATCH));
        let batch = std::mem::replace(&mut items, rest);
        (!batch.is_empty()).then_some(batch)
    })
}
