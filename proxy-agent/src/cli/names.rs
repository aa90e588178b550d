//! The agent's names for the numbers in the maps, over its admin socket.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::ServiceLabel;
use crate::config::admin_socket;
use crate::sync::ServiceName;

/// An agent that is there answers in milliseconds; one that hangs must not hang us.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Names by service id; empty if nobody answers.
pub(crate) struct Names(Option<HashMap<u32, ServiceName>>);

impl Names {
    /// Asks the agent whose `--run-dir` this is.
    pub(crate) fn ask(run_dir: &Path) -> Self {
        let answer = get(run_dir, "/v1/services")
            .and_then(|body| Ok(serde_json::from_slice::<Vec<ServiceName>>(&body)?));
        match answer {
            Ok(names) => Self(Some(
                names.into_iter().map(|name| (name.id, name)).collect(),
            )),
            Err(error) => {
                tracing::info!(error = format!("{error:#}"), "no names");
                Self(None)
            }
        }
    }

    pub(crate) fn known(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn get(&self, service: u32) -> Option<&ServiceName> {
        self.0.as_ref()?.get(&service)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ServiceName> {
        self.0.iter().flat_map(HashMap::values)
    }

    pub(super) fn label(&self, service: u32) -> ServiceLabel {
        let name = self.get(service);
        ServiceLabel {
            namespace: name.map(|name| name.namespace.clone()),
            name: name.map(|name| name.name.clone()),
            port_name: name.map(|name| name.port_name.clone()),
            service_id: service,
        }
    }
}

/// Whether an agent with this `--run-dir` is running.
pub(super) fn agent_runs(run_dir: &Path) -> bool {
    get(run_dir, "/v1/status").is_ok()
}

/// A GET whose answer ends with the connection: all that HTTP is needed for here.
fn get(run_dir: &Path, path: &str) -> anyhow::Result<Vec<u8>> {
    let socket = admin_socket(run_dir);
    let mut stream = UnixStream::connect(&socket)
        .with_context(|| format!("cannot reach the agent at {}", socket.display()))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .context("the agent's answer has no end of its header")?;
    anyhow::ensure!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "the agent answers with an error"
    );
    Ok(answer.split_off(end + 4))
}
