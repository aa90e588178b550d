//! What `cargo xtask bench` and `proxy-bench` take on the command line: one file for both, so that a wrong word is refused before
//! anything is built. It must need nothing but clap.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A subset of the benchmark, by its name on the command line.
#[expect(
    clippy::doc_markdown,
    reason = "the words are shown on the terminal too, without Markdown"
)]
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subset {
    /// New connections: ClusterIP from a pod and from the node, NodePort from outside; 1 and 64 at a time
    Connections,
    /// Established connections: request and response, throughput, small datagrams, CPU per packet; iperf3 as cross-check
    Established,
    /// Packets from a NIC-like source: new flows and an established one, with and without conntrack
    Packets,
    /// Nanoseconds per packet of each eBPF program, and the kernel's run-time statistics
    Program,
    /// Cold start, endpoint changes, sustained changes, restart; CPU and memory of the proxies
    Programming,
    /// kube-shunt alone with 100,000 Services and 1,000,000 endpoints
    Scale,
}

/// What to measure, and where the results go.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Only these subsets [default: all]
    pub subsets: Vec<Subset>,
    /// Fewer and shorter samples, at 1 and 1,000 Services only: a few minutes; its figures are not for comparing
    #[arg(long)]
    pub quick: bool,
    /// Only these numbers of Services behind the API server [default: 1,1000,10000; with --quick 1,1000]
    #[arg(long, value_name = "NUMBER,..", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub services: Vec<u32>,
    /// Folder of the results [default: target/bench/<time>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// For everything that is left to chance
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Also make the results docs/benchmarks.md
    #[arg(long, conflicts_with = "quick")]
    pub publish: bool,
    /// Measure nothing: write table, plots and summary anew from the results.json of an earlier run, or of several of one machine
    #[arg(long, value_name = "FILE,..", value_delimiter = ',', conflicts_with_all = ["subsets", "quick", "services"])]
    pub from: Vec<PathBuf>,
    /// Tell what would be measured, and end
    #[arg(long)]
    pub list: bool,
}
