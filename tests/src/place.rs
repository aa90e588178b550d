//! Somewhere a process can run: a network namespace and a cgroup.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};

use crate::cgroup::Cgroup;
use crate::netns::{self, Namespace};

/// A namespace and the cgroup of the node it belongs to. Cheap to clone; both go when the last clone goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// For messages: `node-a`, `pod-a1`, `client`.
    pub name: String,
    ns: Arc<Namespace>,
    cgroup: Arc<Cgroup>,
}

impl Place {
    /// A place called `name`.
    pub fn new(name: impl Into<String>, ns: Arc<Namespace>, cgroup: Arc<Cgroup>) -> Self {
        Self {
            name: name.into(),
            ns,
            cgroup,
        }
    }

    /// Its network namespace.
    pub fn ns(&self) -> &Namespace {
        &self.ns
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Arc<Cgroup> {
        &self.cgroup
    }

    /// A command that will run here.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let ns = self.ns.file().try_clone()?;
        let mut procs: File = self.cgroup.procs()?;
        let mut command = Command::new(program.as_ref());
        // SAFETY: between fork and exec only setns(2) and write(2) on descriptors opened before, which are async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                procs.write_all(b"0")?;
                Ok(setns(ns.as_fd(), CloneFlags::CLONE_NEWNET)?)
            });
        }
        Ok(command)
    }

    /// Runs `program` here; its standard output, if it succeeds.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = self
            .command(program)?
            .args(args)
            .output()
            .with_context(|| format!("run {program}"))?;
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        ensure!(
            output.status.success(),
            "{program} {} in {}: {}: {stderr}{stdout}",
            args.join(" "),
            self.name,
            output.status
        );
        Ok(stdout.into_owned())
    }

    /// Runs lines of `ip` commands here.
    pub fn ip(&self, script: &str) -> Result<()> {
        netns::ip_batch(self.command("ip")?, script).with_context(|| format!("in {}", self.name))
    }

    /// Writes settings below /proc/sys/net.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            settings
                .iter()
                .try_for_each(|(key, value)| netns::write_sysctl(key, value))
        })?
        .with_context(|| format!("in {}", self.name))
    }

    /// Runs `work` on a thread inside the namespace (but in the caller's cgroup).
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.ns.enter(work)
    }
}
