//! How the API server is reached.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::config::WatchConfig;

/// A server that is there accepts a connection in much less; one that is gone must not cost more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond the watch's own timeout, which the server keeps.
const READ_MARGIN: Duration = Duration::from_secs(30);

/// A client for the server of `kubeconfig`, or else of the pod's service account. Does not talk to it yet.
pub async fn connect(
    kubeconfig: Option<&Path>,
    apiserver: Option<&str>,
    watch: WatchConfig,
) -> anyhow::Result<kube::Client> {
    let mut config = match kubeconfig {
        Some(file) => {
            let read = Kubeconfig::read_from(file).with_context(|| format!("--kubeconfig {}: cannot use it", file.display()))?;
            let chosen = KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(read, &chosen).await;
            config.with_context(|| format!("--kubeconfig {}: cannot use it", file.display()))?
        }
        None => kube::Config::incluster()
            .context("no API server is known: run in a pod with a service account, or give --kubeconfig FILE or --manifests DIR")?,
    };
    if let Some(url) = apiserver {
        config.cluster_url = url
            .parse()
            .with_context(|| format!("--apiserver {url}: not a URL"))?;
    }
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Lists have no other bound: a server that dies in the middle of one must not hold us for ever.
    config.read_timeout = Some(Duration::from_secs(watch.timeout_seconds.into()) + READ_MARGIN);
    tracing::info!(url = %config.cluster_url, "API server");
    kube::Client::try_from(config).context("cannot set up the API server's client")
}
