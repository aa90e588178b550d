//! Whether maps in memory could make a packet go wrong: what must hold after every single operation of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use proxy_common::addr::Addr;
use proxy_common::flags::{AddrFlags, FrontendFlags};
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend, backend_sets, backend_state};

use crate::memory::MemoryMaps;

/// Why the maps would misbehave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// A frontend names a slot that was never written.
    #[error("frontend {frontend} names empty slot {slot}")]
    EmptySlot {
        /// The frontend.
        frontend: String,
        /// The slot.
        slot: u32,
    },
    /// A frontend names a backend that may get no connections, or that has another owner by now.
    #[error(
        "frontend {frontend} names slot {slot} with backend {id}.{generation}, whose state is {state:?}"
    )]
    WrongBackend {
        /// The frontend.
        frontend: String,
        /// The slot.
        slot: u32,
        /// Backend id.
        id: u32,
        /// Generation in the slot.
        generation: u32,
        /// The state of the id.
        state: BackendState,
    },
    /// A frontend names a backend that is not in the set that it is named for.
    #[error("frontend {frontend} names backend {id} for a set that its state {state:?} leaves out")]
    WrongSet {
        /// The frontend.
        frontend: String,
        /// Backend id.
        id: u32,
        /// The state of the id.
        state: BackendState,
    },
    /// A frontend names a set of source ranges that is empty.
    #[error("frontend {frontend} names source ranges {set}, which are empty")]
    NoRanges {
        /// The frontend.
        frontend: String,
        /// The set.
        set: u32,
    },
    /// A frontend names a Maglev table that was never written, or that is not one of its slice.
    #[error(
        "frontend {frontend} names a table at {offset} that does not go with its {count} backends"
    )]
    WrongTable {
        /// The frontend.
        frontend: String,
        /// First word.
        offset: u32,
        /// Backends of the slice.
        count: u32,
    },
    /// An address is virtual, but has no frontend.
    #[error("address {0} is virtual, but has no frontend")]
    NoFrontend(IpAddr),
}

impl MemoryMaps {
    /// Whether a packet could go wrong now. Every slot that a frontend names must hold an ACTIVE backend of the id's generation and
    /// in the set that it is named for; its source ranges and Maglev tables must be there; a virtual address must have a frontend.
    pub fn check(&self) -> Result<(), Unsound> {
        let v4 = Maps {
            frontends: &self.frontends4,
            backends: &self.backends4,
            states: &self.states,
            addrs: &self.addrs4,
            ranges: &self.ranges4,
            tables: &self.tables,
        };
        let v6 = Maps {
            frontends: &self.frontends6,
            backends: &self.backends6,
            states: &self.states,
            addrs: &self.addrs6,
            ranges: &self.ranges6,
            tables: &self.tables,
        };
        v4.check()?;
        v6.check()
    }
}

/// The maps of one family.
struct Maps<'a, A> {
    frontends: &'a BTreeMap<FrontendKey<A>, Frontend>,
    backends: &'a BTreeMap<u32, Backend<A>>,
    states: &'a BTreeMap<u32, BackendState>,
    addrs: &'a BTreeMap<A, AddrFlags>,
    ranges: &'a BTreeSet<(u32, A, u8)>,
    tables: &'a BTreeMap<u32, Arc<[u16]>>,
}

const LOCALS: [FrontendFlags; 3] = [
    FrontendFlags::LOCAL_INSIDE,
    FrontendFlags::LOCAL_OUTSIDE,
    FrontendFlags::LOCAL_HOST,
];

impl<A: Addr> Maps<'_, A> {
    fn check(&self) -> Result<(), Unsound> {
        for (key, frontend) in self.frontends {
            let name = || crate::dump::frontend(key);
            for (local, slice) in LOCALS.into_iter().zip(frontend.slices) {
                let local = frontend.flags.has(local);
                for slot in slice.offset..slice.offset.saturating_add(slice.count) {
                    self.check_slot(slot, local, name)?;
                }
                let table = frontend.tables[usize::from(local)];
                self.check_table(table, slice.count, name)?;
            }
            let set = frontend.ranges;
            let mut ranges = self.ranges.iter().map(|(set, _, _)| *set);
            if frontend.flags.has(FrontendFlags::RANGES) && !ranges.any(|known| known == set) {
                let frontend = name();
                return Err(Unsound::NoRanges { frontend, set });
            }
        }
        let with_frontend: BTreeSet<A> = self.frontends.keys().map(|key| key.addr).collect();
        let mut alone = self
            .addrs
            .iter()
            .filter(|(addr, flags)| flags.has(AddrFlags::VIRTUAL) && !with_frontend.contains(addr));
        match alone.next() {
            Some((addr, _)) => Err(Unsound::NoFrontend(addr.ip())),
            None => Ok(()),
        }
    }

    fn check_slot(
        &self,
        slot: u32,
        local: bool,
        frontend: impl Fn() -> String,
    ) -> Result<(), Unsound> {
        let known = self.backends.get(&slot).copied();
        let Some(Backend { id, generation, .. }) = known.filter(|backend| backend.id != 0) else {
            return Err(Unsound::EmptySlot {
                frontend: frontend(),
                slot,
            });
        };
        let state = self.states.get(&id).copied().unwrap_or_default();
        if state.generation != generation || state.state != backend_state::ACTIVE {
            return Err(Unsound::WrongBackend {
                frontend: frontend(),
                slot,
                id,
                generation,
                state,
            });
        }
        let set = if local {
            backend_sets::LOCAL
        } else {
            backend_sets::CLUSTER
        };
        if state.sets & set == 0 {
            return Err(Unsound::WrongSet {
                frontend: frontend(),
                id,
                state,
            });
        }
        Ok(())
    }

    fn check_table(
        &self,
        offset: u32,
        count: u32,
        frontend: impl Fn() -> String,
    ) -> Result<(), Unsound> {
        let right = |entries: &Arc<[u16]>| {
            let mut named = vec![false; usize::try_from(count).unwrap_or_default()];
            let mut known = entries.iter().map(|entry| {
                let named = named.get_mut(usize::from(*entry));
                named.map(|named| *named = true).is_some()
            });
            known.all(|known| known) && named.into_iter().all(|named| named)
        };
        if offset == 0 || self.tables.get(&offset).is_some_and(right) {
            return Ok(());
        }
        Err(Unsound::WrongTable {
            frontend: frontend(),
            offset,
            count,
        })
    }
}
