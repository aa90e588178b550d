//! docs/benchmarks.md: the latest results, with the command that made them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{Results, markdown, plot};

/// Plots that are published: what the targets are about.
const PLOTS: [&str; 7] = [
    "ClusterIP from a pod, 1 at a time: p50",
    "ClusterIP from a pod, 64 at a time: connections",
    "ClusterIP from the node, 1 at a time: p50",
    "NodePort, backend on the node: new flows",
    "NodePort, backend elsewhere: packets of an established flow",
    "one endpoint changes, watch event to packets: p50",
    "cold start to the last Service",
];

/// Makes `results` the published ones, below the repository's `root`.
pub fn publish(results: &Results, root: &Path) -> Result<()> {
    ensure!(
        !results.quick,
        "figures of a quick run are not for comparing, so they are not published"
    );
    let docs = root.join("docs");
    let folder = docs.join("benchmarks");
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let mut plots = String::new();
    for plot in plot::all(results) {
        if PLOTS.contains(&plot.variant) {
            plot.svg(&folder.join(format!("{}.svg", plot.file)))?;
            writeln!(plots, "![{}](benchmarks/{}.svg)\n", plot.variant, plot.file)?;
        }
    }
    let text = format!(
        "# Benchmarks\n\n\
        Made by `cargo xtask bench --publish` from its results; do not edit. What is measured, and how: `cargo xtask bench --help` and\n\
        the first lines of the files in `bench/src/workload`. All contestants run side by side, on the same topology of network namespaces, with the\n\
        same Services, and kube-proxy is the real one behind a real API server. The pieces by themselves (planner, path in memory, map updates) are\n\
        `cargo bench --package proxy-bench`, by criterion. Why a target is missed, and what would close it: [missed-targets.md](missed-targets.md).\n\n{}",
        markdown::render(results, Some(plots.trim_end()))
    );
    let path = docs.join("benchmarks.md");
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    println!("published in {}", path.display());
    Ok(())
}
