//! `cargo xtask lint`: form and lints of host and eBPF code, without a test run.

use anyhow::Result;

use crate::{build, ebpf, setup, shell};

/// Checks everything; the first finding ends it.
pub(crate) fn run() -> Result<()> {
    setup::build_tools()?;
    shell::heading("format");
    shell::run(build::cargo().args(["fmt", "--all", "--check"]))?;
    shell::heading("clippy, host");
    shell::run(build::cargo().args([
        "clippy",
        "--quiet",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    shell::heading("clippy, eBPF");
    ebpf::clippy()?;
    shell::heading("tidy");
    shell::run(build::cargo().args(["test", "--quiet", "--package", "xtask", "--test", "tidy"]))
}
