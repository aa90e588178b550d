//! `cargo xtask build`: the eBPF object, then the programs that carry it.

use std::process::Command;

use anyhow::Result;

use crate::{ebpf, places, setup, shell};

/// Builds the object (one that logs, with `trace`) and, unless `ebpf_only`, in release the agent and the programs of the test cluster.
pub(crate) fn run(ebpf_only: bool, trace: bool) -> Result<()> {
    setup::build_tools()?;
    ebpf::build_with(trace)?;
    if ebpf_only {
        return Ok(());
    }
    shell::heading("building kube-shunt");
    shell::run(cargo().args([
        "build",
        "--release",
        "--package",
        "kube-shunt",
        "--package",
        "integration",
        "--bins",
    ]))
}

/// The everyday cargo, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(places::root());
    cargo
}
