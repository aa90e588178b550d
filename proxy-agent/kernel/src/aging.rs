//! Aging of FLOWS: entries that look expired are found here, in batches; a program decides and deletes, both directions together.
//!
//! The rule is in `proxy_common::expiry`; why a program deletes is said in `proxy_common::path::hook::age`. In EMBRYOS and FRAGMENTS the
//! oldest make room.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use aya::Pod;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::expiry::{Seen, suspicious};
use proxy_common::key::FlowKey;
use proxy_common::path::hook::age;
use proxy_common::value::Flow;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::load::Loaded;
use crate::maps::table::Table;
use crate::programs::{Name, Programs};
use crate::sys::bpf::test_run;
use crate::sys::misc::monotonic_seconds;

/// Shortest pause between two passes: closed connections wait [`proxy_common::limits::CLOSED_SECONDS`] anyway.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest pause, whatever a pass costs.
const LONGEST: Duration = Duration::from_secs(30);
/// Passes may take one part in this many of one processor's time.
const DUTY: u32 = 20;

/// Totals since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AgingStats {
    /// Passes over both tables.
    pub passes: u64,
    /// Entries of `FLOWS_V4` that the last pass left.
    pub entries4: u64,
    /// Entries of `FLOWS_V6` that the last pass left.
    pub entries6: u64,
    /// Entries deleted.
    pub expired: u64,
    /// Passes that ended with an error.
    pub errors: u64,
}

impl AgingStats {
    /// Entries of both tables.
    pub fn entries(&self) -> u64 {
        self.entries4 + self.entries6
    }
}

/// The aging thread. Dropping it stops it.
#[derive(Debug)]
pub struct Aging {
    stats: watch::Receiver<AgingStats>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Aging {
    /// Starts the thread.
    pub fn start(loaded: &Loaded) -> Result<Self> {
        let Loaded { maps, programs, .. } = loaded;
        let v4 = Flows::new(maps.flows4.duplicate()?, programs, Name::AgeV4)?;
        let v6 = Flows::new(maps.flows6.duplicate()?, programs, Name::AgeV6)?;
        let (report, stats) = watch::channel(AgingStats::default());
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("aging".to_owned())
            .spawn(move || run(&v4, &v6, &report, &stopped))
            .map_err(Error::io("start", "the aging thread"))?;
        Ok(Self {
            stats,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Totals so far.
    pub fn stats(&self) -> AgingStats {
        *self.stats.borrow()
    }

    /// Ends the thread and waits for it.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the aging thread panicked");
        }
    }
}

impl Drop for Aging {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread works on, of one family.
struct Flows<A> {
    table: Table<FlowKey<A>, Flow<A>>,
    name: Name,
    program: OwnedFd,
}

impl<A> Flows<A> {
    fn new(table: Table<FlowKey<A>, Flow<A>>, programs: &Programs, name: Name) -> Result<Self> {
        let program = programs.fd(name)?.try_clone_to_owned();
        Ok(Self {
            table,
            name,
            program: program.map_err(Error::io("duplicate program", name.symbol()))?,
        })
    }

    /// Runs the program on a batch of keys. Returns the number of entries that it deleted.
    fn end(&self, batch: &[u8]) -> Result<u64> {
        let ended = test_run(&self.program, batch).map_err(|error| Error::TestRun {
            name: self.name.symbol(),
            reason: error.to_string(),
        })?;
        Ok(ended.into())
    }
}

fn run(
    v4: &Flows<V4>,
    v6: &Flows<V6>,
    report: &watch::Sender<AgingStats>,
    stopped: &mpsc::Receiver<()>,
) {
    let mut pause = SHORTEST;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let started = Instant::now();
        let now = monotonic_seconds();
        let passes = (pass(v4, now), pass(v6, now));
        pause = next_pause(started.elapsed());
        report.send_modify(|stats| {
            stats.passes += 1;
            count(
                passes.0,
                &mut stats.entries4,
                &mut stats.expired,
                &mut stats.errors,
            );
            count(
                passes.1,
                &mut stats.entries6,
                &mut stats.expired,
                &mut stats.errors,
            );
        });
    }
}

fn count(pass: Result<Pass>, entries: &mut u64, expired: &mut u64, errors: &mut u64) {
    match pass {
        Ok(pass) => {
            *entries = pass.seen.saturating_sub(pass.expired);
            *expired += pass.expired;
        }
        Err(error) => {
            *errors += 1;
            tracing::warn!(%error, "flows could not be aged");
        }
    }
}

/// What one pass over one table did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Pass {
    seen: u64,
    expired: u64,
}

/// Walks over the table once. Memory is bounded by the batch size.
///
/// What the walk says of an entry is only a hint: by now its client may have begun anew. The program looks again.
fn pass<A: Addr>(flows: &Flows<A>, now: u32) -> Result<Pass>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let mut result = Pass::default();
    let mut batch = Vec::new();
    let mut walk = flows.table.walk();
    while let Some((keys, values)) = walk
        .next_batch()
        .map_err(Error::map(flows.table.name(), "walking over flows"))?
    {
        result.seen += keys.len() as u64;
        // The peer is asked by the program only, where the entry alone looks over: that is what keeps a pass cheap.
        let mut over = keys
            .iter()
            .zip(values)
            .filter(|(key, flow)| suspicious(key.proto, Seen::from(*flow), now))
            .flat_map(|(key, _flow)| age::bytes(key))
            .peekable();
        while over.peek().is_some() {
            batch.clear();
            batch.extend(age::HEADER);
            batch.extend(over.by_ref().take(age::KEYS * size_of::<FlowKey<A>>()));
            result.expired += flows.end(&batch)?;
        }
    }
    Ok(result)
}

/// The pause after a pass that took `took`: short while passes are cheap.
fn next_pause(took: Duration) -> Duration {
    took.saturating_mul(DUTY).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_pause_grows_with_the_cost_of_a_pass() {
        assert_eq!(next_pause(Duration::ZERO), SHORTEST);
        assert_eq!(
            next_pause(Duration::from_millis(140)),
            Duration::from_millis(2_800)
        );
        assert_eq!(next_pause(LONGEST), LONGEST);
    }
}
