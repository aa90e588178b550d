//! What the running kernel can do, found by trying.

use serde::Serialize;

/// Result of [`probe`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Features {
    /// Kernel release, for reports only.
    pub release: String,
    /// `bpf_set_retval` in cgroup hooks: errno of our choice.
    pub set_retval: bool,
    /// `bpf_ktime_get_coarse_ns`.
    pub coarse_clock: bool,
    /// `bpf_get_netns_cookie` in cgroup hooks.
    pub netns_cookie: bool,
    /// TCX links (6.6); clsact filters otherwise.
    pub tcx: bool,
    /// `BPF_MAP_UPDATE_BATCH` and its siblings on hash maps.
    pub batch: bool,
}

impl Features {
    /// As [`proxy_common::flags::feature`] bits.
    pub fn bits(&self) -> u32 {
        todo!()
    }
}

/// Tries each feature in the calling thread's network namespace.
pub fn probe() -> crate::error::Result<Features> {
    todo!()
}
