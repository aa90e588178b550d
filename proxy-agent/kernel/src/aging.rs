//! Aging of FLOWS: expired flows are found in batches and deleted, both directions together.
//!
//! The rule is in `proxy_common::expiry`. In EMBRYOS and FRAGMENTS the oldest make room.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use aya::Pod;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::expiry::{Seen, expired, suspicious};
use proxy_common::flags::FlowFlags;
use proxy_common::key::FlowKey;
use proxy_common::value::Flow;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::maps::Maps;
use crate::maps::states::States;
use crate::maps::table::Table;
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
    pub fn start(maps: &Maps) -> Result<Self> {
        let flows = Flows {
            v4: maps.flows4.duplicate()?,
            v6: maps.flows6.duplicate()?,
            states: maps.states.duplicate()?,
        };
        let (report, stats) = watch::channel(AgingStats::default());
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("aging".to_owned())
            .spawn(move || run(&flows, &report, &stopped))
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

/// What the thread works on.
struct Flows {
    v4: Table<FlowKey<V4>, Flow<V4>>,
    v6: Table<FlowKey<V6>, Flow<V6>>,
    states: States,
}

fn run(flows: &Flows, report: &watch::Sender<AgingStats>, stopped: &mpsc::Receiver<()>) {
    let mut pause = SHORTEST;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let started = Instant::now();
        let now = monotonic_seconds();
        let Flows { v4, v6, states } = flows;
        let passes = (pass(v4, states, now), pass(v6, states, now));
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
/// Meanwhile clients begin again by the ports of connections that are over. So what a batch says is only a hint: each connection is read
/// again and deleted at once.
fn pass<A: Addr>(flows: &Table<FlowKey<A>, Flow<A>>, states: &States, now: u32) -> Result<Pass>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let mut result = Pass::default();
    let mut walk = flows.walk();
    while let Some((keys, values)) = walk
        .next_batch()
        .map_err(Error::map(flows.name(), "walking over flows"))?
    {
        result.seen += keys.len() as u64;
        for (key, flow) in keys.iter().zip(values) {
            if suspicious(key.proto, Seen::from(flow), now) {
                result.expired += end(flows, states, key, now)?;
            }
        }
    }
    Ok(result)
}

/// Deletes both directions of the connection that has `key`, if it is over. Returns the number of entries.
fn end<A: Addr>(
    flows: &Table<FlowKey<A>, Flow<A>>,
    states: &States,
    key: &FlowKey<A>,
    now: u32,
) -> Result<u64>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    // It is gone where its other direction was met before.
    let Some(flow) = flows.lookup(key)? else {
        return Ok(0);
    };
    // The peer is asked only where the entry alone looks over: that is what keeps a pass cheap.
    if !suspicious(key.proto, Seen::from(&flow), now) {
        return Ok(0);
    }
    let peer_key = flow.peer(key.proto);
    let peer = flows.lookup(&peer_key)?;
    let peer_seen = peer.as_ref().map(Seen::from);
    if !expired(key.proto, Seen::from(&flow), peer_seen, now) {
        return Ok(0);
    }
    let mut entries = [(key, Some(flow)), (&peer_key, peer)];
    // The answer's entry first: a SYN that comes in between finds its own, sees that it is over, and begins anew.
    if !flow.flags.has(FlowFlags::REPLY) {
        entries.reverse();
    }
    let mut ended = 0;
    for (key, flow) in entries {
        if let Some(flow) = flow
            && delete(flows, states, key, flow.last_seen)?
        {
            ended += 1;
        }
    }
    Ok(ended)
}

/// Deletes one entry, and puts it back if it is not the one that was last seen at `last` any more; whether it is gone.
fn delete<A: Addr>(
    flows: &Table<FlowKey<A>, Flow<A>>,
    states: &States,
    key: &FlowKey<A>,
    last: u32,
) -> Result<bool>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let Some(flow) = flows.take(key)? else {
        return Ok(false);
    };
    if flow.last_seen != last {
        flows.insert(key, &flow)?;
        return Ok(false);
    }
    if counts(flow.flags) {
        states.close(flow.backend, flow.generation)?;
    }
    Ok(true)
}

/// Whether an entry stands for its connection in [`proxy_common::value::BackendState::active`]: the client's direction does.
fn counts(flags: FlowFlags) -> bool {
    flags.has(FlowFlags::COUNTED) && !flags.has(FlowFlags::REPLY)
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
