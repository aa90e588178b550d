//! What Prometheus sees. kube-proxy's names where the meaning is the same, `kubeshunt_` for ours (docs/metrics.md).
//!
//! Figures that live elsewhere (maps, devices, the process) are read at scrape time by collectors; no second copy.

mod format;
mod kernel;
mod process;
mod register;

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use proxy_model::Stats;

pub use format::Format;
pub use kernel::{KernelCollector, KernelFigures};
pub use process::ProcessCollector;

/// Label sets: name and value from closed sets.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
type Seconds = Gauge<f64, AtomicU64>;
type Buckets = fn() -> Histogram;

/// All figures that the agent itself counts. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// One plan and its execution; by the families that it wrote something for.
    pub sync_duration: Family<Labels<1>, Histogram, Buckets>,
    /// Of these, the ones that compared the whole cluster: after a list.
    pub sync_full: Family<Labels<1>, Histogram, Buckets>,
    /// The others.
    pub sync_partial: Family<Labels<1>, Histogram, Buckets>,
    /// Unix time of the last sync without an error.
    pub sync_last: Family<Labels<1>, Seconds>,
    /// Unix time when a change last arrived.
    pub sync_last_queued: Family<Labels<1>, Seconds>,
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
    /// Answers of the API server, as client-go counts them.
    pub api_requests: Family<[(&'static str, String); 3], Counter>,
    /// Until an answer begins, as client-go measures it.
    pub api_request_duration: Family<[(&'static str, String); 2], Histogram, Buckets>,
    /// Manifest files that could not be used.
    pub manifest_errors: Family<Labels<1>, Counter>,
    /// Manifest files in error now.
    pub manifests_broken: Gauge,
}

/// The values of the label `ip_family`.
pub const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
/// The kinds that are watched, as label values.
pub const KINDS: [&str; 4] = ["EndpointSlice", "Node", "Service", "ServiceCIDR"];
/// Causes of [`Metrics::manifest_errors`].
pub const MANIFEST_CAUSES: [&str; 3] = ["duplicate", "read", "syntax"];
/// Operations of [`Metrics::map_operations`].
pub const OPERATIONS: [&str; 9] = [
    "add_ranges",
    "delete_frontends",
    "remove_ranges",
    "set_addresses",
    "set_cidrs",
    "upsert_frontends",
    "write_backends",
    "write_state",
    "write_table",
];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sync_duration: Family::new_with_constructor(sync_buckets),
            sync_full: Family::new_with_constructor(sync_buckets),
            sync_partial: Family::new_with_constructor(sync_buckets),
            sync_last: Family::default(),
            sync_last_queued: Family::default(),
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
            api_requests: Family::default(),
            api_request_duration: Family::new_with_constructor(|| {
                // client-go's.
                Histogram::new([
                    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0,
                ])
            }),
            manifest_errors: Family::default(),
            manifests_broken: Gauge::default(),
        }
    }
}

/// kube-proxy's buckets (SEMANTICS 12).
fn sync_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// kube-proxy's buckets (SEMANTICS 12). An update here takes less than the first: `event_to_kernel` is the finer one.
fn programming_buckets() -> impl Iterator<Item = f64> {
    let parts = [0.25, 0.5].into_iter();
    let seconds = (1..60)
        .chain((60..=115).step_by(5))
        .chain((120..=300).step_by(30));
    parts.chain(seconds.map(f64::from))
}

impl Metrics {
    /// A registry with all of them. Label values known beforehand start at zero, so that rates see the first event.
    pub fn registry(&self) -> Registry {
        self.touch();
        let mut registry = Registry::default();
        self.register_kube_proxy(&mut registry);
        self.register_own(&mut registry);
        self.register_client(&mut registry);
        let build = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("commit", crate::build::COMMIT.to_owned()),
            ("layout", proxy_common::layout::LAYOUT_VERSION.to_string()),
        ];
        registry.register(
            "kubernetes_build",
            "Version of this agent, under the name that all parts of Kubernetes use",
            Info::new(register::kubernetes_build()),
        );
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
        for family in FAMILIES {
            let labels = [("ip_family", family)];
            for histogram in [
                &self.network_programming,
                &self.sync_duration,
                &self.sync_full,
                &self.sync_partial,
            ] {
                drop(histogram.get_or_create(&labels));
            }
            for seconds in [&self.sync_last, &self.sync_last_queued] {
                drop(seconds.get_or_create(&labels));
            }
        }
        for code in ["200", "503"] {
            drop(self.healthz.get_or_create(&[("code", code)]));
            drop(self.livez.get_or_create(&[("code", code)]));
        }
        self.planner(&Stats::default());
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
