//! Nothing is planned before every kind was listed once: half a cluster would delete the other half (SEMANTICS 1.10).

use std::collections::BTreeSet;

use proxy_model::{Change, Kind};

/// What is still missing.
#[derive(Debug)]
pub(super) struct Gate {
    waiting: BTreeSet<Kind>,
    first_sync_done: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            // A cluster may have no ServiceCIDRs, or not show them; without them nothing is missing but SEMANTICS 4.10's drop.
            waiting: Kind::ALL
                .iter()
                .copied()
                .filter(|kind| *kind != Kind::ServiceCidr)
                .collect(),
            first_sync_done: false,
        }
    }
}

impl Gate {
    /// Notes the end of a list.
    pub(super) fn pass(&mut self, change: &Change) {
        if let Change::RelistEnd(kind) = change
            && self.waiting.remove(kind)
            && self.waiting.is_empty()
        {
            tracing::info!("all first lists are complete");
        }
    }

    /// Whether plans may be made. It never closes again: a later list only replaces what is known when it is complete.
    pub(super) fn is_open(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Kinds whose first list is not complete.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Kind> + '_ {
        self.waiting.iter().copied()
    }

    /// `true` once: after the first sync.
    pub(super) fn first_sync(&mut self) -> bool {
        !std::mem::replace(&mut self.first_sync_done, true)
    }

    /// Whether the first sync is done.
    pub(super) fn synced(&self) -> bool {
        self.first_sync_done
    }
}
