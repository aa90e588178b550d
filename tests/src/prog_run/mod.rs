//! The real eBPF programs under `BPF_PROG_TEST_RUN`, beside the memory body: same packets, same map contents.
//!
//! ```text
//! Namespace (devices, routes of sim::scene) ─┐
//! World ── mirror ──▶ Kernel (maps, programs) ── run ──▶ what it left ── compare ──▶ World after Program::run
//! ```

mod aging;
pub mod btf;
mod compare;
mod context;
mod embryos;
mod kernel;
mod mirror;
mod scene;
mod script;

pub use compare::{Lane, Policy, Tally};
pub use embryos::Embryos;
pub use kernel::{Kernel, Left};
pub use mirror::Table;
pub use scene::namespace;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The eBPF object: `KUBE_SHUNT_BPF`, else what `cargo xtask build --ebpf-only` makes.
pub fn object() -> Result<Vec<u8>> {
    let built = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/ebpf/kube-shunt.bpf.o"
    );
    let path = std::env::var_os("KUBE_SHUNT_BPF").map_or_else(|| built.into(), PathBuf::from);
    std::fs::read(&path).with_context(|| {
        format!(
            "read {}; `cargo xtask build --ebpf-only` makes it",
            path.display()
        )
    })
}

/// Seconds of the clock that the programs read.
pub fn coarse_seconds() -> u32 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid timespec for the call to fill. The clock exists on every kernel that has eBPF.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    u32::try_from(now.tv_sec).unwrap_or(u32::MAX)
}
