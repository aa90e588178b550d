//! Loading: surroundings checked, features probed, pinned maps checked and reused, programs loaded.

use proxy_common::value::Settings;

use crate::error::Result;
use crate::features::Features;
use crate::options::{Capacities, LoadOptions};
use crate::programs::Programs;
use crate::Maps;

/// The loaded object: maps live and pinned, programs in the kernel, nothing attached yet (or still: what an earlier run pinned).
#[derive(Debug)]
pub struct Loaded {
    /// The maps.
    pub maps: Maps,
    /// The programs.
    pub programs: Programs,
    /// What the kernel can do.
    pub features: Features,
    /// What the programs were given.
    pub settings: Settings,
    /// Actual map sizes: an existing larger map keeps its size.
    pub capacities: Capacities,
    /// Whether maps of an earlier run were reused: recover the planner from [`Maps::dump`].
    pub reused: bool,
    /// Remarks for the log, one line each (maps recreated, old layouts found, ...).
    pub remarks: Vec<String>,
}

impl Loaded {
    /// Loads everything. Blocks for a few hundred milliseconds. Call it in the node's network namespace.
    pub fn load(_options: &LoadOptions) -> Result<Self> {
        todo!()
    }

    /// After all programs are attached: removes what earlier layout versions left behind. Returns what it removed.
    pub fn retire_old_layouts(&self, _options: &LoadOptions) -> Vec<String> {
        todo!()
    }
}
