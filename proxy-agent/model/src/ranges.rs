//! Sets of source ranges (SEMANTICS 4.7): one per content, whoever names it. A number is not used again while a frontend, or a
//! program that just read one, may name it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::family::{Family, Range};
use crate::ids::LateIds;
use crate::slots::GRACE_MS;

#[derive(Clone, Debug)]
struct Set<A> {
    ranges: Arc<[Range<A>]>,
    names: u32,
    /// When the set may go, if nobody names it; 0 before the first name.
    due: u64,
}

/// The sets of one family.
#[derive(Clone, Debug)]
pub(crate) struct Ranges<A> {
    ids: LateIds,
    sets: BTreeMap<u32, Set<A>>,
    by_content: BTreeMap<Arc<[Range<A>]>, u32>,
    retired: VecDeque<(u64, u32)>,
    /// Elements that `SOURCE_RANGES` has room for.
    room: usize,
}

/// A set that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) set: u32,
    /// It has to be written first.
    pub(crate) is_new: bool,
}

impl<A: Family> Ranges<A> {
    /// No sets.
    pub(crate) fn new(room: u32) -> Self {
        Self {
            ids: LateIds::new(),
            sets: BTreeMap::new(),
            by_content: BTreeMap::new(),
            retired: VecDeque::new(),
            room: room as usize,
        }
    }

    /// The set of these ranges, which nobody names yet if it is new. `None`: there is no room.
    pub(crate) fn ask(&mut self, ranges: &[Range<A>]) -> Option<Asked> {
        if let Some(&set) = self.by_content.get(ranges) {
            return Some(Asked { set, is_new: false });
        }
        self.room = self.room.checked_sub(ranges.len())?;
        let set = self.ids.alloc();
        let ranges: Arc<[Range<A>]> = ranges.into();
        self.by_content.insert(Arc::clone(&ranges), set);
        self.insert(set, ranges);
        Some(Asked { set, is_new: true })
    }

    fn insert(&mut self, set: u32, ranges: Arc<[Range<A>]>) {
        let (names, due) = (0, 0);
        self.sets.insert(set, Set { ranges, names, due });
    }

    /// Undoes [`Self::ask`].
    pub(crate) fn cancel(&mut self, asked: Asked) {
        if asked.is_new {
            self.forget(asked.set);
        }
    }

    /// One more frontend names the set.
    pub(crate) fn retain(&mut self, set: u32) {
        if let Some(set) = self.sets.get_mut(&set) {
            set.names = set.names.saturating_add(1);
        }
    }

    /// One frontend less names the set.
    pub(crate) fn release(&mut self, number: u32, now_ms: u64) {
        if let Some(set) = self.sets.get_mut(&number) {
            set.names = set.names.saturating_sub(1);
            if set.names == 0 {
                set.due = now_ms.saturating_add(GRACE_MS);
                self.retired.push_back((set.due, number));
            }
        }
    }

    /// Forgets what is due, and returns it.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<(u32, Vec<Range<A>>)> {
        let mut gone = Vec::new();
        while let Some((due, number)) = self.retired.pop_front_if(|(due, _)| *due <= now_ms) {
            let unused = |set: &Set<A>| set.names == 0 && set.due == due;
            if self.sets.get(&number).is_some_and(unused)
                && let Some(ranges) = self.forget(number)
                && !ranges.is_empty()
            {
                gone.push((number, ranges.to_vec()));
            }
        }
        gone
    }

    /// When [`Self::expire`] has something to look at.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.retired.front().map(|(due, _)| *due)
    }

    fn forget(&mut self, number: u32) -> Option<Arc<[Range<A>]>> {
        let Set { ranges, .. } = self.sets.remove(&number)?;
        self.room = self.room.saturating_add(ranges.len());
        if self.by_content.get(&ranges) == Some(&number) {
            self.by_content.remove(&ranges);
        }
        self.ids.release(number);
        Some(ranges)
    }

    /// Takes over the sets of an earlier run, which nobody names yet.
    pub(crate) fn recover(&mut self, elements: Vec<(u32, A, u8)>) {
        let mut sets: BTreeMap<u32, Vec<Range<A>>> = BTreeMap::new();
        for (set, addr, bits) in elements {
            sets.entry(set).or_default().push((addr, bits));
        }
        for (number, mut ranges) in sets {
            ranges.sort_unstable();
            ranges.dedup();
            self.room = self.room.saturating_sub(ranges.len());
            let ranges: Arc<[Range<A>]> = ranges.into();
            self.insert(number, Arc::clone(&ranges));
            // A number that cannot be ours is nobody's set, and goes.
            if self.ids.recover(number) {
                self.by_content.entry(ranges).or_insert(number);
            }
        }
    }

    /// A frontend of an earlier run names the set. One that the map lost is empty, and its number is not given to others while it is named.
    pub(crate) fn recover_name(&mut self, number: u32) {
        if !self.sets.contains_key(&number) {
            self.ids.recover(number);
            self.insert(number, Arc::default());
        }
        self.retain(number);
    }

    /// Has those of [`Self::recover`] go that no frontend names.
    pub(crate) fn end_recovery(&mut self) {
        let unnamed = self.sets.iter().filter(|(_, set)| set.names == 0);
        self.retired.extend(unnamed.map(|(number, _)| (0, *number)));
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::addr::V4;

    use super::*;

    const TEN: Range<V4> = (V4(10), 8);
    const NINE: Range<V4> = (V4(9), 8);

    #[test]
    fn semantics_4_7_one_set_per_content_until_its_grace_period_ends() {
        let mut ranges = Ranges::new(3);
        let one = ranges.ask(&[NINE, TEN]).unwrap();
        assert!(one.is_new);
        ranges.retain(one.set);
        let again = ranges.ask(&[NINE, TEN]).unwrap();
        assert_eq!((again.set, again.is_new), (one.set, false));
        ranges.release(one.set, 500);
        assert!(ranges.expire(1_499).is_empty());
        // Asked for again meanwhile: it stays.
        let asked = ranges.ask(&[NINE, TEN]).unwrap();
        ranges.retain(asked.set);
        assert!(ranges.expire(9_000).is_empty());
        ranges.release(one.set, 9_000);
        assert_eq!(ranges.expire(10_000), [(one.set, vec![NINE, TEN])]);
        assert_ne!(ranges.ask(&[TEN]).unwrap().set, one.set, "numbers rest");
    }

    #[test]
    fn sets_without_room_are_refused_and_give_nothing_away() {
        let mut ranges = Ranges::new(2);
        let one = ranges.ask(&[TEN]).unwrap();
        assert!(ranges.ask(&[NINE, TEN]).is_none());
        ranges.cancel(one);
        assert!(ranges.ask(&[NINE, TEN]).is_some());
    }

    #[test]
    fn recovered_sets_keep_their_numbers_and_unnamed_ones_go() {
        let mut ranges = Ranges::new(9);
        ranges.recover(vec![
            (7, TEN.0, 8),
            (7, NINE.0, 8),
            (8, TEN.0, 8),
            (0, NINE.0, 8),
        ]);
        ranges.recover_name(7);
        ranges.end_recovery();
        assert_eq!(ranges.ask(&[NINE, TEN]).unwrap().set, 7);
        assert_eq!(ranges.expire(0), [(0, vec![NINE]), (8, vec![TEN])]);
        assert_eq!(ranges.ask(&[TEN]).unwrap().set, 9);
    }

    #[test]
    fn number_of_a_lost_set_is_nobodys_while_a_frontend_names_it() {
        let mut ranges = Ranges::new(9);
        ranges.recover(Vec::<(u32, V4, u8)>::new());
        ranges.recover_name(1);
        ranges.end_recovery();
        let new = ranges.ask(&[TEN]).unwrap();
        assert_ne!(new.set, 1);
        ranges.retain(new.set);
        ranges.release(1, 0);
        assert_eq!(ranges.expire(1_000), [], "there is nothing to remove");
    }
}
