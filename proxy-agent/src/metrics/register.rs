//! Names and help texts of the agent's own figures.

use prometheus_client::registry::Registry;

use super::Metrics;

impl Metrics {
    /// Names, meanings and units are kube-proxy's; counters get their `_total` from the encoder.
    pub(super) fn register_kube_proxy(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("kubeproxy");
        registry.register(
            "sync_proxy_rules_duration_seconds",
            "Time of one sync: plan and map writes",
            self.sync_duration.clone(),
        );
        registry.register(
            "sync_full_proxy_rules_duration_seconds",
            "Time of one sync after a complete list",
            self.sync_full.clone(),
        );
        registry.register(
            "sync_partial_proxy_rules_duration_seconds",
            "Time of one sync of single changes",
            self.sync_partial.clone(),
        );
        registry.register(
            "sync_proxy_rules_last_timestamp_seconds",
            "Unix time of the last sync without an error",
            self.sync_last.clone(),
        );
        registry.register(
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "Unix time when a change last arrived",
            self.sync_last_queued.clone(),
        );
        registry.register(
            "network_programming_duration_seconds",
            "From the change of a pod or Service, as the EndpointSlice names it, to its effect in the kernel",
            self.network_programming.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes",
            "EndpointSlice changes received",
            self.endpoint_changes.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes_pending",
            "EndpointSlice changes not yet in the kernel",
            self.endpoint_changes_pending.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes",
            "Service changes received",
            self.service_changes.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes_pending",
            "Service changes not yet in the kernel",
            self.service_changes_pending.clone(),
        );
        // Not a counter, whatever its name says: kube-proxy's dashboards ask for it so.
        registry.register(
            "sync_proxy_rules_no_local_endpoints_total",
            "Service ports under policy Local that have endpoints, but none on this node",
            self.no_local_endpoints.clone(),
        );
        registry.register(
            "proxy_healthz",
            "Answers of /healthz by code",
            self.healthz.clone(),
        );
        registry.register(
            "proxy_livez",
            "Answers of /livez by code",
            self.livez.clone(),
        );
    }

    /// As every client of the API server names them.
    pub(super) fn register_client(&self, registry: &mut Registry) {
        registry.register(
            "rest_client_requests",
            "Answers of the API server by code, method and host",
            self.api_requests.clone(),
        );
        registry.register(
            "rest_client_request_duration_seconds",
            "Time until the API server begins its answer",
            self.api_request_duration.clone(),
        );
    }

    pub(super) fn register_own(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("kubeshunt");
        registry.register(
            "event_to_kernel_seconds",
            "From a change's arrival in the agent to its effect in the kernel",
            self.event_to_kernel.clone(),
        );
        registry.register(
            "first_sync_seconds",
            "From the start until the kernel held the whole cluster; 0 before",
            self.first_sync.clone(),
        );
        registry.register(
            "map_operations",
            "Map operations executed",
            self.map_operations.clone(),
        );
        registry.register(
            "map_errors",
            "Batches of map operations that had an error",
            self.map_errors.clone(),
        );
        registry.register(
            "frontends_refused",
            "Frontends and service ports that wait for room in a full map; tried again",
            self.frontends_refused.clone(),
        );
        registry.register(
            "object_errors",
            "Objects that could not be used, or only in part",
            self.object_errors.clone(),
        );
        registry.register("services", "Service ports served", self.services.clone());
        registry.register(
            "backends",
            "Backends that get new connections",
            self.backends.clone(),
        );
        registry.register(
            "relists",
            "Lists begun, the first included",
            self.relists.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that broke or could not be started",
            self.watch_errors.clone(),
        );
        registry.register(
            "manifest_errors",
            "Manifest files that could not be used",
            self.manifest_errors.clone(),
        );
        registry.register(
            "manifests_broken",
            "Manifest files whose last good state is used because the present one is in error",
            self.manifests_broken.clone(),
        );
    }
}

/// The labels of `kubernetes_build_info`.
pub(super) fn kubernetes_build() -> [(&'static str, String); 9] {
    let own = |text: &str| text.to_owned();
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    [
        ("build_date", String::new()),
        ("compiler", own("rustc")),
        ("git_commit", own(crate::build::COMMIT)),
        ("git_tree_state", String::new()),
        ("git_version", format!("v{}", env!("CARGO_PKG_VERSION"))),
        ("go_version", String::new()),
        ("major", own(env!("CARGO_PKG_VERSION_MAJOR"))),
        ("minor", own(env!("CARGO_PKG_VERSION_MINOR"))),
        ("platform", platform),
    ]
}
