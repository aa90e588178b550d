//! The changes that are not in the kernel yet, and how long each took when they are.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use proxy_model::{Change, Kind, Object};

use crate::feed::kind_of;
use crate::metrics::Metrics;

/// When the change behind a slice happened, as the endpoint-slice controller notes it.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Changes taken since the last plan that succeeded.
#[derive(Debug)]
pub(super) struct Pending {
    arrived: Vec<Instant>,
    triggered: Vec<(&'static str, Timestamp)>,
    services: i64,
    endpoints: i64,
    /// Triggers before this are not ours to be measured by: we were not there (as kube-proxy does it).
    started: Timestamp,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            arrived: Vec::new(),
            triggered: Vec::new(),
            services: 0,
            endpoints: 0,
            started: Timestamp::now(),
        }
    }
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
        if let Change::Upsert(Object::EndpointSlice(slice)) = change
            && let Some(trigger) = slice
                .metadata
                .annotations
                .get(TRIGGER)
                .and_then(|time| time.parse().ok())
            && trigger >= self.started
        {
            let family = if slice.address_type == "IPv6" {
                "IPv6"
            } else {
                "IPv4"
            };
            self.triggered.push((family, trigger));
        }
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
        self.arrived.clear();
        self.triggered.clear();
        self.done(Instant::now(), metrics);
    }

    /// All of them took effect at `end`.
    pub(super) fn done(&mut self, end: Instant, metrics: &Metrics) {
        for at in self.arrived.drain(..) {
            metrics
                .event_to_kernel
                .observe(end.saturating_duration_since(at).as_secs_f64());
        }
        let now = Timestamp::now();
        for (family, trigger) in self.triggered.drain(..) {
            let took = now.duration_since(trigger).as_secs_f64().max(0.0);
            metrics
                .network_programming
                .get_or_create(&[("ip_family", family)])
                .observe(took);
        }
        metrics
            .service_changes_pending
            .dec_by(std::mem::take(&mut self.services));
        metrics
            .endpoint_changes_pending
            .dec_by(std::mem::take(&mut self.endpoints));
    }
}
