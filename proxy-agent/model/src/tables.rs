//! Which Maglev tables there are, who uses them, and where in LUT they stand. Building them is the agent's business: it takes time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proxy_common::limits;
use proxy_common::value::Slice;

use crate::cluster::PortIndex;
use crate::maglev::{Members, build, size, words};
use crate::slots::Slots;

/// Names a table, never another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TableId(u64);

/// A table to build: see [`crate::Planner::table_jobs`].
#[derive(Clone, Debug)]
pub struct TableJob {
    id: TableId,
    members: Members,
}

/// A table that was built.
#[derive(Clone, Debug)]
pub struct Table {
    id: TableId,
    entries: Arc<[u16]>,
}

impl TableJob {
    /// Builds the table: microseconds for ten backends, milliseconds for hundreds. Pure.
    pub fn build(self) -> Table {
        let entries = size(self.members.len()).map(|size| build(&self.members, size));
        Table {
            id: self.id,
            entries: entries.unwrap_or_default().into(),
        }
    }
}

#[derive(Clone, Debug)]
enum State {
    /// Handed out, or about to be.
    Unbuilt,
    /// Has no room yet.
    Built(Arc<[u16]>),
    Placed(Slice),
}

#[derive(Clone, Debug)]
struct Known {
    members: Members,
    /// With how many of its sets each uses the table.
    users: BTreeMap<PortIndex, u32>,
    state: State,
}

/// How a table that is asked for stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In LUT, from this word on.
    At(u32),
    /// Not yet built, or not yet written.
    Soon,
    /// LUT has no room.
    NoRoom,
}

/// What found room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placed {
    /// First word, and entries.
    pub(crate) writes: Vec<(u32, Arc<[u16]>)>,
    /// Who has to look at their tables again.
    pub(crate) users: BTreeSet<PortIndex>,
}

/// All tables.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    known: BTreeMap<TableId, Known>,
    by_members: BTreeMap<Members, TableId>,
    next: u64,
    jobs: Vec<TableId>,
    /// Built since the last plan, or waiting for room that there may be now.
    ready: BTreeSet<TableId>,
    /// Built, and there was no room.
    crowded: BTreeSet<TableId>,
    /// What LUT holds of an earlier run, by first word, less what was taken over; until the first plan.
    found: BTreeMap<u32, Arc<[u16]>>,
    room: Slots,
}

impl Tables {
    /// No tables. Word 0 is none's: 0 says that there is no table.
    pub(crate) fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            by_members: BTreeMap::new(),
            next: 0,
            jobs: Vec::new(),
            ready: BTreeSet::new(),
            crowded: BTreeSet::new(),
            found: BTreeMap::new(),
            room: Slots::new(1..limits::LUT),
        }
    }

    /// `port` uses the table of `members`; call [`Self::leave`] as often as this.
    pub(crate) fn want(&mut self, port: PortIndex, members: Members) -> (TableId, Standing) {
        let known = self.by_members.get(&members).copied();
        let id = known.unwrap_or_else(|| {
            let id = self.insert(members, State::Unbuilt);
            self.jobs.push(id);
            id
        });
        let mut standing = Standing::Soon;
        if let Some(known) = self.known.get_mut(&id) {
            let users = known.users.entry(port).or_default();
            *users = users.saturating_add(1);
            standing = match known.state {
                State::Placed(slice) => Standing::At(slice.offset),
                _ if self.crowded.contains(&id) => Standing::NoRoom,
                _ => Standing::Soon,
            };
        }
        (id, standing)
    }

    fn insert(&mut self, members: Members, state: State) -> TableId {
        let id = TableId(self.next);
        self.next = self.next.saturating_add(1);
        self.by_members.insert(Arc::clone(&members), id);
        let known = Known {
            members,
            users: BTreeMap::new(),
            state,
        };
        self.known.insert(id, known);
        id
    }

    /// `port` does not use the table any more. Frontends may still name it.
    pub(crate) fn leave(&mut self, port: PortIndex, id: TableId, now_ms: u64) {
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        if let Some(users) = known.users.get_mut(&port) {
            *users = users.saturating_sub(1);
            if *users == 0 {
                known.users.remove(&port);
            }
        }
        if known.users.is_empty() {
            self.forget(id, now_ms);
        }
    }

    fn forget(&mut self, id: TableId, now_ms: u64) {
        if let Some(known) = self.known.remove(&id) {
            self.by_members.remove(&known.members);
            if let State::Placed(slice) = known.state {
                self.room.release(slice, now_ms);
            }
        }
        self.ready.remove(&id);
        self.crowded.remove(&id);
    }

    /// One more name of a frontend for a table.
    pub(crate) fn retain(&mut self, table: Slice) {
        self.room.retain(table);
    }

    /// One name less.
    pub(crate) fn release(&mut self, table: Slice, now_ms: u64) {
        self.room.release(table, now_ms);
    }

    /// The tables to build that were not handed out yet.
    pub(crate) fn take_jobs(&mut self) -> Vec<TableJob> {
        let jobs = std::mem::take(&mut self.jobs);
        jobs.into_iter()
            .filter_map(|id| {
                let members = Arc::clone(&self.known.get(&id)?.members);
                Some(TableJob { id, members })
            })
            .collect()
    }

    /// A job is done. Nobody may want the table any more.
    pub(crate) fn done(&mut self, Table { id, entries }: Table) {
        if let Some(known) = self.known.get_mut(&id)
            && matches!(known.state, State::Unbuilt)
        {
            known.state = State::Built(entries);
            self.ready.insert(id);
        }
    }

    /// Whether [`Self::place`] has something to do.
    pub(crate) fn is_due(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When room comes back that a table waits for.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.room.next_due().filter(|_| !self.crowded.is_empty())
    }

    /// Finds room for what was built: what to write where, and who has to look.
    pub(crate) fn place(&mut self, now_ms: u64) -> Placed {
        if self.room.expire(now_ms) {
            self.ready.extend(&self.crowded);
        }
        let mut placed = Placed::default();
        for id in std::mem::take(&mut self.ready) {
            let Some(known) = self.known.get_mut(&id) else {
                continue;
            };
            let State::Built(entries) = &known.state else {
                continue;
            };
            let count = u16::try_from(entries.len()).map_or(0, words);
            let found = self.room.alloc(count);
            if let Some(slice) = found {
                // The table itself is a name too: it stays while somebody uses it, named by a frontend or not.
                self.room.retain(slice);
                placed.writes.push((slice.offset, Arc::clone(entries)));
                known.state = State::Placed(slice);
            }
            let changed = match found {
                Some(_) => {
                    self.crowded.remove(&id);
                    true
                }
                None => self.crowded.insert(id),
            };
            if changed {
                placed.users.extend(known.users.keys());
            }
        }
        placed
    }

    /// Takes over the tables that an earlier run left, and what its frontends name of them, one entry for each name.
    pub(crate) fn recover(
        &mut self,
        found: Vec<(u32, Arc<[u16]>)>,
        named: impl IntoIterator<Item = Slice>,
    ) {
        self.found = found.into_iter().collect();
        self.room.recover(named);
    }

    /// Frontends of an earlier run say that the table of `members` stands at `offset`. If it does, it is kept; if not, the first
    /// plan writes the right one elsewhere.
    pub(crate) fn adopt(&mut self, members: Members, offset: u32) {
        let (Some(table), Some(size)) = (place_of(offset, members.len()), size(members.len()))
        else {
            return;
        };
        if self.by_members.contains_key(&members) {
            return;
        }
        let entries = build(&members, size);
        let right = |found: &Arc<[u16]>| **found == *entries;
        if self.room.is_exact(table) && self.found.get(&offset).is_some_and(right) {
            self.found.remove(&offset);
            self.room.retain(table);
            self.insert(members, State::Placed(table));
        } else {
            let id = self.insert(members, State::Built(entries.into()));
            self.ready.insert(id);
        }
    }

    /// Gives up what nobody took of an earlier run.
    pub(crate) fn end_recovery(&mut self, now_ms: u64) {
        self.found.clear();
        let unused = self
            .known
            .iter()
            .filter(|(_, known)| known.users.is_empty());
        let unused: Vec<TableId> = unused.map(|(id, _)| *id).collect();
        for id in unused {
            self.forget(id, now_ms);
        }
    }
}

/// The words of a table at `offset` for `count` backends.
pub(crate) fn place_of(offset: u32, count: usize) -> Option<Slice> {
    let count = words(size(count)?);
    (offset != 0).then_some(Slice { offset, count })
}
