//! Removes every trace of kube-shunt from a node.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// What to clean.
#[derive(Clone, Debug)]
pub struct CleanupOptions {
    /// Pin root.
    pub bpf_root: PathBuf,
    /// cgroup v2 root, if there is one.
    pub cgroup_root: Option<PathBuf>,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Removed {
    /// One line for each thing removed.
    pub removed: Vec<String>,
    /// One line for each thing that could not be removed.
    pub errors: Vec<String>,
}

/// Removes pins, links, clsact filters, the nft table and cgroup programs, of any layout version. Acts on the network namespace it runs in. Goes on after errors.
pub fn cleanup(_options: &CleanupOptions) -> Removed {
    todo!()
}

pub(crate) fn remove_version(_version: &Path, _report: &mut Removed) {
    todo!()
}
