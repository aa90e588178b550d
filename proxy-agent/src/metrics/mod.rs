//! What Prometheus sees. kube-proxy's names where the meaning is the same, `kubeshunt_` for ours (docs/metrics.md).
//!
//! Figures that live elsewhere (maps, devices, the process) are read at scrape time by collectors; no second copy.

mod kernel;
mod process;

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use proxy_model::Stats;

pub use kernel::{KernelCollector, KernelFigures};
pub use process::ProcessCollector;

/// Label sets: name and value from closed sets.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
type Seconds = Gauge<f64, AtomicU64>;
type Buckets = fn() -> Histogram;

/// All figures that the agent itself counts. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// One plan and its execution.
    pub sync_duration: Histogram,
    /// Unix time of the last sync without an error.
    pub sync_last: Seconds,
    /// Unix time when a change last arrived.
    pub sync_last_queued: Seconds,
    /// From the trigger that the `EndpointSlice` names to its effect in the kernel.
    pub network_programming: Family<Labels<1>, Histogram, Buckets>,
    /// `EndpointSlice` changes received, and not yet in the kernel.
    pub endpoint_changes: Counter,
    /// See [`Metrics::endpoint_changes`].
    pub endpoint_changes_pending: Gauge,
    /// Service changes received, and not yet in the kernel.
    pub service_changes: Counter,
    /// See [`Metrics::service_changes`].
    pub service_changes_pending: Gauge,
    /// Answers of /healthz by code.
    pub healthz: Family<Labels<1>, Counter>,
    /// Answers of /livez by code.
    pub livez: Family<Labels<1>, Counter>,
    /// From the arrival of a change in the agent to its effect in the kernel.
    pub event_to_kernel: Histogram,
    /// From the start of the agent's tasks until the kernel held the whole cluster.
    pub first_sync: Seconds,
    /// Map operations executed.
    pub map_operations: Family<Labels<1>, Counter>,
    /// Batches of map operations that had an error.
    pub map_errors: Counter,
    /// Frontends and service ports that wait for room in a full map.
    pub frontends_refused: Gauge,
    /// Objects that could not be used, or only in part.
    pub object_errors: Family<Labels<1>, Counter>,
    /// Service ports served.
    pub services: Gauge,
    /// Backends in use, by address family.
    pub backends: Family<Labels<1>, Gauge>,
    /// Service ports under policy Local that have endpoints, but none on this node.
    pub no_local_endpoints: Family<Labels<2>, Gauge>,
    /// Lists begun, the first included.
    pub relists: Family<Labels<1>, Counter>,
    /// Watches that broke or could not be started.
    pub watch_errors: Family<Labels<1>, Counter>,
    /// Manifest files that could not be used.
    pub manifest_errors: Family<Labels<1>, Counter>,
    /// Manifest files in error now.
    pub manifests_broken: Gauge,
}

/// The kinds that are watched, as label values.
pub const KINDS: [&str; 3] = ["EndpointSlice", "Node", "Service"];
/// Causes of [`Metrics::manifest_errors`].
pub const MANIFEST_CAUSES: [&str; 3] = ["duplicate", "read", "syntax"];
/// Operations of [`Metrics::map_operations`].
pub const OPERATIONS: [&str; 4] = [
    "delete_frontends",
    "upsert_frontends",
    "write_backends",
    "write_state",
];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sync_duration: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            sync_last: Seconds::default(),
            sync_last_queued: Seconds::default(),
            network_programming: Family::new_with_constructor(|| {
                Histogram::new(programming_buckets())
            }),
            endpoint_changes: Counter::default(),
            endpoint_changes_pending: Gauge::default(),
            service_changes: Counter::default(),
            service_changes_pending: Gauge::default(),
            healthz: Family::default(),
            livez: Family::default(),
            // 20 us to 21 s: a change costs tens of microseconds, a cold start of 100,000 Services seconds.
            event_to_kernel: Histogram::new(exponential_buckets(0.000_02, 2.0, 21)),
            first_sync: Seconds::default(),
            map_operations: Family::default(),
            map_errors: Counter::default(),
            frontends_refused: Gauge::default(),
            object_errors: Family::default(),
            services: Gauge::default(),
            backends: Family::default(),
            no_local_endpoints: Family::default(),
            relists: Family::default(),
            watch_errors: Family::default(),
            manifest_errors: Family::default(),
            manifests_broken: Gauge::default(),
        }
    }
}

/// kube-proxy's buckets (SEMANTICS 12), with finer ones below: an update here takes less than its first.
fn programming_buckets() -> impl Iterator<Item = f64> {
    let fine = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5].into_iter();
    let seconds = (1..60)
        .chain((60..=115).step_by(5))
        .chain((120..=300).step_by(30));
    fine.chain(seconds.map(f64::from))
}

impl Metrics {
    /// A registry with all of them. Label values known beforehand start at zero, so that rates see the first event.
    pub fn registry(&self) -> Registry {
        self.touch();
        let mut registry = Registry::default();
        self.register_kube_proxy(&mut registry);
        self.register_own(&mut registry);
        let build = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("commit", crate::build::COMMIT.to_owned()),
            ("layout", proxy_common::layout::LAYOUT_VERSION.to_string()),
        ];
        registry.register(
            "kubeshunt_build",
            "Version, source commit and map layout of this agent",
            Info::new(build),
        );
        registry
    }

    /// Takes over what the planner counts.
    pub fn planner(&self, stats: &Stats) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.services.set(gauge(stats.service_ports));
        self.frontends_refused
            .set(gauge(stats.refused + stats.starved));
        for (family, of) in [("IPv4", &stats.v4), ("IPv6", &stats.v6)] {
            self.backends
                .get_or_create(&[("ip_family", family)])
                .set(gauge(of.backends));
            let policy = |policy| [("ip_family", family), ("traffic_policy", policy)];
            self.no_local_endpoints
                .get_or_create(&policy("internal"))
                .set(gauge(of.no_local_internal));
            self.no_local_endpoints
                .get_or_create(&policy("external"))
                .set(gauge(of.no_local_external));
        }
    }

    fn touch(&self) {
        for kind in KINDS {
            drop(self.relists.get_or_create(&[("kind", kind)]));
            drop(self.watch_errors.get_or_create(&[("kind", kind)]));
        }
        for cause in MANIFEST_CAUSES {
            drop(self.manifest_errors.get_or_create(&[("cause", cause)]));
        }
        for operation in OPERATIONS {
            drop(
                self.map_operations
                    .get_or_create(&[("operation", operation)]),
            );
        }
        for family in ["IPv4", "IPv6"] {
            drop(
                self.network_programming
                    .get_or_create(&[("ip_family", family)]),
            );
        }
        for code in ["200", "503"] {
            drop(self.healthz.get_or_create(&[("code", code)]));
            drop(self.livez.get_or_create(&[("code", code)]));
        }
        self.planner(&Stats::default());
    }

    /// Names, meanings and units are kube-proxy's; counters get their `_total` from the encoder.
    fn register_kube_proxy(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("kubeproxy");
        registry.register(
            "sync_proxy_rules_duration_seconds",
            "Time of one sync: plan and map writes",
            self.sync_duration.clone(),
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

    fn register_own(&self, registry: &mut Registry) {
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

/// Seconds since the epoch.
pub fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs_f64()
}

#[cfg(test)]
mod tests;
