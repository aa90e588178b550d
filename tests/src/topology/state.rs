//! Names and directories of one cluster, and the removal of clusters whose owner died.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::{cgroup, netns};

/// Clusters of tests.
const TESTS: &str = "/run/kube-shunt-test";
/// The cluster of the demo.
const DEMO: &str = "/run/kube-shunt-demo";
/// Held while a cluster is claimed.
const TURN: &str = "/run/kube-shunt-test.lock";
/// Where pins are.
const BPF: &str = "/sys/fs/bpf";

/// What belongs to a cluster, by name. The lock is held while its owner lives.
#[derive(Debug)]
pub struct State {
    /// Directory of files that belong to it.
    pub dir: PathBuf,
    /// First part of the names of namespaces, cgroups and pin directories.
    pub prefix: String,
    lock: Option<Flock<File>>,
}

impl State {
    /// Names that no other test uses.
    pub fn for_test() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);

        let prefix = format!(
            "kst{}x{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self::claim(Path::new(TESTS).join(&prefix), prefix)
    }

    /// The demo's names. There is one demo at a time.
    pub fn for_demo() -> Result<Self> {
        Self::claim(DEMO.into(), "ks-demo".into())
    }

    fn claim(dir: PathBuf, prefix: String) -> Result<Self> {
        // One at a time: a directory without a lock yet looks like one whose owner died.
        let turn = File::create(TURN).with_context(|| format!("make {TURN}"))?;
        let _turn = Flock::lock(turn, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let file = File::create(dir.join("lock"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| errno)
            .with_context(|| format!("{} is in use by another process", dir.display()))?;
        mount_bpffs()?;
        Ok(Self {
            dir,
            prefix,
            lock: Some(lock),
        })
    }

    /// The full name of the namespace `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Where the agent of node `name` pins.
    pub fn bpf_root(&self, name: &str) -> PathBuf {
        Path::new(BPF).join(&self.prefix).join(name)
    }

    /// The names without the lock.
    pub(crate) fn clone_names(&self) -> Self {
        Self {
            dir: self.dir.clone(),
            prefix: self.prefix.clone(),
            lock: None,
        }
    }

    /// Removes everything of these names: processes, cgroups, pins, namespaces, files. Goes on after errors; the first is returned.
    pub fn remove(&self) -> Result<()> {
        let mut outcome = Ok(());
        if let Some(root) = cgroup::mount_point()
            .map(|mount| mount.join(&self.prefix))
            .filter(|root| root.is_dir())
        {
            for entry in std::fs::read_dir(&root)?
                .flatten()
                .filter(|entry| entry.path().is_dir())
            {
                outcome = outcome.and(cgroup::remove(&entry.path()));
            }
            outcome = outcome.and(cgroup::remove(&root));
        }
        for name in netns::with_prefix(&self.name("")) {
            netns::delete(&name);
        }
        for dir in [Path::new(BPF).join(&self.prefix), self.dir.clone()] {
            if dir.exists() {
                outcome = outcome.and(
                    std::fs::remove_dir_all(&dir)
                        .with_context(|| format!("remove {}", dir.display())),
                );
            }
        }
        outcome
    }

    /// Whether a demo runs, or was left running.
    pub fn demo_exists() -> bool {
        Path::new(DEMO).exists()
    }

    /// Removes clusters of tests whose process is gone.
    pub fn remove_leftovers() {
        let Ok(clusters) = std::fs::read_dir(TESTS) else {
            return;
        };
        for cluster in clusters.flatten() {
            // Fails on clusters that live: their owner holds the lock. Or another test removes this one right now.
            if let Ok(prefix) = cluster.file_name().into_string()
                && let Ok(state) = Self::claim(cluster.path(), prefix)
            {
                drop(state);
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.lock.is_some()
            && let Err(error) = self.remove()
        {
            eprintln!("{}: {error:#}", self.prefix);
        }
    }
}

/// Mounts bpffs where every distribution has it, on machines without systemd.
fn mount_bpffs() -> Result<()> {
    ensure!(
        Path::new(BPF).is_dir(),
        "{BPF} does not exist: the kernel has no eBPF"
    );
    if statfs(BPF)?.filesystem_type() != BPF_FS_MAGIC {
        mount(
            Some("bpf"),
            BPF,
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("mount {BPF}"))?;
    }
    Ok(())
}
