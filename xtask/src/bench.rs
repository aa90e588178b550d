//! `cargo xtask bench`: builds the agent in release, gets what it is compared with, and hands over to `proxy-bench`.

#[path = "../../bench/src/options.rs"]
#[expect(
    unreachable_pub,
    reason = "the file is a public module of proxy-bench too"
)]
mod options;

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

pub(crate) use options::Options;

use crate::{build, ebpf, host, places, setup, shell};

/// Builds and measures. The words on the command line go to `proxy-bench` as they are; they have been checked.
pub(crate) fn run(options: &Options) -> Result<()> {
    let measures = options.from.is_empty() && !options.list;
    if measures {
        // Before the long build, not after it.
        host::can_run_clusters()?;
        setup::cluster_tools()?;
        let mut missing = setup::control_plane();
        missing.extend(setup::peer());
        missing.extend(setup::cross_check());
        for error in missing {
            shell::note(&format!("{error:#}; the benchmark says what it leaves out"));
        }
        setup::build_tools()?;
        ebpf::build()?;
    }
    shell::heading("building the agent and the benchmark");
    shell::run(build::cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "kube-shunt",
        "--package",
        "integration",
        "--package",
        "proxy-bench",
        "--bins",
    ]))?;
    shell::heading("the benchmark");
    // In place of this process, so that Ctrl-C reaches one that cleans up.
    let program = places::target().join("release/proxy-bench");
    let error = Command::new(&program)
        .args(std::env::args_os().skip(2))
        .exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
