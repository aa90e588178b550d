//! What an earlier run left in the maps of one family: ids and slices to go on with. Trusts nothing that it reads; what does
//! not add up is left out, and the first plan writes it anew.

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::be::Be16;
use proxy_common::flags::{BackendFlags, FrontendFlags};
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend, Slice, backend_state};

use crate::desired::Sets;
use crate::endpoint::Facts;
use crate::family::Family;
use crate::slots::Slots;
use crate::unit::{Held, Unit};

/// Backends that only drain: no frontend names them any more, but their last slot still says who they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spare<A>(BTreeMap<(A, Be16), Vec<u32>>);

impl<A: Ord> Spare<A> {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The id of a draining backend.
    pub(crate) fn take(&mut self, place: &(A, Be16)) -> Option<u32> {
        self.0.get_mut(place)?.pop()
    }

    /// Undoes [`Self::take`].
    pub(crate) fn put_back(&mut self, place: (A, Be16), id: u32) {
        self.0.entry(place).or_default().push(id);
    }

    /// The ids that nobody took.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.values().flatten().copied()
    }
}

/// What was found in one family.
#[derive(Clone, Debug)]
pub(crate) struct Recovered<A> {
    /// By service id.
    pub(crate) units: BTreeMap<u32, Unit<A>>,
    pub(crate) spare: Spare<A>,
}

/// A set as a frontend names it.
#[derive(Clone, Copy, Debug)]
struct Named {
    slice: Slice,
    /// `IN_CLUSTER` or `IN_LOCAL`.
    set: Facts,
}

/// The sets of a frontend, by its LOCAL flags.
fn sets(frontend: &Frontend) -> impl Iterator<Item = Named> {
    let locals = [
        FrontendFlags::LOCAL_INSIDE,
        FrontendFlags::LOCAL_OUTSIDE,
        FrontendFlags::LOCAL_HOST,
    ];
    let flags = frontend.flags;
    locals
        .into_iter()
        .zip(frontend.slices)
        .map(move |(local, slice)| Named {
            slice,
            set: if flags.has(local) {
                Facts::IN_LOCAL
            } else {
                Facts::IN_CLUSTER
            },
        })
}

/// Reads the maps of one family.
pub(crate) struct Reader<'a, A> {
    backends: Vec<(u32, Backend<A>)>,
    states: &'a BTreeMap<u32, BackendState>,
    /// Ids that have an owner.
    taken: &'a mut BTreeSet<u32>,
    /// Offsets that have an owner.
    seen: BTreeSet<u32>,
}

impl<'a, A: Family> Reader<'a, A> {
    /// `states` has usable ids only; `taken` collects those that found their owner.
    pub(crate) fn new(
        mut backends: Vec<(u32, Backend<A>)>,
        states: &'a BTreeMap<u32, BackendState>,
        taken: &'a mut BTreeSet<u32>,
    ) -> Self {
        backends.sort_by_key(|(slot, _)| *slot);
        backends.dedup_by_key(|(slot, _)| *slot);
        Self {
            backends,
            states,
            taken,
            seen: BTreeSet::new(),
        }
    }

    /// The units behind `frontends`, whose slices `slots` knows already.
    pub(crate) fn read(
        mut self,
        frontends: &BTreeMap<FrontendKey<A>, Frontend>,
        slots: &Slots,
    ) -> Recovered<A> {
        let mut by_service: BTreeMap<u32, Vec<Named>> = BTreeMap::new();
        for frontend in frontends.values() {
            let slices = by_service.entry(frontend.service).or_default();
            slices.extend(sets(frontend).filter(|named| slots.is_exact(named.slice)));
        }
        let units = by_service
            .into_iter()
            .map(|(service, slices)| (service, self.unit(&slices)))
            .collect();
        Recovered {
            units,
            spare: self.spare(),
        }
    }

    fn unit(&mut self, named: &[Named]) -> Unit<A> {
        let (mut held, mut sets) = (BTreeMap::new(), Sets::default());
        let mut good = BTreeMap::new();
        for Named { slice, set } in named.iter().filter(|named| named.slice.count > 0) {
            // A slice may be both sets', but only one port's.
            let usable = match good.get(&slice.offset) {
                Some(usable) => *usable,
                None => self.seen.insert(slice.offset) && self.learn(*slice, &mut held),
            };
            good.insert(slice.offset, usable);
            let place = if *set == Facts::IN_CLUSTER {
                &mut sets.cluster
            } else {
                &mut sets.local
            };
            if !usable || place.count > 0 {
                continue;
            }
            *place = *slice;
            for (_, slot) in slots_of(&self.backends, *slice) {
                if let Some(held) = held.get_mut(&(slot.addr, slot.port)) {
                    held.facts = held.facts.with(*set, true);
                }
            }
        }
        for held in held.values_mut() {
            let state = self.states.get(&held.id);
            let wanted = if held.facts.selected() {
                backend_state::ACTIVE
            } else {
                backend_state::DRAINING
            };
            let right =
                state.is_some_and(|state| (state.state, state.sets) == (wanted, held.facts.sets()));
            held.facts = held.facts.with(Facts::STATE_OFF, !right);
        }
        Unit {
            held: held.into_values().collect(),
            sets,
            ..Unit::default()
        }
    }

    /// Takes over the ids of a slice. Whether the slice as a whole is one that we would write for them.
    fn learn(&mut self, slice: Slice, held: &mut BTreeMap<(A, Be16), Held<A>>) -> bool {
        let slots = slots_of(&self.backends, slice);
        let places = slots.iter().map(|(_, slot)| (slot.addr, slot.port));
        let mut good =
            slots.len() == slice.count as usize && places.is_sorted_by(|one, next| one < next);
        for (_, slot) in slots {
            let Backend {
                addr,
                port,
                flags,
                id,
                generation,
            } = *slot;
            let state = self
                .states
                .get(&id)
                .filter(|state| state.generation == generation);
            let Some(state) = state.filter(|state| state.state != backend_state::GONE) else {
                good = false;
                continue;
            };
            let facts = Facts::default().with(Facts::LOCAL, flags == BackendFlags::LOCAL);
            let entry = Held {
                addr,
                id,
                port,
                facts,
            };
            if !held.contains_key(&(addr, port)) && self.taken.insert(id) {
                held.insert((addr, port), entry);
            }
            let known = held.get(&(addr, port)).is_some_and(|known| {
                known.id == id && known.facts.has(Facts::LOCAL) == facts.has(Facts::LOCAL)
            });
            good &= known
                && state.state == backend_state::ACTIVE
                && flags.0 & !BackendFlags::LOCAL.0 == 0;
        }
        good
    }

    /// Draining backends by the slots that were theirs: a generation has one owner, so an old slot does not lie.
    fn spare(&mut self) -> Spare<A> {
        let mut spare = Spare::new();
        for (_, slot) in &self.backends {
            let state = self
                .states
                .get(&slot.id)
                .filter(|state| state.generation == slot.generation);
            if state.is_some_and(|state| state.state == backend_state::DRAINING)
                && self.taken.insert(slot.id)
            {
                spare.put_back((slot.addr, slot.port), slot.id);
            }
        }
        spare
    }
}

fn slots_of<A>(backends: &[(u32, Backend<A>)], slice: Slice) -> &[(u32, Backend<A>)] {
    let start = backends.partition_point(|(slot, _)| *slot < slice.offset);
    let end =
        backends.partition_point(|(slot, _)| *slot < slice.offset.saturating_add(slice.count));
    backends.get(start..end).unwrap_or(&[])
}
