//! Which slots of BACKENDS are in use: runs, counted by who names them, freed a grace period after the last one.
//!
//! The grace period is for packets that read a frontend just before it was replaced.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use proxy_common::value::Slice;

use crate::extents::Extents;

/// Milliseconds a run stays untouched after its last frontend was replaced.
pub(crate) const GRACE_MS: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
struct Run {
    count: u32,
    names: u32,
    /// When the run may be freed, if nobody names it.
    due: u64,
}

/// The slots of one family's BACKENDS.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    range: Range<u32>,
    free: Extents,
    runs: BTreeMap<u32, Run>,
    retired: VecDeque<(u64, u32)>,
}

impl Slots {
    /// All slots of `range` are free.
    pub(crate) fn new(range: Range<u32>) -> Self {
        Self {
            free: Extents::new(range.clone()),
            range,
            runs: BTreeMap::new(),
            retired: VecDeque::new(),
        }
    }

    /// Slots that are not free.
    pub(crate) const fn used(&self) -> u32 {
        let all = self.range.end.saturating_sub(self.range.start);
        all.saturating_sub(self.free.free_count())
    }

    /// A run that nobody names yet: name it with [`Self::retain`], or give it back with [`Self::cancel`].
    pub(crate) fn alloc(&mut self, count: u32) -> Option<Slice> {
        let offset = self.free.alloc(count)?;
        self.runs.insert(
            offset,
            Run {
                count,
                names: 0,
                due: 0,
            },
        );
        Some(Slice { offset, count })
    }

    /// Undoes [`Self::alloc`]: no frontend ever named the run, so there is nothing to wait for.
    pub(crate) fn cancel(&mut self, slice: Slice) {
        if let Some(run) = self.runs.remove(&slice.offset) {
            self.free.free(slice.offset, run.count);
        }
    }

    /// One more name for the run that holds `slice`.
    pub(crate) fn retain(&mut self, slice: Slice) {
        if let Some((_, run)) = self.run_of(slice) {
            run.names = run.names.saturating_add(1);
        }
    }

    /// One name less; after the last one the run is freed when its grace period ends.
    pub(crate) fn release(&mut self, slice: Slice, now_ms: u64) {
        if let Some((offset, run)) = self.run_of(slice) {
            run.names = run.names.saturating_sub(1);
            if run.names == 0 {
                run.due = now_ms.saturating_add(GRACE_MS);
                let due = run.due;
                self.retired.push_back((due, offset));
            }
        }
    }

    /// Frees what is due; whether there was anything.
    pub(crate) fn expire(&mut self, now_ms: u64) -> bool {
        let mut freed = false;
        while let Some(&(due, offset)) = self.retired.front().filter(|(due, _)| *due <= now_ms) {
            self.retired.pop_front();
            // A run that was named again, or freed by an earlier entry, is not meant.
            if let Some(run) = self
                .runs
                .get(&offset)
                .copied()
                .filter(|run| run.names == 0 && run.due == due)
            {
                self.runs.remove(&offset);
                self.free.free(offset, run.count);
                freed = true;
            }
        }
        freed
    }

    /// When [`Self::expire`] has something to look at.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.retired.front().map(|(due, _)| *due)
    }

    /// Takes over what frontends of an earlier run name, one entry for each name. Damaged maps may name overlapping runs: such
    /// are kept as one run, until the last name of any of them is gone.
    pub(crate) fn recover(&mut self, named: impl IntoIterator<Item = Slice>) {
        let mut named: Vec<(u32, u32)> = named
            .into_iter()
            .map(|slice| {
                (
                    slice.offset,
                    slice.offset.saturating_add(slice.count).min(self.range.end),
                )
            })
            .filter(|(start, end)| start < end)
            .collect();
        named.sort_unstable();
        let mut open: Option<(u32, u32, u32)> = None;
        for (start, end) in named {
            open = match open {
                Some((first, last, names)) if start < last => {
                    Some((first, last.max(end), names.saturating_add(1)))
                }
                before => {
                    self.recover_run(before);
                    Some((start, end, 1))
                }
            };
        }
        self.recover_run(open);
    }

    fn recover_run(&mut self, run: Option<(u32, u32, u32)>) {
        if let Some((start, end, names)) = run {
            let count = end.saturating_sub(start);
            self.free.reserve(start, count);
            self.runs.insert(
                start,
                Run {
                    count,
                    names,
                    due: 0,
                },
            );
        }
    }

    /// Whether the run of `slice` is exactly this slice, shared with nothing that overlaps it.
    pub(crate) fn is_exact(&self, slice: Slice) -> bool {
        self.runs
            .get(&slice.offset)
            .is_some_and(|run| run.count == slice.count)
    }

    fn run_of(&mut self, slice: Slice) -> Option<(u32, &mut Run)> {
        let (&offset, run) = self.runs.range_mut(..=slice.offset).next_back()?;
        (slice.count > 0 && slice.offset < offset.saturating_add(run.count))
            .then_some((offset, run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn slice(offset: u32, count: u32) -> Slice {
        Slice { offset, count }
    }

    #[test]
    fn run_is_freed_after_its_grace_period() {
        let mut slots = Slots::new(0..10);
        let first = slots.alloc(10).unwrap();
        slots.retain(first);
        slots.release(first, 500);
        assert_eq!(slots.next_due(), Some(1_500));
        assert!(!slots.expire(1_499) && slots.alloc(1).is_none());
        assert!(slots.expire(1_500));
        assert_eq!((slots.used(), slots.alloc(10)), (0, Some(first)));
    }

    #[test]
    fn run_that_is_named_again_stays() {
        let mut slots = Slots::new(0..4);
        let run = slots.alloc(4).unwrap();
        slots.retain(run);
        slots.release(run, 0);
        slots.retain(run);
        assert!(!slots.expire(5_000));
        slots.release(run, 6_000);
        assert!(!slots.expire(6_999));
        assert!(slots.expire(7_000));
    }

    #[test]
    fn overlapping_names_of_a_damaged_map_are_one_run() {
        let mut slots = Slots::new(0..20);
        slots.recover([
            slice(2, 4),
            slice(4, 4),
            slice(12, 2),
            slice(12, 2),
            slice(18, 9),
            slice(30, 3),
            slice(0, 0),
        ]);
        assert_eq!(slots.used(), 6 + 2 + 2);
        assert!(!slots.is_exact(slice(2, 4)) && slots.is_exact(slice(12, 2)));
        slots.release(slice(2, 4), 0);
        assert!(!slots.expire(9_000), "slice 4..8 is still named");
        slots.release(slice(4, 4), 9_000);
        slots.release(slice(12, 2), 9_000);
        slots.release(slice(30, 3), 9_000);
        assert!(slots.expire(10_000));
        assert_eq!(slots.used(), 2 + 2);
    }
}
