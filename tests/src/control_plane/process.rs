//! One program of the control plane as a child process with a log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use anyhow::{Context as _, Result};

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
        }
    }

    /// Starts it; does not wait until it serves.
    pub fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.place.command(program_path(self.name))?;
        command
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("start {}", self.name))?,
        );
        Ok(())
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        })
    }

    /// Kills it without warning; it is gone on return.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .with_context(|| format!("kill {}", self.name))?;
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
