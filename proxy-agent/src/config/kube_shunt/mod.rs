//! `KubeShuntConfiguration` (kubeshunt.io/v1alpha1): what kube-proxy has no setting for.

mod validate;

use proxy_common::limits;

use super::settings::{sections, settings};

pub(super) use validate::{validate, xdp_devices};

/// Its `apiVersion`.
pub(crate) const API_VERSION: &str = "kubeshunt.io/v1alpha1";
/// Its `kind`.
pub(crate) const KIND: &str = "KubeShuntConfiguration";

sections! {
    /// The document.
    KubeShuntConfiguration {
        kind: String = KIND.to_owned(),
        api_version: String = API_VERSION.to_owned(),
        manifests: String = String::new(),
        api_servers: Vec<String> = Vec::new(),
        list_page_size: i64 = 500,
        watch_timeout_seconds: i64 = 120,
        watch_backoff_max_milliseconds: i64 = 3_000,
        source_ip ["sourceIP"]: String = "preserve".to_owned(),
        host_routing: String = "stack".to_owned(),
        algorithm: String = String::new(),
        local_detector: String = "auto".to_owned(),
        cgroup_root: String = String::new(),
        xdp: String = "none".to_owned(),
        devices: Devices = Devices::default(),
        maps: Maps = Maps::default(),
        health_timeout_seconds: i64 = 0,
        sync_batch_changes: i64 = 4_096,
    }
    /// Devices the operator decides about.
    Devices {
        include: Vec<String> = Vec::new(),
        exclude: Vec<String> = Vec::new(),
    }
    /// Entries of the kernel maps, for each IP family.
    Maps {
        frontends: i64 = limits::FRONTENDS.into(),
        backends: i64 = limits::BACKENDS.into(),
        flows: i64 = limits::FLOWS.into(),
        embryos: i64 = limits::EMBRYOS.into(),
    }
}

settings! {
    /// In the order of the document.
    "manifests" "manifests" Text
        Has("Take Services, EndpointSlices and the Node from the *.yaml, *.yml and *.json files of this directory, and follow changes; no API server is needed then");
    "apiServers" "apiserver" List
        Has("Reach the API server at these URLs, tried in turn, whatever the kubeconfig or the pod's environment says; none may be a ClusterIP where nobody else serves it");
    "listPageSize" "list-page-size" Int Has("Objects per page of a list");
    "watchTimeoutSeconds" "watch-timeout-seconds" Int
        Has("Ask for each watch anew after this long, which is also how long a connection that died without a word goes unnoticed");
    "watchBackoffMaxMilliseconds" "watch-backoff-max-milliseconds" Int
        Has("Longest wait before the API server is tried again; waits are jittered and start at 100 ms");
    "sourceIP" "source-ip" Text
        Has("Which sources are masqueraded: preserve (only where answers would not return otherwise) or kube-proxy (exactly where kube-proxy does)");
    "hostRouting" "host-routing" Text
        Has("How connections reach pods of this node: stack (through the node's stack, so that netfilter sees them) or bpf (straight into the pod where it has a device of its own, past netfilter and the CNI's policies there)");
    "algorithm" "algorithm" Text
        Has("How a backend is chosen for Services without the annotation kube-shunt.io/algorithm: random, round-robin, maglev or least-connections; empty is random, in mode ipvs the ipvs.scheduler's");
    "localDetector" "local-detector" Text
        Has("How pods of this node are told from everybody else: device (by the kind of the device they come from), kube-proxy (as detectLocalMode says, ClusterCIDR without one), or auto (device unless detectLocalMode or clusterCIDR is set)");
    "cgroupRoot" "cgroup-root" Text Has("Root of the cgroup v2 hierarchy; empty: found in /proc/self/mounts");
    "xdp" "xdp" Text
        Has("Devices that also get the XDP program: none, auto (physical NICs whose driver takes it), or names with commas");
    "devices.include" "device-include" List Has("Cover these devices even if their kind says otherwise; * stands for any characters");
    "devices.exclude" "device-exclude" List Has("Never touch these devices; wins over include");
    "maps.frontends" "map-frontends-entries" Int Has("Frontends per IP family: addresses and ports that clients of Services use");
    "maps.backends" "map-backends-entries" Int Has("Backend slots per IP family, and backends of both families together");
    "maps.flows" "map-flows-entries" Int Has("Flow entries per IP family, two a connection");
    "maps.embryos" "map-embryos-entries" Int Has("Connections per IP family whose answer was not seen yet");
    "healthTimeoutSeconds" "health-timeout-seconds" Int
        Has("Report unhealthy when an update waits this long to be applied; 0: twice kube-proxy's syncPeriod");
    "syncBatchChanges" "sync-batch-changes" Int Has("Most changes that one plan takes when they come faster than they are applied");
}
