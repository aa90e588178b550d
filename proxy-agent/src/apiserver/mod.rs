//! How the API server is reached before anybody serves its `ClusterIP`: that is our own job, and not done yet (DESIGN 7).
//!
//! Addresses are found in this order, and each is tried when the one before does not answer: flag or environment; kubeconfig;
//! kube-proxy's kubeconfig; the kubelet's kubeconfig; the endpoints of default/kubernetes as they were last seen, kept on
//! disk; the address that the kubelet gives to pods. Credentials come from the kubeconfig, or else from the service account.

mod candidates;
mod connect;
mod pool;
mod remembered;

use std::path::PathBuf;

use tokio::sync::watch;

pub use candidates::{Candidate, Origin};
pub use connect::{Server, connect};
pub use remembered::{Addresses, Remembered};

use crate::tasks::Shutdown;

/// Keeps the addresses of default/kubernetes on disk and in the pool, as they change.
pub async fn follow(
    server: Server,
    remembered: Remembered,
    mut seen: watch::Receiver<Addresses>,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            Ok(()) = seen.changed() => {}
        }
        let addresses = seen.borrow_and_update().clone();
        // A cluster without any API server did not tell us so: it is being changed, and the old ones are the best guess.
        if addresses.is_empty() {
            continue;
        }
        server.remember(&addresses);
        remembered.write(&addresses);
    }
}

/// Where the agent keeps them.
pub fn file(state_dir: &std::path::Path) -> PathBuf {
    state_dir.join("apiserver-addresses.json")
}

#[cfg(test)]
mod tests;
