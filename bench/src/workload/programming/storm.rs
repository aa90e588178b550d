//! Endpoints change all the time, everywhere: how far behind the proxy falls, and what it uses.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use integration::control_plane::objects::SLICES;
use serde_json::{Value, json};

use super::super::usage;
use super::marker::Marker;
use super::watch::Events;
use super::{Bench, seconds};
use crate::interrupt;
use crate::quiet::{Own, Watch};
use crate::record::{Better, Sample};
use crate::services::{self, ENDPOINTS};
use crate::statistics::quantile;

/// Changes in a second that are asked for; the API server may not get there.
const RATE: u32 = 1_000;
/// Changes that are sent at a time.
const BATCH: u32 = 250;

impl Bench<'_> {
    /// Changes of all Services in turn, and between them of the marker.
    pub(super) fn storm(&mut self, marker: &Marker, events: &Events, pid: u32) -> Result<()> {
        let plan = &self.context.plan;
        let lasts = Duration::from_secs(if plan.quick { 3 } else { 60 });
        let (before, watch) = (usage::cpu_seconds(pid)?, Watch::begin(Own::Tree));
        let start = Instant::now();
        let mut sent = 0;
        let mut lags = Vec::new();
        while start.elapsed() < lasts {
            interrupt::check()?;
            let objects: Vec<(String, Value)> = (sent..sent + BATCH)
                .map(|number| self.shrunk_or_whole(number))
                .collect();
            self.feed.plane.client.patch_all(&objects)?;
            sent += BATCH;
            // The marker comes last: when it is there, so is all that was sent before.
            let change = self.change(marker, events)?;
            lags.push(seconds(change.effect.saturating_sub(change.event)) * 1_000.0);
            let due = Duration::from_secs(1) * sent / RATE;
            std::thread::park_timeout(due.saturating_sub(start.elapsed()));
        }
        let disturbed = watch.end().disturbs();
        let took = start.elapsed().as_secs_f64();
        let cpu = usage::cpu_seconds(pid)? - before;
        let sample = |value| vec![Sample { value, disturbed }];
        let lower = Better::Lower;
        self.add(
            "many changes: reached",
            "1/s",
            Better::Higher,
            sample(f64::from(sent) / took),
        );
        for (name, fraction) in [("p50", 0.5), ("p99", 0.99)] {
            let lag = quantile(&lags, fraction).context("no change")?;
            let variant = format!("many changes, watch event to packets: {name}");
            self.add(&variant, "ms", lower, sample(lag));
        }
        self.add(
            "many changes: processors used",
            "",
            lower,
            sample(cpu / took),
        );
        Ok(())
    }

    /// What takes an endpoint from a Service, or gives it back.
    fn shrunk_or_whole(&self, number: u32) -> (String, Value) {
        let services = self.feed.services();
        let (service, turn) = (number % services, number / services);
        let count = ENDPOINTS - (turn + 1) % 2;
        (
            format!("{SLICES}/{}", services::name(service)),
            json!({ "endpoints": services::slice(service, count)["endpoints"] }),
        )
    }
}
