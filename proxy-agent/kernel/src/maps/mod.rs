//! The pinned maps: planner's operations in, counters and flows out.

use std::io;
use std::path::Path;

use proxy_common::addr::{V4, V6};
use proxy_common::key::FlowKey;
use proxy_common::reason::{Hook, Reason};
use proxy_common::value::Flow;
use proxy_model::{Dump, FrontendRef, MapOp};
use serde::Serialize;

use crate::error::{Error, Result};

/// All maps of one agent.
#[derive(Debug)]
pub struct Maps {}

/// What came of [`Maps::apply`].
#[derive(Debug, Default)]
pub struct Applied {
    /// Frontends the kernel refused (map full): give them to `Planner::failed`.
    pub failed: Vec<FrontendRef>,
    /// The first error, for the log.
    pub error: Option<Error>,
}

/// How full a map is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Occupancy {
    /// Map name.
    pub map: &'static str,
    /// Used entries.
    pub entries: u64,
    /// Capacity.
    pub max_entries: u64,
}

impl Maps {
    /// Opens the pinned maps of a running (or stopped) agent, for reading. [`Error::NotLoaded`] if nothing is pinned.
    pub fn open(_bpf_root: &Path) -> Result<Self> {
        todo!()
    }

    /// The contents the planner recovers from.
    pub fn dump(&self) -> Result<Dump> {
        todo!()
    }

    /// Executes `ops` in order. A refused element does not stop the rest.
    pub fn apply(&mut self, _ops: &[MapOp]) -> Applied {
        todo!()
    }

    /// Non-zero counters, summed over CPUs.
    pub fn counters(&self) -> Result<Vec<(Reason, Hook, u64)>> {
        todo!()
    }

    /// IPv4 flows, in batches. An `Err` ends the iteration.
    pub fn flows4(&self) -> impl Iterator<Item = io::Result<(FlowKey<V4>, Flow<V4>)>> + '_ {
        std::iter::empty()
    }

    /// IPv6 flows, in batches. An `Err` ends the iteration.
    pub fn flows6(&self) -> impl Iterator<Item = io::Result<(FlowKey<V6>, Flow<V6>)>> + '_ {
        std::iter::empty()
    }

    /// How full each map is that can be counted (walks FRONTENDS, FLOWS, NODE_ADDRS, DEVICES in batches; not EMBRYOS, an LRU).
    pub fn occupancy(&self) -> Result<Vec<Occupancy>> {
        todo!()
    }
}
