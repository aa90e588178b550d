//! Service ids and backend ids: never 0, never confused with an earlier owner's.
//!
//! A backend id indexes `BACKEND_STATE`, so ids are dense and reused; its generation tells owners apart. Service ids index
//! nothing and are reused as late as possible, as are the numbers of source-range sets.

use std::collections::VecDeque;

use proxy_common::value::{BackendState, backend_state};

use crate::extents::Extents;
use crate::slots::GRACE_MS;

/// Backend ids of both families.
#[derive(Clone, Debug)]
pub(crate) struct BackendIds {
    capacity: u32,
    free: Extents,
    generations: Vec<u32>,
    released: VecDeque<(u64, u32)>,
}

impl BackendIds {
    /// Ids 1 to `capacity` - 1.
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            free: Extents::new(1..capacity),
            generations: Vec::new(),
            released: VecDeque::new(),
        }
    }

    /// Whether `BACKEND_STATE` has such an element.
    pub(crate) const fn contains(&self, id: u32) -> bool {
        id > 0 && id < self.capacity
    }

    /// Ids that are taken, or wait for their grace period.
    pub(crate) fn used(&self) -> u32 {
        self.capacity
            .saturating_sub(1)
            .saturating_sub(self.free.free_count())
    }

    /// A free id, with a generation it never had.
    pub(crate) fn alloc(&mut self) -> Option<u32> {
        let id = self.free.alloc(1)?;
        let generation = self.generation(id).wrapping_add(1);
        self.set_generation(id, generation);
        Some(id)
    }

    /// Undoes [`Self::alloc`]: the id was never seen by anyone.
    pub(crate) fn cancel(&mut self, id: u32) {
        self.free.free(id, 1);
    }

    /// Gives an id back; it may be taken again after the grace period.
    pub(crate) fn release(&mut self, id: u32, now_ms: u64) {
        self.released
            .push_back((now_ms.saturating_add(GRACE_MS), id));
    }

    /// Frees what is due; whether there was anything.
    pub(crate) fn expire(&mut self, now_ms: u64) -> bool {
        let mut freed = false;
        while let Some((_, id)) = self.released.pop_front_if(|(due, _)| *due <= now_ms) {
            self.free.free(id, 1);
            freed = true;
        }
        freed
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.released.front().map(|(due, _)| *due)
    }

    /// The generation of `id`'s owner, or of its last one.
    pub(crate) fn generation(&self, id: u32) -> u32 {
        self.generations.get(id as usize).copied().unwrap_or(0)
    }

    /// The value of `BACKEND_STATE` that says `state` of `id`'s owner, who is in `sets`.
    pub(crate) fn state(&self, id: u32, state: u16, sets: u16) -> BackendState {
        BackendState {
            generation: self.generation(id),
            state,
            active: 0,
            sets,
            reserved: 0,
        }
    }

    /// Learns generations from slots of an earlier run: no id gets one again that a slot, and maybe a flow, still has.
    pub(crate) fn recover_generations(&mut self, slots: impl Iterator<Item = (u32, u32)>) {
        for (id, generation) in slots {
            if self.contains(id) && self.generation(id) < generation {
                self.set_generation(id, generation);
            }
        }
    }

    /// Learns the state of an id from an earlier run; an id that is not GONE is taken.
    pub(crate) fn recover(&mut self, id: u32, state: BackendState) {
        if self.contains(id) {
            // A slot that is ahead of the state of an id in use is damage; the state is what packets are checked against.
            if state.state != backend_state::GONE || self.generation(id) < state.generation {
                self.set_generation(id, state.generation);
            }
            if state.state != backend_state::GONE {
                self.free.reserve(id, 1);
            }
        }
    }

    fn set_generation(&mut self, id: u32, generation: u32) {
        let index = id as usize;
        if self.generations.len() <= index {
            self.generations.resize(index.saturating_add(1), 0);
        }
        if let Some(known) = self.generations.get_mut(index) {
            *known = generation;
        }
    }
}

/// Ids that index nothing: of `ServicePorts`, and of sets of source ranges. Used again as late as possible.
#[derive(Clone, Debug)]
pub(crate) struct LateIds {
    free: Extents,
    next: u32,
}

impl LateIds {
    /// All ids are free.
    pub(crate) fn new() -> Self {
        Self {
            free: Extents::new(1..u32::MAX),
            next: 1,
        }
    }

    /// A free id, not used for as long as possible; 0 if there is none, which needs four billion ports.
    pub(crate) fn alloc(&mut self) -> u32 {
        let id = self.free.alloc_from(self.next).unwrap_or(0);
        self.next = id.saturating_add(1);
        id
    }

    /// Takes an id of an earlier run; whether it can be one.
    pub(crate) fn recover(&mut self, id: u32) -> bool {
        self.free.reserve(id, 1);
        self.next = self.next.max(id.saturating_add(1));
        (1..u32::MAX).contains(&id)
    }

    /// Gives an id back; 0, of a port that was never planned, is none, and what a damaged map held need not be one.
    pub(crate) fn release(&mut self, id: u32) {
        if (1..u32::MAX).contains(&id) {
            self.free.free(id, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reused_backend_id_has_a_new_generation_after_the_grace_period() {
        let mut ids = BackendIds::new(2);
        assert_eq!(
            (ids.alloc(), ids.generation(1), ids.alloc()),
            (Some(1), 1, None)
        );
        ids.release(1, 0);
        assert!(!ids.expire(999));
        assert!(ids.expire(1_000));
        assert_eq!((ids.alloc(), ids.generation(1)), (Some(1), 2));
    }

    #[test]
    fn recovered_ids_keep_generations_and_owners() {
        let mut ids = BackendIds::new(4);
        ids.recover(
            1,
            BackendState {
                generation: 7,
                state: backend_state::GONE,
                ..BackendState::default()
            },
        );
        ids.recover(
            2,
            BackendState {
                generation: 9,
                state: backend_state::DRAINING,
                ..BackendState::default()
            },
        );
        ids.recover(
            4,
            BackendState {
                generation: 9,
                state: backend_state::ACTIVE,
                ..BackendState::default()
            },
        );
        assert_eq!(
            (ids.alloc(), ids.alloc(), ids.alloc()),
            (Some(1), Some(3), None)
        );
        assert_eq!(
            (ids.generation(1), ids.generation(2), ids.generation(3)),
            (8, 9, 1)
        );
    }

    #[test]
    fn service_id_is_not_reused_at_once() {
        let mut ids = LateIds::new();
        assert!(ids.recover(5) && !ids.recover(0));
        let (first, second) = (ids.alloc(), ids.alloc());
        ids.release(first);
        assert_eq!((first, second, ids.alloc()), (6, 7, 8));
        assert!(!ids.recover(u32::MAX));
        assert_eq!(
            (ids.alloc(), ids.alloc()),
            (1, 2),
            "after the last one, from the start"
        );
    }
}
