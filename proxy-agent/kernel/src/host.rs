//! The surroundings the agent needs: rights, kernel version, bpffs, cgroup v2, locked memory.

use std::path::{Path, PathBuf};

use crate::error::Result;

/// Root, kernel, memlock limit and a bpffs under `bpf_root` (mounted if missing): one clear error each.
pub fn prepare(_bpf_root: &Path) -> Result<()> {
    todo!()
}

/// The cgroup v2 mount point: /sys/fs/cgroup, or /sys/fs/cgroup/unified in the hybrid layout, or wherever it is mounted.
pub fn cgroup_root() -> Result<PathBuf> {
    todo!()
}
