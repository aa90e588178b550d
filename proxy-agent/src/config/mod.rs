//! What the operator asked for: flags and environment become one validated [`Config`] here, and nowhere else.
//!
//! Must not do I/O beyond looking at what a flag names. Everything later trusts a `Config`.

mod args;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use proxy_kernel::options::MASQUERADE_BIT;
use proxy_kernel::{
    Capacities, DeviceOverrides, LoadOptions, LocalDetector, NodePortAddresses, XdpDevices,
};

pub use args::{
    BackendsArgs, CleanupArgs, Cli, Command, FlowsArgs, From, ListArgs, LogArgs, LogFormat, Output,
    OutputArgs, PinArgs, RunArgs,
};
pub use validate::{BindAddress, ConfigError};

/// Where Services and `EndpointSlices` come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// YAML and JSON files of a directory, watched.
    Manifests(PathBuf),
    /// A Kubernetes API server.
    Cluster {
        /// The kubeconfig; without one, the service account of the pod we run in.
        kubeconfig: Option<PathBuf>,
        /// Overrides the server's address.
        apiserver: Option<String>,
    },
}

/// How the watches of the API server behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Objects per page of a list.
    pub page_size: u32,
    /// After this long a watch is asked anew; a silently dead connection is noticed then, too.
    pub timeout_seconds: u32,
    /// Longest wait between two tries.
    pub backoff_max: Duration,
}

/// The validated settings of `kube-shunt run`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where objects come from.
    pub source: Source,
    /// This node's name.
    pub node_name: String,
    /// Directory in a BPF file system for pinned maps and links.
    pub bpf_root: PathBuf,
    /// Root of the cgroup v2 hierarchy; detected if absent.
    pub cgroup_root: Option<PathBuf>,
    /// Directory of the admin socket.
    pub run_dir: PathBuf,
    /// /healthz and /livez; `None` is off.
    pub healthz_bind_address: Option<SocketAddr>,
    /// /metrics, /proxyMode, /configz; `None` is off.
    pub metrics_bind_address: Option<SocketAddr>,
    /// On which local addresses `NodePorts` are served.
    pub nodeport_addresses: NodePortAddresses,
    /// Devices for the XDP program.
    pub xdp: XdpDevices,
    /// Devices the operator decides about.
    pub devices: DeviceOverrides,
    /// Map sizes.
    pub capacities: Capacities,
    /// The watches.
    pub watch: WatchConfig,
    /// An update unapplied for this long makes the agent unhealthy.
    pub health_timeout: Duration,
    /// Most changes taken into one plan.
    pub sync_batch_changes: usize,
}

impl Config {
    /// The admin socket's path.
    pub fn admin_socket(&self) -> PathBuf {
        admin_socket(&self.run_dir)
    }

    /// All settings as JSON, for /configz.
    pub fn configz(&self) -> serde_json::Value {
        let Self {
            source,
            node_name,
            bpf_root,
            cgroup_root,
            run_dir,
            healthz_bind_address,
            metrics_bind_address,
            nodeport_addresses,
            xdp,
            devices,
            capacities:
                Capacities {
                    frontends,
                    backends,
                    flows,
                    embryos,
                    affinity,
                    source_ranges,
                    lut,
                },
            watch:
                WatchConfig {
                    page_size,
                    timeout_seconds,
                    backoff_max,
                },
            health_timeout,
            sync_batch_changes,
        } = self;
        let settings = serde_json::json!({
            "source": format!("{source:?}"),
            "nodeName": node_name,
            "bpfRoot": bpf_root,
            "cgroupRoot": cgroup_root,
            "runDir": run_dir,
            "healthzBindAddress": healthz_bind_address,
            "metricsBindAddress": metrics_bind_address,
            "nodePortAddresses": format!("{nodeport_addresses:?}"),
            "xdp": format!("{xdp:?}"),
            "devices": format!("{devices:?}"),
            "mapEntries": {"frontends": frontends, "backends": backends, "flows": flows, "embryos": embryos,
                "affinity": affinity, "sourceRanges": source_ranges, "lut": lut},
            "listPageSize": page_size,
            "watchTimeoutSeconds": timeout_seconds,
            "watchBackoffMaxMilliseconds": u64::try_from(backoff_max.as_millis()).unwrap_or(u64::MAX),
            "healthTimeoutSeconds": health_timeout.as_secs(),
            "syncBatchChanges": sync_batch_changes,
        });
        serde_json::json!({"kubeshunt.io": settings})
    }

    /// The kernel side's share, once the cgroup root is known.
    pub fn load_options(&self, cgroup_root: PathBuf) -> LoadOptions {
        LoadOptions {
            bpf_root: self.bpf_root.clone(),
            cgroup_root,
            node_name: self.node_name.clone(),
            capacities: self.capacities,
            node_port_addresses: self.nodeport_addresses.clone(),
            xdp: self.xdp.clone(),
            devices: self.devices.clone(),
            detect: LocalDetector::default(),
            exact_masquerade: false,
            masquerade_bit: MASQUERADE_BIT,
        }
    }
}

/// The admin socket of an agent whose `--run-dir` is `run_dir`.
pub fn admin_socket(run_dir: &std::path::Path) -> PathBuf {
    run_dir.join("agent.sock")
}

#[cfg(test)]
mod tests;
