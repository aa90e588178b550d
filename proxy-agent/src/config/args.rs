//! The command line, as clap sees it. Types and help texts only; meaning is in `validate`.
//!
//! Every flag has a mirror `KUBE_SHUNT_<FLAG>`. No flag may be called `port...` or `service...`: the kubelet sets
//! `KUBE_SHUNT_PORT` and `KUBE_SHUNT_SERVICE_HOST` in pods beside a Service of our name.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use proxy_common::value::Class;

use super::RunArgs;
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
    /// How log lines look [default: text]
    #[arg(long, value_enum, env = "KUBE_SHUNT_LOG_FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or per module as in `info,kube_shunt::watch=debug`
    ///
    /// `run` logs at info, the other commands at warn unless told otherwise.
    #[arg(long, env = "KUBE_SHUNT_LOG_LEVEL", value_name = "LEVEL", global = true, value_parser = log_level)]
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

fn log_level(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| {
            format!(
                "{error}; expected error, warn, info, debug, trace, or MODULE=LEVEL with commas"
            )
        })
}
