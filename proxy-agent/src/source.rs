//! Where Services come from: an API server, or a directory of manifests.

use tokio::sync::watch;

use crate::apiserver::{self, Addresses, Remembered};
use crate::config::{Config, Source};
use crate::feed::Feed;
use crate::manifests;
use crate::metrics::Metrics;
use crate::tasks::Tasks;

/// The API server, if Services come from one.
pub async fn connect(
    config: &Config,
    remembered: &Remembered,
    metrics: &Metrics,
) -> anyhow::Result<Option<apiserver::Server>> {
    let Source::Cluster {
        kubeconfig,
        apiservers,
    } = &config.source
    else {
        return Ok(None);
    };
    let known = remembered.read();
    let server = apiserver::connect(
        kubeconfig.as_deref(),
        apiservers,
        config.watch,
        &known,
        metrics.clone(),
    );
    Ok(Some(server.await?))
}

/// Watches the API server, or the directory of manifests.
pub fn follow(
    tasks: &mut Tasks,
    config: &Config,
    feed: Feed,
    server: Option<apiserver::Server>,
    remembered: Remembered,
    api_servers: watch::Receiver<Addresses>,
) {
    if let Some(server) = server {
        crate::watch::spawn(
            tasks,
            &server.client(),
            config.watch,
            config.watch_service_cidrs,
            &feed,
        );
        tasks.spawn(
            "apiservers",
            apiserver::follow(server, remembered, api_servers, tasks.shutdown()),
        );
    } else if let Source::Manifests(dir) = &config.source {
        tasks.spawn(
            "manifests",
            manifests::run(dir.clone(), feed, tasks.shutdown()),
        );
    }
}
