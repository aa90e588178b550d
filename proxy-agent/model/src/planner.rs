//! The planner: the only door of this crate. Takes changes, keeps errors, makes plans; never performs them.

use proxy_common::limits;

use crate::change::Change;
use crate::error::ObjectError;
use crate::plan::{Dump, FrontendRef, MapOp};
use crate::view::{ServiceView, Stats};

/// What the planner needs to know of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannerConfig {
    /// The Node object's name; endpoints with this `nodeName` are local.
    pub node_name: String,
    /// Capacity of FRONTENDS, per family.
    pub frontends: u32,
    /// Capacity of BACKENDS, per family, and of `BACKEND_STATE`.
    pub backends: u32,
}

impl PlannerConfig {
    /// The default capacities.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self { node_name: node_name.into(), frontends: limits::FRONTENDS, backends: limits::BACKENDS }
    }
}

/// Turns cluster objects into map operations.
#[derive(Debug)]
pub struct Planner {
    config: PlannerConfig,
}

impl Planner {
    /// A planner that knows no objects, over empty maps.
    pub fn new(config: PlannerConfig) -> Self {
        Self { config }
    }

    /// Takes over the maps of an earlier run; call it before the first plan. Ids, slices and generations are kept; what no
    /// object wants is removed by the first plan.
    pub fn recover(&mut self, dump: Dump) {
        let _ = (dump, &self.config);
    }

    /// Takes one change. Work is proportional to it.
    pub fn apply(&mut self, change: Change) {
        let _ = change;
    }

    /// The problems that were not reported yet: each once, until it changes.
    pub fn take_errors(&mut self) -> Vec<ObjectError> {
        Vec::new()
    }

    /// What to do so that the maps follow the objects. `now_ms` is any clock that does not go back.
    ///
    /// The planner takes the plan as done; call [`Self::failed`] for what was not, before the next plan.
    pub fn plan(&mut self, now_ms: u64) -> Vec<MapOp> {
        let _ = now_ms;
        Vec::new()
    }

    /// The frontends that the kernel refused to store or delete: the next plan tries again.
    pub fn failed(&mut self, failed: &[FrontendRef]) {
        let _ = failed;
    }

    /// When to plan again even without a change: something waits for room that comes back then, or was refused.
    pub fn retry_at(&self) -> Option<u64> {
        None
    }

    /// All `ServicePorts`, by Service name.
    pub fn services(&self) -> impl Iterator<Item = ServiceView<'_>> {
        std::iter::empty()
    }

    /// The current counts.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
