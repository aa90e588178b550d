//! Credentials and addresses become one client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Uri;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tracing::info;

use super::candidates::{Known, Places, candidates};
use super::pool::{Maker, Pool};
use super::{Addresses, Candidate, Origin};
use crate::config::WatchConfig;
use crate::metrics::Metrics;

/// A server that is there accepts a connection in much less; one that is gone must not cost more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond the watch's own timeout, which the server keeps.
const READ_MARGIN: Duration = Duration::from_secs(30);

/// The API server, whichever address it answers at.
#[derive(Clone, Debug)]
pub struct Server {
    pool: Arc<Pool>,
    namespace: String,
}

impl Server {
    /// A client; all share the pool of addresses.
    pub fn client(&self) -> kube::Client {
        let pool = Arc::clone(&self.pool);
        let service = tower::service_fn(move |request| Arc::clone(&pool).send(request));
        kube::Client::new(service, self.namespace.clone())
    }

    /// Takes over the addresses that default/kubernetes has now.
    pub fn remember(&self, addresses: &Addresses) {
        self.pool.remember(addresses);
    }
}

/// The server of `kubeconfig`, or else of the pod's service account; `apiservers` replace its address. Does not talk to it yet.
pub async fn connect(
    kubeconfig: Option<&Path>,
    apiservers: &[String],
    watch: WatchConfig,
    remembered: &Addresses,
    metrics: Metrics,
) -> anyhow::Result<Server> {
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
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Lists have no other bound: a server that dies in the middle of one must not hold us for ever.
    config.read_timeout = Some(Duration::from_secs(watch.timeout_seconds.into()) + READ_MARGIN);
    let flags = apiservers.iter().map(|url| {
        url.parse()
            .with_context(|| format!("--apiserver {url}: not a URL"))
    });
    let configured = Some(config.cluster_url.clone());
    let known = Known {
        flags: flags.collect::<anyhow::Result<Vec<Uri>>>()?,
        kubeconfig: configured.clone().filter(|_| kubeconfig.is_some()),
        pod: configured.filter(|_| kubeconfig.is_none()),
    };
    let found = candidates(known, &Places::default(), remembered);
    for Candidate { url, origin } in &found {
        info!(%url, %origin, "API server");
    }
    let namespace = config.default_namespace.clone();
    let pool = Pool::new(found, maker(config, apiservers), metrics)
        .context("cannot set up the API server's client")?;
    Ok(Server {
        pool: Arc::new(pool),
        namespace,
    })
}

/// Every API server shows a certificate for the address that all clients use, but not every one has its own in it: what was
/// only remembered must be who the configured address says.
fn maker(config: kube::Config, apiservers: &[String]) -> Maker {
    let flag = apiservers.first().and_then(|url| url.parse::<Uri>().ok());
    let name = flag.as_ref().unwrap_or(&config.cluster_url).host();
    let name = name.map(|host| host.trim_matches(['[', ']']).to_owned());
    Box::new(move |candidate: &Candidate| {
        let mut config = config.clone();
        config.cluster_url = candidate.url.clone();
        if candidate.origin == Origin::Remembered && config.tls_server_name.is_none() {
            config.tls_server_name.clone_from(&name);
        }
        kube::Client::try_from(config)
    })
}
