//! A cgroup v2 for each place, so that an agent's socket hooks see its own node's processes only.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// The mount point of the cgroup v2 hierarchy, if there is one (`/sys/fs/cgroup`, or below it on hybrid machines).
pub fn mount_point() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| fields.get(1).map(PathBuf::from))
}

/// A cgroup; when dropped, its processes are killed and it is removed.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    keep: bool,
}

impl Cgroup {
    /// Makes `<mount point>/<name>`.
    pub fn create(name: &str) -> Result<Self> {
        let path = mount_point().context("no cgroup v2 is mounted")?.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self { path, keep: false })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the cgroup and its processes behind when this value is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// The file that a process writes `0` to in order to join.
    pub fn procs(&self) -> Result<File> {
        let path = self.path.join("cgroup.procs");
        File::options()
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = remove(&self.path)
        {
            eprintln!("{error:#}");
        }
    }
}

/// Kills every process in `path`, then removes it.
pub fn remove(path: &Path) -> Result<()> {
    wait::until(&format!("remove {}", path.display()), wait::SOON, || {
        let Ok(members) = std::fs::read_to_string(path.join("cgroup.procs")) else {
            return Ok(());
        };
        for member in members.lines() {
            // It may be gone already: what counts is that the group becomes empty.
            let _gone = kill(Pid::from_raw(member.parse()?), Signal::SIGKILL);
        }
        ensure!(members.is_empty(), "processes left: {members}");
        Ok(std::fs::remove_dir(path)?)
    })
}
