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

/// Programs that are not ours.
pub mod iperf3 {
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::process::Stdio;
    use std::time::Duration;

    use anyhow::{Context as _, Result};
    use integration::place::Place;
    use integration::wait;

    use super::Server;

    /// The program.
    const NAME: &str = "iperf3";

    /// Why it cannot be used; none if it can.
    pub fn missing() -> Option<String> {
        let found = std::process::Command::new(NAME).arg("--version").output();
        let error = found.err()?;
        Some(format!("{NAME} is not installed: {error}"))
    }

    /// Starts its server at `place`, and waits until it listens.
    pub fn serve(place: &Place, port: u16) -> Result<Server> {
        let server = place
            .command(NAME)?
            .args(["--server", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start iperf3")?;
        let server = Server(server);
        wait::until("iperf3 listens", Duration::from_secs(5), || {
            place.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))??;
            Ok(())
        })?;
        Ok(server)
    }

    /// Bits a second of one stream to `to`, received in one second; client and server each on a processor.
    pub fn stream(place: &Place, to: SocketAddr, cpus: [usize; 2]) -> Result<f64> {
        let [near, far] = cpus;
        let said = place.run(
            NAME,
            &[
                "--client",
                &to.ip().to_string(),
                "--port",
                &to.port().to_string(),
                "--time",
                "1",
                "--affinity",
                &format!("{near},{far}"),
                "--json",
            ],
        )?;
        let said: serde_json::Value = serde_json::from_str(&said)?;
        said["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .context("iperf3 tells no rate")
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
        order
            .to
            .first()
            .map_or_else(String::new, ToString::to_string),
        place.name,
        complaint.trim()
    );
    Ok(serde_json::from_str(&answer)?)
}

/// This very program.
fn this(place: &Place) -> Result<Command> {
    place.command(std::env::current_exe().context("where is this program?")?)
}
