//! One program of the control plane as a child process with a log.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::program_path;
use crate::place::Place;

/// Lines of a log that are shown when a test fails.
const TAIL: usize = 15;

/// A program that can be started again; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    place: Place,
    flags: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    tools: Option<PathBuf>,
}

impl Daemon {
    /// `name` of the programs that `cargo xtask setup` links, with its log in `dir`; not started.
    pub fn new(place: &Place, dir: &Path, name: &'static str, flags: Vec<String>) -> Self {
        Self {
            name,
            place: place.clone(),
            flags,
            log: dir.join(format!("{name}.log")),
            child: None,
            tools: None,
        }
    }

    /// Has it find the programs that it calls in `tools` first.
    #[must_use]
    pub fn calling(mut self, tools: &Path) -> Self {
        self.tools = Some(tools.to_owned());
        self
    }

    /// Starts it; does not wait until it serves.
    pub fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.place.command(program_path(self.name))?;
        command
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // What it calls must end with it.
            .process_group(0);
        if let Some(path) = self.path()? {
            command.env("PATH", path);
        }
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("start {}", self.name))?,
        );
        Ok(())
    }

    /// `PATH` with its tools in front, if it has any.
    pub fn path(&self) -> Result<Option<OsString>> {
        let Some(tools) = &self.tools else {
            return Ok(None);
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(tools.clone()).chain(std::env::split_paths(&path));
        Ok(Some(std::env::join_paths(all)?))
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        })
    }

    /// Kills it and what it has called without warning; it is gone on return.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            // Fails only if all of them ended already.
            let _ended = killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL);
            child
                .wait()
                .with_context(|| format!("wait for {}", self.name))?;
        }
        Ok(())
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(TAIL)..)
            .unwrap_or_default()
            .join("\n");
        format!("\n--- {} ---\n{tail}", self.name)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}
