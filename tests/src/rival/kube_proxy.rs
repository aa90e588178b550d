//! kube-proxy in a node's namespace: started, waited for, ended, its rules removed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::control_plane::process::Daemon;
use crate::control_plane::program_path;
use crate::place::Place;
use crate::{requirements, wait};

/// How long the first sync may take on a machine that does other things.
const READY: Duration = Duration::from_mins(4);
/// What it calls.
const PROGRAMS: [&str; 3] = ["iptables", "nft", "conntrack"];

/// Whether `test` has kube-proxy and what it calls; prints why not.
pub fn available(test: &str) -> bool {
    if !program_path("kube-proxy").is_file() {
        requirements::skip(test, "no kube-proxy; `cargo xtask setup` says why");
        return false;
    }
    PROGRAMS
        .iter()
        .all(|program| requirements::installed(test, program))
}

/// A running kube-proxy; killed and cleaned up after when dropped.
#[derive(Debug)]
pub struct KubeProxy {
    daemon: Daemon,
    host: Place,
    config: PathBuf,
    leave: bool,
}

impl KubeProxy {
    /// Starts it at `host` with the configuration in the file `config`, and waits until it has synced once.
    pub fn start(host: &Place, dir: &Path, config: &Path) -> Result<Self> {
        let mut proxy = Self::spawn(host, dir, config, None)?;
        wait::until("kube-proxy has synced", READY, || proxy.synced())?
            .with_context(|| proxy.daemon.tail())?;
        Ok(proxy)
    }

    /// Starts it without waiting for it. It finds the programs that it calls in `tools` first.
    pub fn spawn(host: &Place, dir: &Path, config: &Path, tools: Option<&Path>) -> Result<Self> {
        let flags = vec![
            format!("--config={}", config.display()),
            format!("--hostname-override={}", host.name),
        ];
        let daemon = Daemon::new(host, dir, "kube-proxy", flags);
        let mut proxy = Self {
            daemon: match tools {
                Some(tools) => daemon.calling(tools),
                None => daemon,
            },
            host: host.clone(),
            config: config.to_owned(),
            leave: false,
        };
        proxy.daemon.start()?;
        Ok(proxy)
    }

    /// Fails until it has synced once since its start; the inner error: it has ended.
    pub fn synced(&mut self) -> Result<Result<()>> {
        if let Some(end) = self.daemon.ended()? {
            return Ok(Err(anyhow::anyhow!("kube-proxy ended: {end}")));
        }
        let metrics = self.host.run(
            "curl",
            &["--silent", "--fail", "http://127.0.0.1:10249/metrics"],
        )?;
        let synced = ["IPv4", "IPv6"].iter().all(|family| {
            metrics.lines().any(|line| {
                line.starts_with("kubeproxy_sync_proxy_rules_last_timestamp_seconds")
                    && line.contains(family)
                    && !line.ends_with(" 0")
            })
        });
        ensure!(synced, "not yet");
        Ok(Ok(()))
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        self.daemon.tail()
    }

    /// Kills it and leaves its rules to the namespace's end: removing very many takes minutes.
    pub fn abandon(mut self) -> Result<()> {
        self.leave = true;
        self.daemon.kill()
    }

    /// Ends it and removes its rules and connections.
    pub fn remove(mut self) -> Result<()> {
        self.clean()
    }

    fn clean(&mut self) -> Result<()> {
        self.daemon.kill()?;
        let config = format!("--config={}", self.config.display());
        let mut command = self.host.command(program_path("kube-proxy"))?;
        if let Some(path) = self.daemon.path()? {
            command.env("PATH", path);
        }
        command
            .args(["--cleanup", &config])
            .output()
            .context("run kube-proxy --cleanup")?;
        self.host.run("conntrack", &["-F"]).map(drop)
    }
}

impl Drop for KubeProxy {
    fn drop(&mut self) {
        if !self.leave
            && let Err(error) = self.clean()
        {
            eprintln!("kube-proxy: {error:#}");
        }
    }
}
