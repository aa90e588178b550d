//! A `ServicePort` as the maps of one family hold it, and the step from one such state to the next.

use proxy_common::be::Be16;
use proxy_common::flags::BackendFlags;
use proxy_common::value::{Backend, Slice, backend_sets};

use crate::applied::Step;
use crate::cluster::PortIndex;
use crate::desired::{NoLocal, Sets};
use crate::endpoint::{Candidate, Facts};
use crate::family::Family;
use crate::ids::BackendIds;
use crate::maglev::{self, Members};
use crate::policy::Algorithm;
use crate::recover::Spare;
use crate::rules::Offsets;
use crate::slots::Slots;
use crate::tables::{Standing, TableId};

/// A backend with its id: 12 bytes for IPv4, there are a million of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held<A> {
    pub(crate) addr: A,
    pub(crate) id: u32,
    pub(crate) port: Be16,
    /// LOCAL, `IN_CLUSTER`, `IN_LOCAL`. In no set: it only drains.
    pub(crate) facts: Facts,
}

/// What to write: first slot, and contents.
pub(crate) type Run<A> = (u32, Vec<Backend<A>>);

/// What is kept of the facts of an endpoint.
const KEPT: Facts = Facts::LOCAL
    .with(Facts::IN_CLUSTER, true)
    .with(Facts::IN_LOCAL, true);

/// All sets that a backend can be in.
const EVERY_SET: u16 = backend_sets::CLUSTER | backend_sets::LOCAL;

/// What the maps hold of a `ServicePort`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unit<A> {
    /// In order of address and port. The sets' contents are those with the set's fact, in this order.
    pub(crate) held: Box<[Held<A>]>,
    pub(crate) sets: Sets,
    pub(crate) no_local: NoLocal,
    /// Maglev tables of clusterEndpoints and localEndpoints.
    pub(crate) tables: [Option<TableId>; 2],
}

/// Which ids change their state in a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    /// To ACTIVE, in these sets, before any frontend names them there.
    pub(crate) activate: Vec<(u32, u16)>,
    /// Still ACTIVE, but in these sets only, after the last frontend named them in the others.
    pub(crate) narrow: Vec<(u32, u16)>,
    /// To DRAINING, after the last frontend named them.
    pub(crate) drain: Vec<u32>,
    /// To GONE, after the last frontend named them.
    pub(crate) retire: Vec<u32>,
}

impl<A: Family> Held<A> {
    fn new(candidate: &Candidate<A>, id: u32) -> Self {
        Self {
            addr: candidate.addr,
            id,
            port: candidate.port,
            facts: candidate.facts.only(KEPT),
        }
    }

    /// The slot that says so.
    fn slot(&self, ids: &BackendIds) -> Backend<A> {
        let flags = if self.facts.has(Facts::LOCAL) {
            BackendFlags::LOCAL
        } else {
            BackendFlags(0)
        };
        Backend {
            addr: self.addr,
            port: self.port,
            flags,
            id: self.id,
            generation: ids.generation(self.id),
        }
    }
}

impl Turns {
    /// These turns, then `more`.
    pub(crate) fn extend(&mut self, more: Self) {
        let Self {
            activate,
            narrow,
            drain,
            retire,
        } = more;
        self.activate.extend(activate);
        self.narrow.extend(narrow);
        self.drain.extend(drain);
        self.retire.extend(retire);
    }
}

/// The backends of a step, and which ids it took.
#[derive(Debug)]
pub(crate) struct Holding<A> {
    pub(crate) held: Vec<Held<A>>,
    pub(crate) turns: Turns,
    taken: Vec<u32>,
    recovered: Vec<((A, Be16), u32)>,
}

impl<A: Family> Holding<A> {
    /// Gives back the ids that the step took.
    pub(crate) fn undo(self, ids: &mut BackendIds, spare: &mut Spare<A>) {
        self.taken.into_iter().for_each(|id| ids.cancel(id));
        self.recovered
            .into_iter()
            .for_each(|(place, id)| spare.put_back(place, id));
    }

    fn take(
        &mut self,
        place: (A, Be16),
        selected: bool,
        ids: &mut BackendIds,
        spare: &mut Spare<A>,
    ) -> Take {
        if let Some(id) = spare.take(&place) {
            self.recovered.push((place, id));
            return Take::Id(id);
        }
        if !selected {
            return Take::NotNeeded;
        }
        match ids.alloc() {
            Some(id) => {
                self.taken.push(id);
                Take::Id(id)
            }
            None => Take::NoRoom,
        }
    }
}

enum Take {
    Id(u32),
    NotNeeded,
    NoRoom,
}

/// Gives every selected candidate an id: the one it has, or one of an earlier run, or a new one. Candidates in no set keep
/// theirs while they serve (SEMANTICS 10.4, 16.1). `None`: there are not enough ids, and nothing was taken.
pub(crate) fn hold<A: Family>(
    old: &[Held<A>],
    candidates: &[Candidate<A>],
    ids: &mut BackendIds,
    spare: &mut Spare<A>,
) -> Option<Holding<A>> {
    let held = Vec::with_capacity(candidates.len());
    let mut new = Holding {
        held,
        turns: Turns::default(),
        taken: Vec::new(),
        recovered: Vec::new(),
    };
    let mut old = old.iter().peekable();
    for candidate in candidates {
        let place = (candidate.addr, candidate.port);
        while let Some(gone) = old.next_if(|old| (old.addr, old.port) < place) {
            new.turns.retire.push(gone.id);
        }
        let known = old.next_if(|old| (old.addr, old.port) == place);
        let selected = candidate.facts.selected();
        if !selected && !candidate.facts.has(Facts::SERVING) {
            new.turns.retire.extend(known.map(|known| known.id));
            continue;
        }
        let id = match known {
            Some(known) => known.id,
            None => match new.take(place, selected, ids, spare) {
                Take::Id(id) => id,
                Take::NotNeeded => continue,
                Take::NoRoom => {
                    new.undo(ids, spare);
                    return None;
                }
            },
        };
        let right = known.filter(|known| !known.facts.has(Facts::STATE_OFF));
        match (right.map(|known| known.facts.selected()), selected) {
            (right, true) => {
                let sets = candidate.facts.sets();
                // A state that is not as we would have written it: frontends of an earlier run may name the backend in any set.
                let old = match known {
                    Some(known) if known.facts.has(Facts::STATE_OFF) => EVERY_SET,
                    Some(known) => known.facts.sets(),
                    None => 0,
                };
                if right != Some(true) || sets & !old != 0 {
                    new.turns.activate.push((id, old | sets));
                }
                if old & !sets != 0 {
                    new.turns.narrow.push((id, sets));
                }
            }
            (Some(true), false) => new.turns.drain.push(id),
            (None, false) if known.is_some() => new.turns.drain.push(id),
            _ => {}
        }
        new.held.push(Held::new(candidate, id));
    }
    new.turns.retire.extend(old.map(|gone| gone.id));
    Some(new)
}

/// Slots for the sets of `held`: the old ones where the contents are the same, one for both sets where those are equal. With
/// them, what to write. `None`: there is not enough room, and nothing was taken.
pub(crate) fn place<A: Family>(
    old: &Unit<A>,
    held: &[Held<A>],
    slots: &mut Slots,
    ids: &BackendIds,
) -> Option<(Sets, Vec<Run<A>>)> {
    let mut writes = Vec::new();
    let mut find = |set: Facts, writes: &mut Vec<Run<A>>| {
        let count = u32::try_from(members(held, set).count()).ok()?;
        if count == 0 {
            return Some(Slice::default());
        }
        for (old_set, slice) in [
            (Facts::IN_CLUSTER, old.sets.cluster),
            (Facts::IN_LOCAL, old.sets.local),
        ] {
            if slice.count == count && members(&old.held, old_set).eq(members(held, set)) {
                return Some(slice);
            }
        }
        let slice = slots.alloc(count)?;
        let slots = held
            .iter()
            .filter(|held| held.facts.has(set))
            .map(|held| held.slot(ids));
        writes.push((slice.offset, slots.collect()));
        Some(slice)
    };
    let cluster = find(Facts::IN_CLUSTER, &mut writes)?;
    let equal = members(held, Facts::IN_CLUSTER).eq(members(held, Facts::IN_LOCAL));
    let local = if equal {
        Some(cluster)
    } else {
        find(Facts::IN_LOCAL, &mut writes)
    };
    let Some(local) = local else {
        if !writes.is_empty() {
            slots.cancel(cluster);
        }
        return None;
    };
    Some((Sets { cluster, local }, writes))
}

/// What the slots of `set` say. The generation goes without saying: as long as an id is held, it has one.
fn members<A: Family>(held: &[Held<A>], set: Facts) -> impl Iterator<Item = (A, Be16, u32, bool)> {
    let members = held.iter().filter(move |held| held.facts.has(set));
    members.map(|held| (held.addr, held.port, held.id, held.facts.has(Facts::LOCAL)))
}

/// Tables for the sets of `held`, and where they stand.
pub(crate) fn want_tables<A: Family>(
    port: PortIndex,
    algorithm: Algorithm,
    held: &[Held<A>],
    step: &mut Step<'_, A>,
) -> ([Option<TableId>; 2], Offsets) {
    let (mut tables, mut offsets) = ([None; 2], [0; 2]);
    if algorithm != Algorithm::Maglev {
        return (tables, offsets);
    }
    let sets = [Facts::IN_CLUSTER, Facts::IN_LOCAL].into_iter();
    for ((set, table), offset) in sets.zip(&mut tables).zip(&mut offsets) {
        let members = addresses(held, set);
        if members.len() < 2 {
            continue;
        }
        if maglev::size(members.len()).is_none() {
            *step.tableless = true;
            continue;
        }
        let (id, standing) = step.tables.want(port, members);
        *table = Some(id);
        match standing {
            Standing::At(word) => *offset = word,
            Standing::Soon => {}
            Standing::NoRoom => *step.tableless = true,
        }
    }
    (tables, offsets)
}

/// The addresses of `set`, in the order of its slots.
pub(crate) fn addresses<A: Family>(held: &[Held<A>], set: Facts) -> Members {
    let members = held.iter().filter(|held| held.facts.has(set));
    members.map(|held| held.addr.words()).collect()
}
