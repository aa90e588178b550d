//! The one task that owns the planner and the maps: changes in, kernel state out, as soon as it is idle.
//!
//! Nothing waits for a timer: a change is planned at once; what arrives while the kernel is being written is taken together
//! in the next plan. Must not do anything else that can block.

mod gate;
mod pending;
mod query;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use proxy_kernel::heap;
use proxy_kernel::maps::Applied;
use proxy_model::{Change, MapOp, Planner};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::feed::Arrived;
use crate::health::Health;
use crate::metrics::{Metrics, unix_seconds};
use crate::tasks::Shutdown;
use gate::Gate;
use pending::Pending;

pub use query::{Query, ServiceName, SyncStatus};

/// What executes plans: the kernel, or memory in tests.
pub trait Executor: Send + 'static {
    /// Executes the operations in order.
    fn apply(&mut self, ops: &[MapOp]) -> Applied;
    /// The maps hold the whole cluster for the first time: time to attach.
    fn synced(&mut self) -> anyhow::Result<()>;
}

/// The sync task.
#[derive(Debug)]
pub struct Sync<E> {
    planner: Planner,
    executor: E,
    changes: mpsc::Receiver<Arrived>,
    queries: mpsc::Receiver<Query>,
    batch: usize,
    health: Arc<Health>,
    metrics: Metrics,
    gate: Gate,
    pending: Pending,
    started: Instant,
    /// The last error of the maps, so that a lasting one is logged once.
    map_error: Option<String>,
}

impl<E: Executor> Sync<E> {
    /// A task that takes at most `batch` changes into one plan.
    pub fn new(
        planner: Planner,
        executor: E,
        changes: mpsc::Receiver<Arrived>,
        queries: mpsc::Receiver<Query>,
        batch: usize,
        health: Arc<Health>,
        metrics: Metrics,
    ) -> Self {
        Self {
            planner,
            executor,
            changes,
            queries,
            batch,
            health,
            metrics,
            gate: Gate::default(),
            pending: Pending::default(),
            started: Instant::now(),
            map_error: None,
        }
    }

    /// Runs until shutdown. What is in the maps stays there.
    pub async fn run(mut self, mut shutdown: Shutdown) -> anyhow::Result<()> {
        loop {
            let wake = self.wake();
            let arrived = tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                Some(query) = self.queries.recv() => {
                    query.answer(&self.planner, &self.gate);
                    continue;
                }
                Some(arrived) = self.changes.recv() => Some(arrived),
                () = tokio::time::sleep_until(wake.into()) => None,
            };
            // Planning and map writes are bursts of computation: the servers' tasks go on elsewhere meanwhile.
            tokio::task::block_in_place(|| self.round(arrived))?;
        }
    }

    /// When the planner wants to be asked again: slices whose grace is over, or frontends that were refused.
    fn wake(&self) -> Instant {
        let due = self.planner.retry_at().filter(|_| self.gate.is_open());
        self.started + due.map_or(Duration::from_hours(1), Duration::from_millis)
    }

    fn round(&mut self, first: Option<Arrived>) -> anyhow::Result<()> {
        self.health.taken();
        let mut listed = false;
        let more = std::iter::from_fn(|| self.changes.try_recv().ok());
        for Arrived { change, at } in first.into_iter().chain(more).take(self.batch) {
            listed |= matches!(change, Change::RelistEnd(_));
            self.gate.pass(&change);
            self.pending.add(&change, at);
            self.planner.apply(change);
        }
        self.report_objects();
        if !self.gate.is_open() {
            // Nothing may reach the kernel yet, so nothing is late.
            self.health.accumulated();
            return Ok(());
        }
        self.plan()?;
        if listed {
            // The pages of a list, and the state that it replaced.
            heap::give_back();
        }
        Ok(())
    }

    fn plan(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ops = self.planner.plan(now_ms);
        let applied = if ops.is_empty() {
            Applied::default()
        } else {
            self.executor.apply(&ops)
        };
        let end = Instant::now();
        if !ops.is_empty() {
            self.metrics
                .sync_duration
                .observe((end - begin).as_secs_f64());
            debug!(
                operations = ops.len(),
                changes = self.pending.changes(),
                sync_seconds = (end - begin).as_secs_f64(),
                event_to_kernel_seconds = self.pending.oldest(end).as_secs_f64(),
                "synced"
            );
        }
        self.count(&ops);
        let Applied {
            failed,
            failed_addrs,
            error,
        } = applied;
        let refused = failed.len() + failed_addrs.len();
        self.planner.failed(&failed);
        let full = error.as_ref().is_some_and(is_full);
        self.report_maps(error.map(|error| error.to_string()), refused);
        self.report_objects();
        self.gauges();
        // A full map is reported, and what fits is served; it does not make the node unhealthy. Anything else does, in time.
        if refused == 0 && self.map_error.is_none() || full {
            let first = self.gate.first_sync();
            if first {
                // How long the first lists took is no property of a change.
                self.pending.forget(&self.metrics);
                self.metrics
                    .first_sync
                    .set(self.started.elapsed().as_secs_f64());
            } else {
                self.pending.done(end, &self.metrics);
            }
            self.health.applied();
            self.metrics.sync_last.set(unix_seconds(SystemTime::now()));
            if first {
                self.first_sync(begin)?;
            }
        }
        Ok(())
    }

    fn first_sync(&mut self, begin: Instant) -> anyhow::Result<()> {
        let stats = self.planner.stats();
        info!(
            services = stats.services,
            service_ports = stats.service_ports,
            endpoints = stats.endpoints,
            seconds = begin.elapsed().as_secs_f64(),
            since_start_seconds = self.started.elapsed().as_secs_f64(),
            "the kernel holds the whole cluster"
        );
        self.executor.synced()?;
        self.health.synced();
        Ok(())
    }

    fn report_objects(&mut self) {
        for error in self.planner.take_errors() {
            self.metrics
                .object_errors
                .get_or_create(&[("kind", error.kind.label())])
                .inc();
            warn!(object = %error.object, problem = error.kind.label(), "{}", error.kind);
        }
    }

    fn report_maps(&mut self, error: Option<String>, refused: usize) {
        if let Some(text) = &error {
            self.metrics.map_errors.inc();
            if self.map_error.as_ref() != Some(text) {
                warn!(
                    error = text,
                    refused, "the kernel refused map operations; they are tried again"
                );
            }
        } else if self.map_error.is_some() {
            info!("map operations work again");
        }
        self.map_error = error;
    }

    fn count(&self, ops: &[MapOp]) {
        let mut counts = BTreeMap::new();
        for op in ops {
            let (name, elements) = match op {
                MapOp::WriteState { .. } => ("write_state", 1),
                MapOp::WriteBackends4 { backends, .. } => ("write_backends", backends.len()),
                MapOp::WriteBackends6 { backends, .. } => ("write_backends", backends.len()),
                MapOp::UpsertFrontends4(frontends) => ("upsert_frontends", frontends.len()),
                MapOp::UpsertFrontends6(frontends) => ("upsert_frontends", frontends.len()),
                MapOp::DeleteFrontends4(frontends) => ("delete_frontends", frontends.len()),
                MapOp::DeleteFrontends6(frontends) => ("delete_frontends", frontends.len()),
                MapOp::SetAddrs4(addrs) => ("set_addresses", addrs.len()),
                MapOp::SetAddrs6(addrs) => ("set_addresses", addrs.len()),
                MapOp::AddRanges4 { ranges, .. } => ("add_ranges", ranges.len()),
                MapOp::AddRanges6 { ranges, .. } => ("add_ranges", ranges.len()),
                MapOp::RemoveRanges4 { ranges, .. } => ("remove_ranges", ranges.len()),
                MapOp::RemoveRanges6 { ranges, .. } => ("remove_ranges", ranges.len()),
                MapOp::WriteTable { .. } => ("write_table", 1),
                MapOp::SetCidrs4 { services, .. } => ("set_cidrs", services.len()),
                MapOp::SetCidrs6 { services, .. } => ("set_cidrs", services.len()),
            };
            *counts.entry(name).or_insert(0) += elements;
        }
        for (name, elements) in counts {
            let elements = u64::try_from(elements).unwrap_or(u64::MAX);
            self.metrics
                .map_operations
                .get_or_create(&[("operation", name)])
                .inc_by(elements);
        }
    }

    fn gauges(&self) {
        self.metrics.planner(&self.planner.stats());
    }
}

/// E2BIG is a full hash map, ENOSPC a full ring of other kinds.
fn is_full(error: &proxy_kernel::Error) -> bool {
    use nix::errno::Errno;
    let full = [Errno::E2BIG as i32, Errno::ENOSPC as i32];
    matches!(error, proxy_kernel::Error::Map { source, .. } if source.raw_os_error().is_some_and(|code| full.contains(&code)))
}

#[cfg(test)]
mod tests;
