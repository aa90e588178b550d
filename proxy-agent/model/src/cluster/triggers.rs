//! When the changes began that plans are made of (SEMANTICS 6.4).

use std::collections::BTreeMap;

use super::{Cluster, EntryIndex};
use crate::endpoint::Endpoints;

/// A change of endpoints that a plan holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trigger {
    /// The slice is of IPv6.
    pub is_v6: bool,
    /// When the change began, in nanoseconds since 1970; by the clock of the node or controller that noticed it.
    pub unix_ns: i64,
}

/// What was recorded.
#[derive(Clone, Debug, Default)]
pub(super) struct Triggers {
    /// By Service name, of slices that the next plan is about.
    waiting: BTreeMap<EntryIndex, Vec<Trigger>>,
    planned: Vec<Trigger>,
}

impl Cluster {
    /// A slice of the entry changed, by a change that began then.
    pub(super) fn record_trigger(
        &mut self,
        entry: EntryIndex,
        endpoints: &Endpoints,
        unix_ns: Option<i64>,
    ) {
        if let Some(unix_ns) = unix_ns {
            let is_v6 = matches!(endpoints, Endpoints::V6(_));
            let waiting = self.triggers.waiting.entry(entry).or_default();
            waiting.push(Trigger { is_v6, unix_ns });
        }
    }

    /// A slice of the entry is gone, and with it what was recorded of its family.
    pub(super) fn forget_triggers(&mut self, entry: EntryIndex, endpoints: &Endpoints) {
        let is_v6 = matches!(endpoints, Endpoints::V6(_));
        if let Some(waiting) = self.triggers.waiting.get_mut(&entry) {
            waiting.retain(|trigger| trigger.is_v6 != is_v6);
        }
    }

    /// All slices so far are in a plan.
    pub(super) fn plan_triggers(&mut self) {
        let waiting = std::mem::take(&mut self.triggers.waiting);
        self.triggers
            .planned
            .extend(waiting.into_values().flatten());
    }

    /// What plans were about since the last call.
    pub(crate) fn take_triggers(&mut self) -> Vec<Trigger> {
        std::mem::take(&mut self.triggers.planned)
    }
}
