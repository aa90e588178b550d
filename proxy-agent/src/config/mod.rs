//! What the operator asked for: flags, environment and the files of `--config` become one checked [`Config`] here, and nowhere else.
//!
//! Must not do I/O beyond reading `--config` and looking at what a setting names. Everything later trusts a `Config`.

mod algorithm;
mod args;
mod build;
mod changed;
mod error;
mod explain;
mod file;
mod given;
mod go;
mod kube_proxy;
mod kube_shunt;
mod normalize;
mod resolve;
mod run;
mod settings;
mod show;
pub mod startup;
mod tree;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use proxy_kernel::{
    Capacities, DeviceOverrides, LoadOptions, LocalDetector, NodePortAddresses, XdpDevices,
};
use proxy_model::Policy;
use proxy_model::policy::SourceIp;

pub use args::{
    BackendsArgs, CleanupArgs, Cli, Command, FlowsArgs, From, ListArgs, LogArgs, LogFormat, Output,
    OutputArgs, PinArgs,
};
pub use changed::watch;
pub use error::{ConfigError, FieldError};
pub use explain::{ExplainConfig, explain_config, load_for_explain};
pub use normalize::normalize;
pub use resolve::Resolved;
pub use run::{Action, RunArgs};
pub use show::yaml;

/// Where Services and `EndpointSlices` come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// YAML and JSON files of a directory, watched.
    Manifests(PathBuf),
    /// A Kubernetes API server.
    Cluster {
        /// The kubeconfig; without one, the service account of the pod we run in.
        kubeconfig: Option<PathBuf>,
        /// Override the server's address, in this order.
        apiservers: Vec<String>,
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

/// netfilter's connection tracking, as far as the operator wants it changed (SEMANTICS 10.6). `None` leaves a value alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConntrackConfig {
    /// Entries for each processor; 0 leaves the maximum alone, whatever `min` is.
    pub max_per_core: u32,
    /// Entries at least.
    pub min: u32,
    /// `nf_conntrack_tcp_timeout_established`.
    pub tcp_established: Option<Duration>,
    /// `nf_conntrack_tcp_timeout_close_wait`.
    pub tcp_close_wait: Option<Duration>,
    /// `nf_conntrack_tcp_be_liberal` becomes 1.
    pub tcp_be_liberal: bool,
    /// `nf_conntrack_udp_timeout`.
    pub udp: Option<Duration>,
    /// `nf_conntrack_udp_timeout_stream`.
    pub udp_stream: Option<Duration>,
}

/// A file of `--config` as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it said.
    pub text: String,
}

/// The checked settings of `kube-shunt run`.
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
    /// Directory for what must outlive a reboot.
    pub state_dir: PathBuf,
    /// /healthz and /livez; `None` is off.
    pub healthz_bind_address: Option<SocketAddr>,
    /// /metrics, /proxyMode, /configz; `None` is off.
    pub metrics_bind_address: Option<SocketAddr>,
    /// An address that cannot be bound ends the agent.
    pub bind_address_hard_fail: bool,
    /// What holds for all Services.
    pub policy: Policy,
    /// How pods of this node are told from everybody else, for the programs.
    pub detector: LocalDetector,
    /// On which local addresses `NodePorts` are served.
    pub nodeport_addresses: NodePortAddresses,
    /// Connections to pods of this node go past its stack where they can.
    pub host_routing: bool,
    /// Bit of the packet mark that asks for masquerade, 0 to 31.
    pub masquerade_bit: u8,
    /// Devices for the XDP program.
    pub xdp: XdpDevices,
    /// Devices the operator decides about.
    pub devices: DeviceOverrides,
    /// Map sizes.
    pub capacities: Capacities,
    /// The watches.
    pub watch: WatchConfig,
    /// `ServiceCIDR`s are watched (feature gate `MultiCIDRServiceAllocator`).
    pub watch_service_cidrs: bool,
    /// Sysctls to set.
    pub conntrack: ConntrackConfig,
    /// Our own `oom_score_adj`.
    pub oom_score_adj: i32,
    /// An update unapplied for this long makes the agent unhealthy.
    pub health_timeout: Duration,
    /// Most changes taken into one plan.
    pub sync_batch_changes: usize,
    /// The log's format and level.
    pub log: LogArgs,
    /// The documents that all of this is made of.
    pub resolved: Resolved,
    /// The files of `--config`.
    pub files: Vec<ConfigFile>,
}

impl Config {
    /// The admin socket's path.
    pub fn admin_socket(&self) -> PathBuf {
        admin_socket(&self.run_dir)
    }

    /// What an operator should know, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.resolved.warnings
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
            detect: self.detector.clone(),
            exact_masquerade: self.policy.source_ip == SourceIp::KubeProxy,
            masquerade_all: self.policy.masquerade_all,
            host_routing: self.host_routing,
            masquerade_bit: self.masquerade_bit,
        }
    }
}

/// The admin socket of an agent whose `--run-dir` is `run_dir`.
pub fn admin_socket(run_dir: &std::path::Path) -> PathBuf {
    run_dir.join("agent.sock")
}

#[cfg(test)]
mod tests;
