//! Somewhere a process can run: a network namespace and a cgroup.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns};

use crate::cgroup::Cgroup;
use crate::netns::{self, Namespace};
use crate::wait;

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

    /// Gives it `ips`, as addresses of its loopback device.
    pub fn own(&self, ips: &[IpAddr]) -> Result<()> {
        let mut script = String::new();
        for ip in ips {
            let prefix = if ip.is_ipv4() { 32 } else { 128 };
            writeln!(script, "addr add {ip}/{prefix} dev lo")?;
        }
        self.ip(&script)
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

    /// Waits until `device` carries packets: the kernel drops what is sent before it has noticed that both ends are up, for which it
    /// needs a lock that all namespaces share.
    pub fn wait_up(&self, device: &str) -> Result<()> {
        wait::until(
            &format!("{device} in {} is up", self.name),
            wait::SOON,
            || {
                let running = |found: InterfaceAddress| {
                    found.interface_name == device
                        && found.flags.contains(InterfaceFlags::IFF_RUNNING)
                };
                let up = self.enter(|| getifaddrs().map(|mut devices| devices.any(running)))??;
                ensure!(up, "no carrier");
                Ok(())
            },
        )
    }

    /// Runs `work` on a thread inside the namespace (but in the caller's cgroup).
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.ns.enter(work)
    }
}
