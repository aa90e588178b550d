//! Accept loops. A port that is taken is tried again, because kube-proxy may still hold it during a takeover.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::{Handler, answer, bind};
use crate::events::{Events, Notice};
use crate::tasks::Shutdown;

/// As kube-proxy (SEMANTICS 11.2).
const BIND_RETRY: Duration = Duration::from_secs(5);
/// A client that sends no request for this long is dropped.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// Where a server listens, and what a failure to do so means.
#[derive(Clone, Debug)]
pub struct Listener {
    name: &'static str,
    address: SocketAddr,
    /// Told to an operator by an event; then the agent ends (bindAddressHardFail, SEMANTICS 13.6).
    fatal: Option<(Events, &'static str)>,
}

impl Listener {
    /// One that tries again for ever.
    pub const fn new(name: &'static str, address: SocketAddr) -> Self {
        Self {
            name,
            address,
            fatal: None,
        }
    }

    /// One that ends the agent, after an event with `reason`, if `hard` is set.
    #[must_use]
    pub fn hard_fail(mut self, hard: bool, events: &Events, reason: &'static str) -> Self {
        self.fatal = hard.then(|| (events.clone(), reason));
        self
    }

    /// Binds; `None` is a shutdown.
    async fn bound(&self, shutdown: &mut Shutdown) -> anyhow::Result<Option<TcpListener>> {
        let Self {
            name,
            address,
            fatal,
        } = self;
        let mut warned = false;
        loop {
            match (bind(*address), fatal) {
                (Ok(listener), _) => {
                    info!(server = name, %address, "listening");
                    return Ok(Some(listener));
                }
                (Err(error), Some((events, reason))) => {
                    let note = format!("cannot listen on {address}: {error}");
                    events
                        .flush(Notice::node_warning(reason, "StartKubeProxy", note))
                        .await;
                    return Err(error)
                        .with_context(|| format!("cannot listen on {address} for {name}"));
                }
                (Err(error), None) if warned => {
                    debug!(server = name, %address, %error, "still cannot listen");
                }
                (Err(error), None) => {
                    warned = true;
                    warn!(server = name, %address, %error, retry_seconds = BIND_RETRY.as_secs(), "cannot listen; is another proxy running?");
                }
            }
            tokio::select! {
                () = shutdown.requested() => return Ok(None),
                () = tokio::time::sleep(BIND_RETRY) => {}
            }
        }
    }
}

/// Serves HTTP until shutdown.
pub async fn serve_tcp(
    listener: Listener,
    handler: Handler,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    let name = listener.name;
    let Some(listener) = listener.bound(&mut shutdown).await? else {
        return Ok(());
    };
    tokio::select! {
        () = shutdown.requested() => Ok(()),
        never = accept_for_ever(name, listener, handler) => match never {},
    }
}

/// Serves HTTP on a bound socket until the future is dropped, and the connections with it.
pub(crate) async fn accept_for_ever(
    name: &'static str,
    listener: TcpListener,
    handler: Handler,
) -> std::convert::Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _peer)) => { connections.spawn(connection(stream, Handler::clone(&handler))); }
                Err(error) => refused(name, &error).await,
            },
        }
    }
}

/// Serves HTTP on a unix socket at `path` that only root can open, until shutdown; then removes it.
pub async fn serve_unix(
    path: PathBuf,
    handler: Handler,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    let listener = bound_unix(&path)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.requested() => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _peer)) => { connections.spawn(connection(stream, Handler::clone(&handler))); }
                Err(error) => refused("admin", &error).await,
            },
        }
    }
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Bound under another name, closed to others, then renamed: it is never open to them, and a socket that a killed agent left is replaced.
fn bound_unix(path: &std::path::Path) -> anyhow::Result<UnixListener> {
    let dir = path
        .parent()
        .context("the admin socket needs a directory")?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    if let Err(error) = std::fs::remove_file(&fresh)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot remove {}", fresh.display()));
    }
    let listener = UnixListener::bind(&fresh)
        .with_context(|| format!("cannot listen on {}", fresh.display()))?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot close {}", fresh.display()))?;
    std::fs::rename(&fresh, path)
        .with_context(|| format!("cannot put {} in place", path.display()))?;
    Ok(listener)
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handler: Handler,
) {
    let service = service_fn(move |request| answer(Handler::clone(&handler), request));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        debug!(%error, "connection ended");
    }
}

/// Out of descriptors or memory, mostly: wait instead of spinning.
async fn refused(name: &'static str, error: &std::io::Error) {
    warn!(server = name, %error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
