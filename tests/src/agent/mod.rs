//! A real agent in a node's namespace: started, watched, killed, cleaned up after.

mod look;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::Place;
use crate::{binaries, wait};

/// How long an agent may take until it is ready: generous, for machines that build at the same time or are emulated.
const READY: Duration = Duration::from_mins(4);
/// Lines of the log that are shown when a test fails.
const TAIL: usize = 40;

/// Flags of `kube-shunt run` beyond those that keep agents apart.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// As on the command line.
    pub flags: Vec<String>,
    /// Watch this API server, not the manifests.
    pub kubeconfig: Option<PathBuf>,
    /// Run with no more than these capabilities, in the words of setpriv(1); all if empty.
    pub capabilities: Vec<String>,
}

impl AgentOptions {
    /// As an operator gets them.
    pub const fn production() -> Self {
        Self {
            flags: Vec::new(),
            kubeconfig: None,
            capabilities: Vec::new(),
        }
    }

    /// Also `flag` with `value`.
    #[must_use]
    pub fn with(mut self, flag: &str, value: &str) -> Self {
        self.flags.extend([format!("--{flag}"), value.to_owned()]);
        self
    }
}

impl Default for AgentOptions {
    /// Flow tables that are quick to allocate: tests start dozens of agents.
    fn default() -> Self {
        Self::production()
            .with("map-flows-entries", "16384")
            .with("map-embryos-entries", "4096")
    }
}

/// An agent. When dropped it is killed, and `kube-shunt cleanup` removes what it left in the kernel.
#[derive(Debug)]
pub struct Agent {
    host: Place,
    child: Option<Child>,
    capabilities: Vec<String>,
    run: Vec<String>,
    directories: Vec<String>,
    dir: PathBuf,
}

impl Agent {
    /// Starts an agent at `host` with files in `dir`.
    pub fn start(
        host: &Place,
        manifests: &Path,
        dir: &Path,
        bpf_root: &Path,
        options: &AgentOptions,
    ) -> Result<Self> {
        let run_dir = dir.join("run");
        std::fs::create_dir_all(&run_dir).with_context(|| format!("make {}", run_dir.display()))?;
        let flag = |name: &str, path: &Path| [format!("--{name}"), path.display().to_string()];
        let directories = [flag("bpf-root", bpf_root), flag("run-dir", &run_dir)].concat();
        let mut run = vec![
            "run".to_owned(),
            "--node-name".to_owned(),
            host.name.clone(),
        ];
        run.extend(options.kubeconfig.as_deref().map_or_else(
            || flag("manifests", manifests),
            |file| flag("kubeconfig", file),
        ));
        run.extend(flag("cgroup-root", host.cgroup().path()));
        run.extend(flag("state-dir", &dir.join("state")));
        run.extend(directories.iter().chain(&options.flags).cloned());
        let mut agent = Self {
            host: host.clone(),
            child: None,
            capabilities: options.capabilities.clone(),
            run,
            directories,
            dir: dir.to_owned(),
        };
        agent.restart()?;
        Ok(agent)
    }

    /// Starts the process, again after [`Agent::kill`] or [`Agent::stop`]; does not wait for it.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(
            self.child.is_none(),
            "the agent of {} runs already",
            self.host.name
        );
        let file = self.log_file();
        let log = File::options().create(true).append(true).open(file)?;
        let mut command = self.program()?;
        command
            .args(&self.run)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn().context("start kube-shunt")?);
        Ok(())
    }

    /// The command that runs the agent, not yet with its arguments.
    fn program(&self) -> Result<Command> {
        if self.capabilities.is_empty() {
            return self.host.command(binaries::kube_shunt()?);
        }
        let mut command = self.host.command("setpriv")?;
        let kept = self.capabilities.join(",+");
        command
            .arg(format!("--bounding-set=-all,+{kept}"))
            .arg("--no-new-privs")
            .arg(binaries::kube_shunt()?);
        Ok(command)
    }

    /// Waits until /healthz says that everything is in the kernel, and its metrics can be read: that is another server.
    pub fn wait_ready(&mut self) -> Result<()> {
        wait::until(
            &format!("the agent of {} is ready", self.host.name),
            READY,
            || {
                if let Some(status) = self
                    .child
                    .as_mut()
                    .and_then(|child| child.try_wait().transpose())
                    .transpose()?
                {
                    return Ok(Err(anyhow::anyhow!(
                        "the agent of {} ended: {status}",
                        self.host.name
                    )));
                }
                let answer = self.http(10256, "/healthz")?;
                ensure!(
                    answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"),
                    "{answer}"
                );
                self.http(10249, "/proxyMode")?;
                Ok(Ok(()))
            },
        )?
        .with_context(|| self.tail())
    }

    /// Waits until it ends by itself; how it ended, and [`Agent::restart`] may follow.
    pub fn wait_ended(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let child = self.child.as_mut().context("it does not run")?;
        let status = wait::until("the agent ends by itself", limit, || {
            child.try_wait()?.context("it runs")
        })?;
        self.child = None;
        Ok(status)
    }

    /// Kills it without warning (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL)
    }

    /// Asks it to stop (SIGTERM), and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            bail!("the agent of {} does not run", self.host.name)
        };
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        let ended = wait::until("the agent ends", wait::SOON, || {
            child.try_wait()?.context("it runs")
        });
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        ended.map(drop)
    }

    /// Removes every trace from the kernel, as an operator would; what it said.
    pub fn cleanup(&self) -> Result<String> {
        let output = self.cli(&["cleanup"])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "kube-shunt cleanup: {}: {said}",
            output.status
        );
        Ok(said)
    }

    /// The whole log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// Where it keeps what outlives it and the boot.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines
            .split_at(lines.len().saturating_sub(TAIL))
            .1
            .join("\n");
        format!("end of {}'s log:\n{tail}", self.host.name)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        if self.child.is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("{}: {error:#}", self.host.name);
        }
        if let Err(error) = self.cleanup() {
            eprintln!("{}: {error:#}", self.host.name);
        }
    }
}
