//! What `explain` takes. Types and help texts only.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments are help texts here; a terminal shows backticks"
)]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::question::{self, Proto, Side, Source};
use crate::config::{OutputArgs, PinArgs};

/// What `explain` takes.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
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

    /// The client: an address, IPv6 with a port in brackets
    ///
    /// The port takes no part: the question is about a new connection.
    #[arg(long, value_name = "IP[:PORT]", value_parser = question::source)]
    #[arg(required_unless_present = "batch", help_heading = "Flow")]
    pub src: Option<Source>,
    /// What it addresses: an address and a port, IPv6 in brackets
    #[arg(long, value_name = "IP:PORT", value_parser = question::destination)]
    #[arg(required_unless_present = "batch", help_heading = "Flow")]
    pub dst: Option<SocketAddr>,
    /// The protocol
    #[arg(long, value_enum, ignore_case = true, help_heading = "Flow")]
    #[arg(required_unless_present = "batch")]
    pub proto: Option<Proto>,
    /// Where the flow begins [default: by the source address]
    ///
    /// An address of the node is host, one that the local detector knows is pod, any other is outside.
    #[arg(long, value_enum, help_heading = "Flow")]
    pub from: Option<Side>,
    /// Answer the flows of FILE, one JSON object a line; `-` is standard input
    ///
    /// A line is {"id":"7","src":"10.1.2.3","dst":"10.96.0.10:53","proto":"udp","from":"pod"}, and so is its answer, with
    /// the same id. A bad line gets an error instead, the rest goes on, and the exit code is 1.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["src", "dst", "proto", "from"], help_heading = "Flow")]
    pub batch: Option<PathBuf>,

    /// Ask about the Services and EndpointSlices in the files of DIR, not about this node's kernel
    #[arg(
        long,
        value_name = "DIR",
        requires = "node",
        help_heading = "Without a cluster"
    )]
    pub manifests: Option<PathBuf>,
    /// Name of the node; endpoints with this nodeName are local
    #[arg(
        long,
        value_name = "NAME",
        requires = "manifests",
        help_heading = "Without a cluster"
    )]
    pub node: Option<String>,
    /// The Node manifest: labels, addresses, podCIDRs [default: the Node in DIR, if there is one]
    #[arg(
        long,
        value_name = "FILE",
        requires = "manifests",
        help_heading = "Without a cluster"
    )]
    pub node_object: Option<PathBuf>,
    /// An address of the node's interfaces, beside those of the Node manifest; may be repeated, or be a list with commas
    #[arg(
        long,
        value_name = "IP",
        value_delimiter = ',',
        requires = "manifests",
        help_heading = "Without a cluster"
    )]
    pub node_address: Vec<IpAddr>,
    /// KubeProxyConfiguration and KubeShuntConfiguration, as one or two YAML documents
    #[arg(
        long,
        value_name = "FILE",
        requires = "manifests",
        help_heading = "Without a cluster"
    )]
    pub config: Option<PathBuf>,
    /// Answer by the copy of the packet path in this program, not by the kernel; needs no privileges
    #[arg(long, requires = "manifests", help_heading = "Without a cluster")]
    pub without_kernel: bool,
}
