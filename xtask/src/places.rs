//! Where things live: the workspace, its target folder, the cache outside the repository.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    // cargo sets it anew for every `cargo xtask`; the built-in value serves a binary started by hand.
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest
        .parent()
        .map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// cargo's target folder.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// The eBPF object that everything loads.
pub(crate) fn ebpf_object() -> PathBuf {
    // proxy-kernel's build script knows this place, whatever CARGO_TARGET_DIR says.
    root().join("target/ebpf/kube-shunt.bpf.o")
}

/// Links to the real parts that tests use (kube-apiserver, etcd, helm), whatever place they were found in.
pub(crate) fn assets() -> PathBuf {
    root().join("target/assets")
}

/// The cache for what takes long to fetch or to build; survives `cargo clean` and serves every checkout.
pub(crate) fn cache(entry: &str) -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: no place for the cache")?;
    Ok(base.join("kube-shunt").join(entry))
}
