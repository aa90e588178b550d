//! Free numbers of a range, as extents. Allocating and freeing cost O(log extents); neighbours are joined again.
//!
//! Knows nothing of what the numbers are: slots of a map, or ids.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The free part of a range of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Extents {
    by_start: BTreeMap<u32, u32>,
    by_len: BTreeSet<(u32, u32)>,
    free: u32,
}

impl Extents {
    /// All of `range` is free.
    pub(crate) fn new(range: Range<u32>) -> Self {
        let mut extents = Self {
            by_start: BTreeMap::new(),
            by_len: BTreeSet::new(),
            free: 0,
        };
        extents.insert(range.start, range.end.saturating_sub(range.start));
        extents
    }

    /// How many numbers are free.
    pub(crate) const fn free_count(&self) -> u32 {
        self.free
    }

    /// Takes `len` neighbours out of the smallest extent that holds them, the lowest among equals.
    pub(crate) fn alloc(&mut self, len: u32) -> Option<u32> {
        let &(found, start) = self.by_len.range((len, 0)..).next()?;
        self.remove(start, found);
        self.insert(start.saturating_add(len), found.saturating_sub(len));
        Some(start)
    }

    /// Takes the lowest free number that is not below `from`, or the lowest of all.
    pub(crate) fn alloc_from(&mut self, from: u32) -> Option<u32> {
        let around = self.by_start.range(..=from).next_back();
        let around = around.map(|(&start, &len)| (start, len));
        let (start, len, number) =
            if let Some((start, len)) = around.filter(|(start, len)| from - start < *len) {
                (start, len, from)
            } else {
                let (&start, &len) = self
                    .by_start
                    .range(from..)
                    .next()
                    .or(self.by_start.first_key_value())?;
                (start, len, start)
            };
        let end = start.saturating_add(len);
        self.remove(start, len);
        self.insert(start, number.saturating_sub(start));
        self.insert(
            number.saturating_add(1),
            end.saturating_sub(number).saturating_sub(1),
        );
        Some(number)
    }

    /// Gives `len` numbers back that were taken.
    pub(crate) fn free(&mut self, start: u32, len: u32) {
        let (mut start, mut len) = (start, len);
        if let Some((&before, &before_len)) = self.by_start.range(..start).next_back()
            && before.saturating_add(before_len) == start
        {
            self.remove(before, before_len);
            (start, len) = (before, before_len.saturating_add(len));
        }
        let end = start.saturating_add(len);
        if let Some(&after_len) = self.by_start.get(&end) {
            self.remove(end, after_len);
            len = len.saturating_add(after_len);
        }
        self.insert(start, len);
    }

    /// Takes these numbers, as far as they are free.
    pub(crate) fn reserve(&mut self, start: u32, len: u32) {
        let end = start.saturating_add(len);
        while let Some((&found, &found_len)) = self.by_start.range(..end).next_back() {
            let found_end = found.saturating_add(found_len);
            if len == 0 || found_end <= start {
                break;
            }
            self.remove(found, found_len);
            self.insert(found, start.saturating_sub(found));
            self.insert(end, found_end.saturating_sub(end));
        }
    }

    fn insert(&mut self, start: u32, len: u32) {
        if len > 0 {
            self.by_start.insert(start, len);
            self.by_len.insert((len, start));
            self.free = self.free.saturating_add(len);
        }
    }

    fn remove(&mut self, start: u32, len: u32) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
        self.free = self.free.saturating_sub(len);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Alloc(u32),
        From(u32),
        Free(usize),
        Reserve(u32, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1u32..9).prop_map(Step::Alloc),
            (0u32..80).prop_map(Step::From),
            any::<usize>().prop_map(Step::Free),
            (0u32..80, 0u32..12).prop_map(|(start, len)| Step::Reserve(start, len)),
        ]
    }

    /// Free numbers are as a set says, no two extents touch, and both indexes agree.
    fn check(extents: &Extents, taken: &BTreeSet<u32>) {
        let mut free = BTreeSet::new();
        let mut end = None;
        for (&start, &len) in &extents.by_start {
            assert!(len > 0 && end.is_none_or(|end| start > end), "{extents:?}");
            assert!(extents.by_len.contains(&(len, start)));
            end = Some(start + len);
            free.extend(start..start + len);
        }
        assert_eq!(extents.by_len.len(), extents.by_start.len());
        assert_eq!(extents.free_count() as usize, free.len());
        assert_eq!(
            free,
            (3..70).filter(|number| !taken.contains(number)).collect()
        );
    }

    proptest! {
        #[test]
        fn extents_agree_with_a_set(steps in prop::collection::vec(step(), 0..80)) {
            let mut extents = Extents::new(3..70);
            let mut runs: Vec<(u32, u32)> = Vec::new();
            let mut taken = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Alloc(len) => match extents.alloc(len) {
                        Some(start) => {
                            prop_assert!((start..start + len).all(|number| taken.insert(number)));
                            runs.push((start, len));
                        }
                        None => prop_assert!((3..70u32.saturating_sub(len - 1))
                            .all(|start| (start..start + len).any(|number| taken.contains(&number)))),
                    },
                    Step::From(from) => {
                        let free = |range: Range<u32>| range.into_iter().find(|number| !taken.contains(number));
                        let expected = free(from.max(3)..70).or_else(|| free(3..70));
                        prop_assert_eq!(extents.alloc_from(from), expected);
                        taken.extend(expected);
                        runs.extend(expected.map(|number| (number, 1)));
                    }
                    Step::Free(index) if !runs.is_empty() => {
                        let (start, len) = runs.swap_remove(index % runs.len());
                        extents.free(start, len);
                        taken.retain(|number| !(start..start + len).contains(number));
                    }
                    Step::Free(_) => {}
                    Step::Reserve(start, len) => {
                        extents.reserve(start, len);
                        let fresh: Vec<u32> =
                            (start..start + len).filter(|&n| (3..70).contains(&n) && taken.insert(n)).collect();
                        runs.extend(fresh.into_iter().map(|number| (number, 1)));
                    }
                }
                check(&extents, &taken);
            }
        }
    }
}
