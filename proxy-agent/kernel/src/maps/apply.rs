//! Executes the planner's operations.

use aya::Pod;
use proxy_common::addr::Addr;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend};
use proxy_model::{FrontendRef, MapOp};

use super::slots::Slots;
use super::table::Table;
use super::{Applied, Maps};
use crate::error::{Error, Result};
use crate::sys::misc::to_words;

impl Maps {
    /// Executes `ops` in order. A refused element does not stop the rest.
    pub fn apply(&mut self, ops: &[MapOp]) -> Applied {
        let mut applied = Applied::default();
        for op in ops {
            match op {
                MapOp::WriteState { id, state } => applied.note(self.write_state(*id, state)),
                MapOp::WriteBackends4 { offset, backends } => {
                    applied.note(write_run(&self.backends4, *offset, backends));
                }
                MapOp::WriteBackends6 { offset, backends } => {
                    applied.note(write_run(&self.backends6, *offset, backends));
                }
                MapOp::UpsertFrontends4(elements) => {
                    applied.upsert(&self.frontends4, elements, FrontendRef::V4);
                }
                MapOp::UpsertFrontends6(elements) => {
                    applied.upsert(&self.frontends6, elements, FrontendRef::V6);
                }
                MapOp::DeleteFrontends4(keys) => {
                    applied.delete(&self.frontends4, keys, FrontendRef::V4);
                }
                MapOp::DeleteFrontends6(keys) => {
                    applied.delete(&self.frontends6, keys, FrontendRef::V6);
                }
                MapOp::SetAddrs4(_)
                | MapOp::SetAddrs6(_)
                | MapOp::AddRanges4 { .. }
                | MapOp::AddRanges6 { .. }
                | MapOp::RemoveRanges4 { .. }
                | MapOp::RemoveRanges6 { .. }
                | MapOp::WriteTable { .. }
                | MapOp::SetCidrs4 { .. }
                | MapOp::SetCidrs6 { .. } => {}
            }
        }
        applied
    }

    /// Generation and state share a word, so a packet sees both or neither; `active`, in the other, belongs to the programs.
    fn write_state(&self, id: u32, state: &BackendState) -> Result<()> {
        let [generation_and_state, _active] = to_words::<BackendState, 2>(state);
        self.states.write_words(id, &[generation_and_state])
    }
}

fn write_run<A: Addr, const N: usize>(
    slots: &Slots<Backend<A>, N>,
    offset: u32,
    backends: &[Backend<A>],
) -> Result<()>
where
    Backend<A>: Pod,
{
    (offset..)
        .zip(backends)
        .try_for_each(|(slot, backend)| slots.write(slot, backend))
}

impl Applied {
    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }

    fn upsert<A: Addr>(
        &mut self,
        table: &Table<FrontendKey<A>, Frontend>,
        elements: &[(FrontendKey<A>, Frontend)],
        name: fn(FrontendKey<A>) -> FrontendRef,
    ) where
        FrontendKey<A>: Pod,
    {
        let (keys, values): (Vec<_>, Vec<_>) = elements.iter().copied().unzip();
        table.update_all(&keys, &values, |key, error| {
            self.failed.push(name(*key));
            self.error
                .get_or_insert(Error::map(table.name(), "setting a frontend")(error));
        });
    }

    fn delete<A: Addr>(
        &mut self,
        table: &Table<FrontendKey<A>, Frontend>,
        keys: &[FrontendKey<A>],
        name: fn(FrontendKey<A>) -> FrontendRef,
    ) where
        FrontendKey<A>: Pod,
    {
        table.delete_all(keys, |key, error| {
            self.failed.push(name(*key));
            self.error
                .get_or_insert(Error::map(table.name(), "removing a frontend")(error));
        });
    }
}
