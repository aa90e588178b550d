//! The changes that are not in the kernel yet, and how long each took when they are.

use std::time::{Duration, Instant};

use proxy_model::{Change, Kind};

use crate::feed::kind_of;
use crate::metrics::Metrics;

/// Changes taken since the last plan that succeeded.
#[derive(Debug, Default)]
pub(super) struct Pending {
    arrived: Vec<Instant>,
    services: i64,
    endpoints: i64,
}

impl Pending {
    pub(super) fn add(&mut self, change: &Change, at: Instant) {
        match kind_of(change) {
            Some(Kind::Service) => self.services += 1,
            Some(Kind::EndpointSlice) => self.endpoints += 1,
            Some(Kind::Node | Kind::ServiceCidr) => {}
            None => return,
        }
        self.arrived.push(at);
    }

    /// Number of changes.
    pub(super) fn changes(&self) -> usize {
        self.arrived.len()
    }

    /// How long the oldest of them has waited at `end`.
    pub(super) fn oldest(&self, end: Instant) -> Duration {
        let oldest = self.arrived.iter().min();
        oldest.map_or(Duration::ZERO, |at| end.saturating_duration_since(*at))
    }

    /// All of them took effect, at a time that says nothing.
    pub(super) fn forget(&mut self, metrics: &Metrics) {
        self.arrived = Vec::new();
        self.done(Instant::now(), metrics);
    }

    /// All of them took effect at `end`.
    pub(super) fn done(&mut self, end: Instant, metrics: &Metrics) {
        for at in self.arrived.drain(..) {
            metrics
                .event_to_kernel
                .observe(end.saturating_duration_since(at).as_secs_f64());
        }
        metrics
            .service_changes_pending
            .dec_by(std::mem::take(&mut self.services));
        metrics
            .endpoint_changes_pending
            .dec_by(std::mem::take(&mut self.endpoints));
    }
}
