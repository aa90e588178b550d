//! Executes the planner's operations.

use aya::Pod;
use proxy_common::addr::Addr;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend, backend_state};
use proxy_model::{FrontendRef, MapOp};

use super::slots::Slots;
use super::table::Table;
use super::{Applied, Maps, cidrs, lut, ranges};
use crate::error::{Error, Result};
use crate::schema::{ADDRS_V4, ADDRS_V6};
use crate::sys::misc::to_words;

impl Maps {
    /// Executes `ops` in order. A refused element does not stop the rest.
    pub fn apply(&mut self, ops: &[MapOp]) -> Applied {
        let mut applied = Applied::default();
        for op in ops {
            match op {
                MapOp::WriteStates(states) => {
                    for (id, state) in states {
                        match self.write_state(*id, state) {
                            Ok(gone) => applied.gone |= gone,
                            Err(error) => applied.note(Err(error)),
                        }
                    }
                }
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
                MapOp::SetAddrs4(addrs) => {
                    let refused = applied.refused_addr(ADDRS_V4.name);
                    self.addrs.lock().v4.set_services(addrs, refused);
                }
                MapOp::SetAddrs6(addrs) => {
                    let refused = applied.refused_addr(ADDRS_V6.name);
                    self.addrs.lock().v6.set_services(addrs, refused);
                }
                MapOp::AddRanges4 { set, ranges } => {
                    let refused = applied.refused(self.ranges4.name());
                    ranges::add(&self.ranges4, *set, ranges, refused);
                }
                MapOp::AddRanges6 { set, ranges } => {
                    let refused = applied.refused(self.ranges6.name());
                    ranges::add(&self.ranges6, *set, ranges, refused);
                }
                MapOp::RemoveRanges4 { set, ranges } => {
                    let refused = applied.refused(self.ranges4.name());
                    ranges::remove(&self.ranges4, *set, ranges, refused);
                }
                MapOp::RemoveRanges6 { set, ranges } => {
                    let refused = applied.refused(self.ranges6.name());
                    ranges::remove(&self.ranges6, *set, ranges, refused);
                }
                MapOp::WriteTable { offset, entries } => {
                    applied.note(lut::write(&self.lut, *offset, entries));
                }
                MapOp::SetCidrs4 { local, services } => {
                    applied.note(cidrs::set(&self.cidrs4, *local, services));
                }
                MapOp::SetCidrs6 { local, services } => {
                    applied.note(cidrs::set(&self.cidrs6, *local, services));
                }
            }
        }
        applied
    }

    /// Generation, state and sets share a word, so a packet sees all or none. `active`, in the other, belongs to the programs:
    /// it counts connections of one owner of the id, so another generation begins with none. Whether the id had an owner and loses it.
    fn write_state(&self, id: u32, state: &BackendState) -> Result<bool> {
        let known = self.states.read(id)?.unwrap_or_default();
        let same = known.generation == state.generation;
        let gone =
            known.state != backend_state::GONE && (!same || state.state == backend_state::GONE);
        let [shared, none] = to_words::<BackendState, 2>(&BackendState {
            active: 0,
            ..*state
        });
        let words: &[u64] = if same { &[shared] } else { &[shared, none] };
        self.states.write_words(id, words).map(|()| gone)
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
    /// Takes the kernel's reason for refusing an element of `map`.
    fn refused(&mut self, map: &'static str) -> impl FnMut(std::io::Error) {
        move |error| {
            self.error
                .get_or_insert(Error::map(map, "changing an element")(error));
        }
    }

    /// As [`Self::refused`], and notes the address.
    fn refused_addr<A: Addr>(&mut self, map: &'static str) -> impl FnMut(A, std::io::Error) {
        move |addr, error| {
            self.failed_addrs.push(addr.ip());
            self.refused(map)(error);
        }
    }

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
