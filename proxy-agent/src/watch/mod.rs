//! The watches of the API server: Services, `EndpointSlices` and the own Node become [`proxy_model::Change`]s.
//!
//! Whatever happens to the server, the last known state stays; nothing here ever takes it back without a complete new list.

mod backoff;
mod follow;
mod slim;

use std::sync::Arc;

use kube::Api;
use kube::runtime::watcher::Config as Watch;
use proxy_model::raw;

use crate::config::WatchConfig;
use crate::feed::Feed;
use crate::tasks::Tasks;

use follow::follow;
use slim::Slim;

/// What kube-proxy asks for (SEMANTICS 1.2): neither other proxies' objects nor headless ones.
const SELECTOR: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

/// Starts one task per kind.
///
/// `ServiceCIDR`s are optional twice: by `service_cidrs`, the feature gate, and because older API servers have none.
pub fn spawn(
    tasks: &mut Tasks,
    client: &kube::Client,
    config: WatchConfig,
    service_cidrs: bool,
    feed: &Feed,
) {
    // ListSemantic::MostRecent, the default: an answer from a lagging cache (resourceVersion=0, what kube-proxy asks for) could
    // take us back in time after a restart, and ignores the page size.
    let base = Watch::default()
        .page_size(config.page_size)
        .timeout(config.timeout_seconds);
    let selected = base.clone().labels(SELECTOR);
    let own_node = base.fields(&format!("metadata.name={}", feed.node_name()));
    let feed = Arc::new(feed.clone());

    let services = Api::<Slim<raw::Service>>::all(client.clone());
    tasks.spawn(
        "watch-services",
        follow(
            services,
            selected.clone(),
            config,
            Arc::clone(&feed),
            tasks.shutdown(),
        ),
    );
    let slices = Api::<Slim<raw::EndpointSlice>>::all(client.clone());
    tasks.spawn(
        "watch-endpointslices",
        follow(
            slices,
            selected.clone(),
            config,
            Arc::clone(&feed),
            tasks.shutdown(),
        ),
    );
    if service_cidrs {
        let cidrs = Api::<Slim<raw::ServiceCidr>>::all(client.clone());
        tasks.spawn(
            "watch-servicecidrs",
            follow(
                cidrs,
                selected.clone(),
                config,
                Arc::clone(&feed),
                tasks.shutdown(),
            ),
        );
    }
    let nodes = Api::<Slim<raw::Node>>::all(client.clone());
    tasks.spawn(
        "watch-node",
        follow(nodes, own_node, config, feed, tasks.shutdown()),
    );
}
