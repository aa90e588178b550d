//! Why the kernel side could not do something, in words an operator can act on.

use std::io;
use std::path::{Path, PathBuf};

/// All errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process lacks the rights.
    #[error(
        "kube-shunt must run as root (or with CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_RESOURCE)"
    )]
    NotRoot,
    /// The kernel is too old.
    #[error("kernel {release} is too old: kube-shunt needs Linux 5.10 or later")]
    OldKernel {
        /// As uname says.
        release: String,
    },
    /// No cgroup v2 hierarchy.
    #[error("no cgroup v2 file system at {}: mount one, or name it with --cgroup-root", path.display())]
    NoCgroup2 {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// No bpffs, and none could be mounted.
    #[error("no bpffs for {}: `mount -t bpf bpf /sys/fs/bpf` failed: {source}", path.display())]
    NoBpffs {
        /// The pin root.
        path: PathBuf,
        /// What mount(2) said.
        source: io::Error,
    },
    /// The binary carries no eBPF object.
    #[error("built without the eBPF object; run `cargo xtask build`, then build the agent again")]
    NoObject,
    /// The eBPF object could not be loaded.
    #[error("cannot load the eBPF object: {0}")]
    Object(String),
    /// The kernel refused a program.
    #[error("the kernel refused program {name}: {reason}")]
    Program {
        /// Program name.
        name: String,
        /// Verifier log or errno.
        reason: String,
    },
    /// The kernel did not run a program on a packet of ours.
    #[error("the kernel did not run program {name}: {reason}")]
    TestRun {
        /// Program name.
        name: &'static str,
        /// What it said.
        reason: String,
    },
    /// The object lacks a map or a program that this agent needs.
    #[error(
        "the eBPF object has no {kind} {name}: object and agent are of different versions, build both again"
    )]
    Missing {
        /// "map" or "program".
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A map is of another shape than this build expects.
    #[error("map {name} at {} is {found}, expected {expected}: it belongs to another version of kube-shunt", path.display())]
    Layout {
        /// Map name.
        name: &'static str,
        /// Its pin.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What this build uses.
        expected: String,
    },
    /// Nothing is pinned.
    #[error("kube-shunt is not loaded on this node: nothing is pinned under {}", path.display())]
    NotLoaded {
        /// The pin root.
        path: PathBuf,
    },
    /// A system call on a named thing failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call on a map failed.
    #[error("map {map}: {action} failed: {source}")]
    Map {
        /// Map name.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program could not be attached to a device.
    #[error("cannot attach {program} to device {device}: {source}")]
    Attach {
        /// Program name.
        program: &'static str,
        /// Device name.
        device: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A device named for XDP has no driver support.
    #[error(
        "device {device} cannot run XDP in its driver ({source}); generic XDP is slower than TC, so kube-shunt does not use it: \
         leave the device out of --xdp"
    )]
    XdpUnsupported {
        /// Device name.
        device: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A netlink request failed.
    #[error("netlink: {action} failed: {source}")]
    Netlink {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// `nft` is needed but not installed.
    #[error(
        "the `nft` program is not installed, but netfilter's masquerade is needed for {why}: install nftables"
    )]
    NftMissing {
        /// What made it necessary: a device, or an option.
        why: String,
    },
    /// `nft` failed.
    #[error("nft failed: {0}")]
    Nft(String),
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn map(map: &'static str, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Map {
            map,
            action,
            source,
        }
    }

    pub(crate) fn netlink(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Netlink { action, source }
    }
}

/// Shorthand of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
