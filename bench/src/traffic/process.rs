//! Client and server as child processes in a place.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use integration::place::Place;

use super::{Found, Order};

/// The server; killed when dropped.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts it at `place` on processor `cpu`, and waits until it listens.
    pub fn start(place: &Place, port: u16, cpu: usize) -> Result<Self> {
        let mut child = this(place)?
            .args(["serve", &port.to_string(), &cpu.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start a server in {}", place.name))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let server = Self(child);
        ensure!(line == "serving\n", "no server in {}", place.name);
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Runs a client at `place` to its end.
pub fn ask(place: &Place, order: &Order) -> Result<Found> {
    let mut child = this(place)?
        .args(["ask", &serde_json::to_string(order)?])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start a client in {}", place.name))?;
    let mut complaint = String::new();
    let mut answer = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut answer)?;
    }
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut complaint)?;
    }
    let status = child.wait()?;
    ensure!(
        status.success(),
        "{:?} with {} from {}: {}",
        order.task,
        order.to,
        place.name,
        complaint.trim()
    );
    Ok(serde_json::from_str(&answer)?)
}

/// This very program.
fn this(place: &Place) -> Result<Command> {
    place.command(std::env::current_exe().context("where is this program?")?)
}
