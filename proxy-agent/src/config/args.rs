//! The command line, as clap sees it. Types and help texts only; meaning is in `validate`.
//!
//! Every flag has a mirror `KUBE_SHUNT_<FLAG>`. No flag may be called `port...` or `service...`: the kubelet sets
//! `KUBE_SHUNT_PORT` and `KUBE_SHUNT_SERVICE_HOST` in pods beside a Service of our name.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments are help texts here; a terminal shows backticks"
)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use proxy_common::limits;
use proxy_common::value::Class;
use proxy_kernel::{NamePattern, NodePortAddresses, XdpDevices};

use super::validate;
use crate::explain::ExplainArgs;

/// kube-proxy's job, done by eBPF: Services for any node, under any CNI.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "kube-shunt",
    version,
    propagate_version = true,
    max_term_width = 110
)]
#[command(
    after_help = "The kernel keeps serving while the agent is stopped; `kube-shunt cleanup` takes everything out again."
)]
pub struct Cli {
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub log: LogArgs,
    #[command(subcommand)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the commands"
    )]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Run the node agent until SIGTERM; the kernel keeps serving after it
    Run(Box<RunArgs>),
    /// List Services as the kernel serves them
    Services(ListArgs),
    /// List the backends of each Service
    Backends(BackendsArgs),
    /// List the connections that the kernel translates
    Flows(FlowsArgs),
    /// Say where a new connection would go and why, as the kernel's own programs answer
    Explain(Box<ExplainArgs>),
    /// Remove every trace of kube-shunt from this node and say what was removed
    Cleanup(CleanupArgs),
    /// Print versions of the agent, its map layout and the kernel
    Version(OutputArgs),
}

/// How to print.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Aligned columns.
    Table,
    /// One JSON document.
    Json,
}

/// How to log.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per line.
    Json,
}

/// Logging, for every command. Logs go to stderr.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "KUBE_SHUNT_LOG_FORMAT", global = true)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or per module as in `info,kube_shunt::watch=debug`
    ///
    /// `run` logs at info, the other commands at warn unless told otherwise.
    #[arg(long, env = "KUBE_SHUNT_LOG_LEVEL", value_name = "LEVEL", global = true, value_parser = validate::log_level)]
    pub log_level: Option<String>,
}

/// Where an agent keeps its things.
#[derive(Args, Clone, Debug)]
pub struct PinArgs {
    /// Directory for pinned maps and links; must lie in a BPF file system
    #[arg(
        long,
        env = "KUBE_SHUNT_BPF_ROOT",
        value_name = "DIR",
        default_value = "/sys/fs/bpf/kube-shunt"
    )]
    pub bpf_root: PathBuf,
    /// Directory of the agent's admin socket
    #[arg(
        long,
        env = "KUBE_SHUNT_RUN_DIR",
        value_name = "DIR",
        default_value = "/run/kube-shunt"
    )]
    pub run_dir: PathBuf,
}

/// The output flag alone.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputArgs {
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, env = "KUBE_SHUNT_OUTPUT")]
    pub output: Output,
}

/// What `services` takes, and the start of what `backends` and `flows` take.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub pins: PinArgs,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub output: OutputArgs,
    /// Only Services of this namespace
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Only this address: of a frontend, a backend, or an end of a flow
    #[arg(long, short, value_name = "IP")]
    pub address: Option<std::net::IpAddr>,
    /// Only these Services: NAME, NAMESPACE/NAME, or the number that `services` shows
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
}

/// What `backends` takes.
#[derive(Args, Clone, Debug)]
pub struct BackendsArgs {
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub list: ListArgs,
    /// The backends that clients of this place get
    #[arg(long, value_enum, default_value_t = From::Inside)]
    pub from: From,
}

/// Where a client is; traffic policies can give each another set of backends.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Pods of this node.
    Inside,
    /// Anywhere else.
    Outside,
    /// Processes of this node.
    Host,
}

impl From {
    /// The slice of a frontend that it selects.
    pub fn class(self) -> Class {
        match self {
            Self::Inside => Class::Inside,
            Self::Outside => Class::Outside,
            Self::Host => Class::Host,
        }
    }
}

/// What `flows` takes.
#[derive(Args, Clone, Debug)]
pub struct FlowsArgs {
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub list: ListArgs,
    /// Print no more than this many; 0 is all
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub limit: usize,
}

/// What `cleanup` takes.
#[derive(Args, Clone, Debug)]
pub struct CleanupArgs {
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub pins: PinArgs,
    /// Root of the cgroup v2 hierarchy [default: found in /proc/self/mounts]
    #[arg(long, env = "KUBE_SHUNT_CGROUP_ROOT", value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub output: OutputArgs,
}

/// What `run` takes.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub pins: PinArgs,

    /// Take Services, EndpointSlices and the Node from the *.yaml, *.yml and *.json files of DIR, and follow changes
    ///
    /// No API server is needed then. A file that does not parse is reported with line and field; its last good
    /// state stays.
    #[arg(long, env = "KUBE_SHUNT_MANIFESTS", value_name = "DIR", conflicts_with_all = ["kubeconfig", "apiserver"])]
    #[arg(help_heading = "Source")]
    pub manifests: Option<PathBuf>,
    /// Watch the API server of this kubeconfig; without it, the one of the pod's service account
    #[arg(
        long,
        env = "KUBE_SHUNT_KUBECONFIG",
        value_name = "FILE",
        help_heading = "Source"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Reach the API server here, whatever the kubeconfig or the pod's environment says
    ///
    /// On a node without another kube-proxy it must not be a ClusterIP: nobody serves that before we do.
    #[arg(long, env = "KUBE_SHUNT_APISERVER", value_name = "URL", help_heading = "Source", value_parser = validate::url)]
    pub apiserver: Option<String>,
    /// Objects per page of a list
    #[arg(
        long,
        env = "KUBE_SHUNT_LIST_PAGE_SIZE",
        value_name = "OBJECTS",
        default_value_t = 500
    )]
    #[arg(help_heading = "Source", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub list_page_size: u32,
    /// Ask for each watch anew after this long
    ///
    /// It is also how long a connection that died without a word goes unnoticed. Shorter costs the API server
    /// requests.
    #[arg(
        long,
        env = "KUBE_SHUNT_WATCH_TIMEOUT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 120
    )]
    #[arg(help_heading = "Source", value_parser = clap::value_parser!(u32).range(10..=3_600))]
    pub watch_timeout_seconds: u32,
    /// Longest wait before the API server is tried again
    ///
    /// Short, because every second of it is a second of stale backends after a restart of the API server. Waits
    /// are jittered and start at 100 ms.
    #[arg(
        long,
        env = "KUBE_SHUNT_WATCH_BACKOFF_MAX_MILLISECONDS",
        value_name = "MS",
        default_value_t = 3_000
    )]
    #[arg(help_heading = "Source", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub watch_backoff_max_milliseconds: u64,

    /// This node's name in the cluster [default: the host name in lower case]
    #[arg(
        long,
        alias = "hostname-override",
        env = "KUBE_SHUNT_NODE_NAME",
        value_name = "NAME",
        help_heading = "Node"
    )]
    pub node_name: Option<String>,
    /// Root of the cgroup v2 hierarchy [default: found in /proc/self/mounts]
    #[arg(
        long,
        env = "KUBE_SHUNT_CGROUP_ROOT",
        value_name = "DIR",
        help_heading = "Node"
    )]
    pub cgroup_root: Option<PathBuf>,
    /// Serve NodePorts on these local addresses: all, primary (the Node object's first of each family), localhost, networks
    #[arg(
        long,
        env = "KUBE_SHUNT_NODEPORT_ADDRESSES",
        value_name = "all|primary|localhost|CIDR,...",
        default_value = "all"
    )]
    #[arg(help_heading = "Node", value_parser = validate::nodeport_addresses)]
    pub nodeport_addresses: NodePortAddresses,
    /// Devices that also get the XDP program: none, auto (physical NICs whose driver takes it), or names
    #[arg(
        long,
        env = "KUBE_SHUNT_XDP",
        value_name = "none|auto|DEVICE,...",
        default_value = "none"
    )]
    #[arg(help_heading = "Node", value_parser = validate::xdp)]
    pub xdp: XdpDevices,
    /// Cover these devices even if their kind says otherwise; `*` stands for any characters
    #[arg(
        long,
        env = "KUBE_SHUNT_DEVICE_INCLUDE",
        value_name = "NAME,...",
        help_heading = "Node",
        value_delimiter = ','
    )]
    pub device_include: Vec<NamePattern>,
    /// Never touch these devices; wins over --device-include
    #[arg(
        long,
        env = "KUBE_SHUNT_DEVICE_EXCLUDE",
        value_name = "NAME,...",
        help_heading = "Node",
        value_delimiter = ','
    )]
    pub device_exclude: Vec<NamePattern>,

    /// Serve /healthz and /livez here; 0.0.0.0 also means IPv6; empty is off
    #[arg(
        long,
        env = "KUBE_SHUNT_HEALTHZ_BIND_ADDRESS",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:10256"
    )]
    #[arg(help_heading = "HTTP", value_parser = validate::bind_address)]
    pub healthz_bind_address: validate::BindAddress,
    /// Serve /metrics, /healthz, /proxyMode and /configz here; empty is off
    #[arg(
        long,
        env = "KUBE_SHUNT_METRICS_BIND_ADDRESS",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:10249"
    )]
    #[arg(help_heading = "HTTP", value_parser = validate::bind_address)]
    pub metrics_bind_address: validate::BindAddress,
    /// Report unhealthy when an update waits this long to be applied
    #[arg(
        long,
        env = "KUBE_SHUNT_HEALTH_TIMEOUT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 60
    )]
    #[arg(help_heading = "HTTP", value_parser = clap::value_parser!(u64).range(5..=3_600))]
    pub health_timeout_seconds: u64,

    /// Frontends per family: addresses and ports that clients of Services use
    #[arg(long, env = "KUBE_SHUNT_MAP_FRONTENDS_ENTRIES", value_name = "ENTRIES", default_value_t = limits::FRONTENDS)]
    #[arg(help_heading = "Kernel maps", value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    pub map_frontends_entries: u32,
    /// Backend slots per family
    #[arg(long, env = "KUBE_SHUNT_MAP_BACKENDS_ENTRIES", value_name = "ENTRIES", default_value_t = limits::BACKENDS)]
    #[arg(help_heading = "Kernel maps", value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    pub map_backends_entries: u32,
    /// Flow entries per family, two a connection
    #[arg(long, env = "KUBE_SHUNT_MAP_FLOWS_ENTRIES", value_name = "ENTRIES", default_value_t = limits::FLOWS)]
    #[arg(help_heading = "Kernel maps", value_parser = clap::value_parser!(u32).range(64..=67_108_864))]
    pub map_flows_entries: u32,
    /// Connections per family whose answer was not seen yet
    #[arg(long, env = "KUBE_SHUNT_MAP_EMBRYOS_ENTRIES", value_name = "ENTRIES", default_value_t = limits::EMBRYOS)]
    #[arg(help_heading = "Kernel maps", value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    pub map_embryos_entries: u32,

    /// Most changes that one plan takes when they come faster than they are applied
    #[arg(
        long,
        env = "KUBE_SHUNT_SYNC_BATCH_CHANGES",
        value_name = "CHANGES",
        default_value_t = 4_096
    )]
    #[arg(help_heading = "Sync", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sync_batch_changes: u32,
}
