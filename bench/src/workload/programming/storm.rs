//! Endpoints change all the time, everywhere: how far behind the proxy falls, and what it uses.

use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use integration::control_plane::objects::SLICES;
use serde_json::Value;

use super::super::usage;
use super::marker::Marker;
use super::watch::Events;
use super::writer::{PARALLEL, Writer};
use super::{Bench, PICKS};
use crate::interrupt;
use crate::quiet::{Own, Watch};
use crate::record::{Better, Sample};
use crate::services::{ENDPOINTS, Numbered};
use crate::statistics::quantile;

/// Changes in a second that are asked for; the API server may not get there.
const RATE: u32 = 1_000;
/// Between two changes of the marker, so that looking for it is not what the machine does.
const PAUSE: Duration = Duration::from_millis(100);

impl Bench<'_> {
    /// Changes of all Services in turn, and meanwhile of the marker.
    pub(super) fn storm(
        &mut self,
        marker: &Marker,
        events: &Events,
        writer: &Writer,
        pid: u32,
    ) -> Result<()> {
        let lasts = self.context.plan.storm;
        let (before, watch) = (usage::cpu_seconds(pid)?, Watch::begin(Own::Tree));
        let services = self.feed.services();
        // Two writes to one object at a time would only wait for each other.
        let parallel = PARALLEL.min(services);
        let end = writer.stream(parallel, RATE, lasts, move |number| {
            shrunk_or_whole(services, number)
        });
        let mut changes = Vec::new();
        let written = loop {
            interrupt::check()?;
            changes.push(self.change(marker, events, writer)?);
            std::thread::park_timeout(PAUSE);
            match end.try_recv() {
                Ok(written) => break written?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => bail!("the writer is gone"),
            }
        };
        let disturbed = watch.end().disturbs();
        let cpu = usage::cpu_seconds(pid)? - before;
        let took = written.took.as_secs_f64();
        let sample = |value| vec![Sample { value, disturbed }];
        let lower = Better::Lower;
        self.add(
            "many changes: reached",
            "1/s",
            Better::Higher,
            sample(f64::from(written.writes) / took),
        );
        let lags = PICKS.map(|(what, pick)| (what, changes.iter().map(pick).collect()));
        for (what, times) in lags
            .into_iter()
            .chain([("the API server's answer", written.answers)])
        {
            for (name, fraction) in [("p50", 0.5), ("p99", 0.99)] {
                let time = quantile(&times, fraction).context("no change")?;
                let variant = format!("many changes, {what}: {name}");
                self.add(&variant, "ms", lower, sample(time));
            }
        }
        self.add(
            "many changes: processors used",
            "",
            lower,
            sample(cpu / took),
        );
        Ok(())
    }
}

/// What takes an endpoint from a Service, or gives it back.
fn shrunk_or_whole(services: u32, number: u32) -> (String, Value) {
    let (service, turn) = (Numbered::v4(number % services), number / services);
    let count = ENDPOINTS - (turn + 1) % 2;
    (format!("{SLICES}/{}", service.name()), service.slice(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_changes_its_service() {
        let endpoints = |number| {
            let (path, slice) = shrunk_or_whole(3, number);
            (path, slice["endpoints"].as_array().unwrap().len())
        };
        // Whole at the beginning.
        for service in 0..3 {
            let [first, second, third] = [0, 3, 6].map(|turn| endpoints(service + turn));
            assert_eq!((first.1, second.1, third.1), (9, 10, 9));
            assert!(first.0 == second.0 && second.0.ends_with(&Numbered::v4(service).name()));
        }
    }
}
