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
use crate::tasks::Shutdown;

/// As kube-proxy (SEMANTICS 11.2).
const BIND_RETRY: Duration = Duration::from_secs(5);
/// A client that sends no request for this long is dropped.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// Serves HTTP on `address` until shutdown.
pub async fn serve_tcp(
    name: &'static str,
    address: SocketAddr,
    handler: Handler,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Some(listener) = bound(name, address, &mut shutdown).await else {
        return Ok(());
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _peer)) => { connections.spawn(connection(stream, Handler::clone(&handler))); }
                Err(error) => refused(name, &error).await,
            },
        }
    }
}

async fn bound(
    name: &'static str,
    address: SocketAddr,
    shutdown: &mut Shutdown,
) -> Option<TcpListener> {
    let mut warned = false;
    loop {
        match bind(address) {
            Ok(listener) => {
                info!(server = name, %address, "listening");
                return Some(listener);
            }
            Err(error) if warned => debug!(server = name, %address, %error, "still cannot listen"),
            Err(error) => {
                warned = true;
                warn!(server = name, %address, %error, retry_seconds = BIND_RETRY.as_secs(), "cannot listen; is another proxy running?");
            }
        }
        tokio::select! {
            () = shutdown.requested() => return None,
            () = tokio::time::sleep(BIND_RETRY) => {}
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
