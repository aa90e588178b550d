//! What an agent tells: over HTTP, and by its command line.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Agent;
use crate::binaries;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// GET `path`; the whole answer.
fn get(mut stream: impl Read + Write, path: &str) -> Result<String> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

impl Agent {
    /// GET `path` from `port` on the node's loopback; the whole answer.
    pub fn http(&self, port: u16, path: &str) -> Result<String> {
        self.host.enter(|| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            get(stream, path)
        })?
    }

    /// Waits until a plan that is being written, if there is one, is in the kernel to its end: its first elements show before its
    /// last. The agent answers this question between two plans.
    pub fn settle(&self) -> Result<()> {
        let stream = UnixStream::connect(self.dir.join("run/agent.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let answer = get(stream, "/v1/status")?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    }

    /// The value of a metric; `series` is its name with labels, as exposed. 0 if it is not exposed.
    pub fn metric(&self, series: &str) -> Result<f64> {
        let text = self.http(10249, "/metrics")?;
        let line = text.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        Ok(line
            .and_then(|line| line.rsplit(' ').next())
            .map_or(Ok(0.0), str::parse)?)
    }

    /// Runs `kube-shunt` with `args` and this agent's directories; what it printed.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.host.command(binaries::kube_shunt()?)?;
        command
            .args(args)
            .args(&self.directories)
            .output()
            .context("run kube-shunt")
    }

    /// Standard output of [`Agent::cli`] as JSON.
    pub fn cli_json(&self, args: &[&str]) -> Result<serde_json::Value> {
        let output = self.cli(&[args, &["--output", "json"]].concat())?;
        ensure!(
            output.status.success(),
            "kube-shunt {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "kube-shunt {}: no JSON: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stdout)
            )
        })
    }
}
