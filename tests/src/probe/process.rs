//! Probes as child processes in a [`Place`].

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Report, Request};
use crate::binaries;
use crate::place::Place;

/// A server; killed when dropped.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts a server at `place` and waits until it listens.
    pub fn start(place: &Place, name: &str, port: u16) -> Result<Self> {
        let mut child = place
            .command(binaries::probe()?)?
            .args(["serve", name, &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name} in {}", place.name))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let server = Self(child);
        ensure!(
            line == "serving\n",
            "{name} in {} cannot serve port {port}",
            place.name
        );
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// Runs `request` at `place` to its end.
pub fn ask(place: &Place, request: &Request) -> Result<Report> {
    Talk::start(place, request)?.finish()
}

/// A running client; killed if dropped before [`Talk::finish`].
#[derive(Debug)]
pub struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Talk {
    /// Starts the client.
    pub fn start(place: &Place, request: &Request) -> Result<Self> {
        let request = serde_json::to_string(request)?;
        let mut child = place
            .command(binaries::probe()?)?
            .args(["ask", &request])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start a client in {}", place.name))?;
        let stdout = child
            .stdout
            .take()
            .context("the client has no standard output")?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(stdout),
            child,
        })
    }

    /// Waits until the client has begun; a ping-pong client, until it talks on all its connections.
    pub fn talking(mut self) -> Result<Self> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(line == "talking\n", "the client did not start: {line}");
        Ok(self)
    }

    /// Ends a ping-pong client, waits for any other; its report.
    pub fn finish(mut self) -> Result<Report> {
        drop(self.stdin.take());
        let mut line = String::new();
        while self.stdout.read_line(&mut line)? > 0 {
            if line.starts_with('{') {
                return Ok(serde_json::from_str(&line)?);
            }
            line.clear();
        }
        bail!("the client ended without a report: {}", self.child.wait()?)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // Both fail only if it ended already.
    let _ended = child.kill();
    let _reaped = child.wait();
}
