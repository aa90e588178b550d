//! Aging of FLOWS: expired flows are found and deleted in batches, both directions together.

use tokio::sync::watch;

use crate::error::Result;
use crate::Maps;

/// Totals since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AgingStats {
    /// Passes over both tables.
    pub passes: u64,
    /// Entries found by the last pass (both families): the flow table's occupancy.
    pub entries: u64,
    /// Entries deleted.
    pub expired: u64,
    /// Passes that ended with an error.
    pub errors: u64,
}

/// The aging thread. Dropping it stops it.
#[derive(Debug)]
pub struct Aging {
    stats: watch::Receiver<AgingStats>,
}

impl Aging {
    /// Starts the thread.
    pub fn start(_maps: &Maps) -> Result<Self> {
        todo!()
    }

    /// Totals so far.
    pub fn stats(&self) -> AgingStats {
        *self.stats.borrow()
    }

    /// Ends the thread and waits for it.
    pub fn stop(self) {}
}
