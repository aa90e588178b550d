//! Where the programs under test are.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The agent: `KUBE_SHUNT_BIN`, else beside this program, else in target/release or target/debug.
pub fn kube_shunt() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KUBE_SHUNT_BIN") {
        return Ok(path.into());
    }
    find("kube-shunt")
        .context("no kube-shunt program found; run `cargo xtask build`, or set KUBE_SHUNT_BIN")
}

/// The client and server of this crate.
pub fn probe() -> Result<PathBuf> {
    find("probe").context("no probe program found; run `cargo build --package integration --bins`")
}

fn find(name: &str) -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    // Tests are in target/<profile>/deps, programs in target/<profile>.
    let profile = this
        .ancestors()
        .skip(1)
        .find(|dir| !dir.ends_with("deps"))?;
    let target = profile.parent()?;
    [
        profile.join(name),
        target.join("release").join(name),
        target.join("debug").join(name),
    ]
    .into_iter()
    .find(|path| path.is_file())
}
