//! `cargo xtask demo`: builds everything and runs the demo of the integration crate.

use std::process::Command;

use anyhow::Result;

use crate::{build, host, places, setup, shell};

/// Runs the demo with `arguments`.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    // Before the long build, not after it.
    host::can_run_clusters()?;
    setup::cluster_tools()?;
    build::run(false, false)?;
    shell::heading("the demo");
    shell::run(Command::new(places::target().join("release/demo")).args(arguments))
}
