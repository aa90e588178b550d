//! The one task that owns the planner and the maps: changes in, kernel state out, as soon as it is idle.
//!
//! Nothing waits for a timer: a change is planned at once; what arrives while the kernel is being written is taken together
//! in the next plan. Must not do anything else that can block.

mod count;
mod external_ips;
mod gate;
mod pending;
mod query;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use proxy_kernel::heap;
use proxy_kernel::maps::Applied;
use proxy_model::{Change, Dump, HealthCheck, MapOp, Planner, Table};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use crate::events::{Events, Notice};
use crate::feed::Arrived;
use crate::health::Health;
use crate::healthcheck::{Check, ServiceId, Wanted};
use crate::metrics::{FAMILIES, Metrics, unix_seconds};
use crate::tasks::Shutdown;
use external_ips::ExternalIps;
use gate::Gate;
use pending::Pending;

pub use query::{Query, ServiceName, SyncStatus};

/// Tables that wait for the sync task; their builder waits meanwhile.
const TABLES: usize = 16;

/// What executes plans: the kernel, or memory in tests.
pub trait Executor: Send + 'static {
    /// Executes the operations in order.
    fn apply(&mut self, ops: &[MapOp]) -> Applied;
    /// The maps hold the whole cluster for the first time: time to attach.
    fn synced(&mut self) -> anyhow::Result<()>;
}

/// The kernel is ready for plans.
#[derive(Debug)]
pub struct Ready<E> {
    /// What executes them.
    pub executor: E,
    /// Capacity of FRONTENDS, per family.
    pub frontends: u32,
    /// Capacity of BACKENDS, per family, and of `BACKEND_STATE`.
    pub backends: u32,
    /// What an earlier run left.
    pub found: Option<Dump>,
}

/// Whom the sync task tells what it did.
#[derive(Clone, Debug)]
pub struct Audience {
    /// How far it is.
    pub health: Arc<Health>,
    /// How much it did.
    pub metrics: Metrics,
    /// What an operator should know.
    pub events: Events,
    /// What health-check node ports answer.
    pub checks: watch::Sender<Arc<Wanted>>,
}

/// The sync task.
#[derive(Debug)]
pub struct Sync<E> {
    planner: Planner,
    /// None until the kernel is ready; changes are taken in meanwhile.
    executor: Option<E>,
    ready: oneshot::Receiver<Ready<E>>,
    changes: mpsc::Receiver<Arrived>,
    queries: mpsc::Receiver<Query>,
    batch: usize,
    health: Arc<Health>,
    metrics: Metrics,
    events: Events,
    external_ips: ExternalIps,
    checks: watch::Sender<Arc<Wanted>>,
    tables: (mpsc::Sender<Table>, mpsc::Receiver<Table>),
    gate: Gate,
    /// A list was completed since the last plan.
    listed: bool,
    pending: Pending,
    started: Instant,
    started_at: Timestamp,
    /// The last error of the maps, so that a lasting one is logged once.
    map_error: Option<String>,
}

impl<E: Executor> Sync<E> {
    /// A task that takes at most `batch` changes into one plan.
    pub fn new(
        planner: Planner,
        ready: oneshot::Receiver<Ready<E>>,
        changes: mpsc::Receiver<Arrived>,
        queries: mpsc::Receiver<Query>,
        batch: usize,
        audience: Audience,
    ) -> Self {
        let Audience {
            health,
            metrics,
            events,
            checks,
        } = audience;
        Self {
            planner,
            executor: None,
            ready,
            changes,
            queries,
            batch,
            health,
            metrics,
            external_ips: ExternalIps::new(events.node()),
            events,
            checks,
            tables: mpsc::channel(TABLES),
            gate: Gate::default(),
            listed: false,
            pending: Pending::default(),
            started: Instant::now(),
            started_at: Timestamp::now(),
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
                ready = &mut self.ready, if self.executor.is_none() => {
                    let Ok(ready) = ready else {
                        // Not our failure: who loads the programs tells its own.
                        shutdown.requested().await;
                        return Ok(());
                    };
                    tokio::task::block_in_place(|| self.take_over(ready));
                    None
                }
                Some(arrived) = self.changes.recv() => Some(arrived),
                Some(table) = self.tables.1.recv() => {
                    self.planner.table_done(table);
                    None
                }
                () = tokio::time::sleep_until(wake.into()) => None,
            };
            // Planning and map writes are bursts of computation: the servers' tasks go on elsewhere meanwhile.
            tokio::task::block_in_place(|| self.round(arrived))?;
        }
    }

    fn take_over(&mut self, ready: Ready<E>) {
        let Ready {
            executor,
            frontends,
            backends,
            found,
        } = ready;
        self.planner.room(frontends, backends);
        if let Some(found) = found {
            self.planner.recover(found);
        }
        self.executor = Some(executor);
    }

    /// When the planner wants to be asked again: slices whose grace is over, or frontends that were refused.
    fn wake(&self) -> Instant {
        let plans = self.gate.is_open() && self.executor.is_some();
        let due = self.planner.retry_at().filter(|_| plans);
        self.started + due.map_or(Duration::from_hours(1), Duration::from_millis)
    }

    fn round(&mut self, first: Option<Arrived>) -> anyhow::Result<()> {
        self.health.taken();
        let more = std::iter::from_fn(|| self.changes.try_recv().ok());
        for Arrived { change, at } in first.into_iter().chain(more).take(self.batch) {
            self.listed |= matches!(change, Change::RelistEnd(_));
            self.gate.pass(&change);
            self.pending.add(&change, at);
            for notice in self.external_ips.see(&change) {
                warn!(service = %notice.about, "{}", notice.note);
                self.events.tell(notice);
            }
            self.planner.apply(change);
        }
        while let Ok(table) = self.tables.1.try_recv() {
            self.planner.table_done(table);
        }
        self.report_objects();
        if !self.gate.is_open() || self.executor.is_none() {
            // Nothing may reach the kernel yet, so nothing is late.
            self.health.accumulated();
            return Ok(());
        }
        let listed = std::mem::take(&mut self.listed);
        self.plan(listed)?;
        if listed {
            // The pages of a list, and the state that it replaced.
            heap::give_back();
        }
        Ok(())
    }

    fn plan(&mut self, full: bool) -> anyhow::Result<()> {
        let Some(executor) = &mut self.executor else {
            return Ok(());
        };
        let begin = Instant::now();
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ops = self.planner.plan(now_ms);
        let applied = if ops.is_empty() {
            Applied::default()
        } else {
            executor.apply(&ops)
        };
        let end = Instant::now();
        if !ops.is_empty() {
            count::duration(&self.metrics, &ops, full, end - begin);
            debug!(
                operations = ops.len(),
                changes = self.pending.changes(),
                sync_seconds = (end - begin).as_secs_f64(),
                event_to_kernel_seconds = self.pending.oldest(end).as_secs_f64(),
                "synced"
            );
        }
        count::operations(&self.metrics, &ops);
        let Applied {
            failed,
            failed_addrs,
            gone: _,
            error,
        } = applied;
        let refused = failed.len() + failed_addrs.len();
        self.planner.failed(&failed);
        let no_room = error.as_ref().is_some_and(is_full);
        self.report_maps(error.map(|error| error.to_string()), no_room, refused);
        self.report_objects();
        self.gauges();
        self.start_tables();
        self.tell_checks();
        // A full map is reported, and what fits is served; it does not make the node unhealthy. Anything else does, in time.
        if refused == 0 && self.map_error.is_none() || no_room {
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
            count::programmed(&self.metrics, self.planner.take_triggers(), self.started_at);
            self.health.applied();
            let now = unix_seconds(SystemTime::now());
            for family in FAMILIES {
                let last = self
                    .metrics
                    .sync_last
                    .get_or_create(&[("ip_family", family)]);
                last.set(now);
            }
            if first {
                self.first_sync(begin)?;
            }
        }
        Ok(())
    }

    /// Has Maglev tables built where nobody waits for them.
    fn start_tables(&mut self) {
        let jobs = self.planner.table_jobs();
        if jobs.is_empty() {
            return;
        }
        let built = self.tables.0.clone();
        tokio::task::spawn_blocking(move || {
            for job in jobs {
                if built.blocking_send(job.build()).is_err() {
                    // The sync task is gone, and its tables with it.
                    return;
                }
            }
        });
    }

    /// SEMANTICS 11.1: listeners open and close with each sync.
    fn tell_checks(&self) {
        let wanted: Wanted = self.planner.health_checks().map(check).collect();
        self.checks.send_if_modified(|known| {
            let differs = **known != wanted;
            if differs {
                *known = Arc::new(wanted);
            }
            differs
        });
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
        if let Some(executor) = &mut self.executor {
            executor.synced()?;
        }
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
            self.events.tell(Notice::object(&error));
        }
    }

    fn report_maps(&mut self, error: Option<String>, no_room: bool, refused: usize) {
        if let Some(text) = &error {
            self.metrics.map_errors.inc();
            if self.map_error.as_ref() != Some(text) {
                warn!(
                    error = text,
                    refused, "the kernel refused map operations; they are tried again"
                );
                if no_room {
                    let notice = Notice::node_warning("MapFull", "SyncRules", text.clone());
                    self.events.tell(notice);
                }
            }
        } else if self.map_error.is_some() {
            info!("map operations work again");
        }
        self.map_error = error;
    }

    fn gauges(&self) {
        self.metrics.planner(&self.planner.stats());
    }
}

fn check(of: &HealthCheck) -> (ServiceId, Check) {
    let HealthCheck {
        namespace,
        name,
        uid,
        port,
        local4,
        local6,
    } = of;
    let service = ServiceId {
        namespace: namespace.clone(),
        name: name.clone(),
        uid: uid.clone(),
    };
    let check = Check {
        port: *port,
        endpoints: *local4.max(local6),
    };
    (service, check)
}

/// E2BIG is a full hash map, ENOSPC a full ring of other kinds.
fn is_full(error: &proxy_kernel::Error) -> bool {
    use nix::errno::Errno;
    let full = [Errno::E2BIG as i32, Errno::ENOSPC as i32];
    matches!(error, proxy_kernel::Error::Map { source, .. } if source.raw_os_error().is_some_and(|code| full.contains(&code)))
}

#[cfg(test)]
mod tests;
