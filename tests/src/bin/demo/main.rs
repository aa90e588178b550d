//! `cargo xtask demo`: a two-node cluster out of network namespaces, a real agent on each, and real traffic.

mod advice;
mod manifests;
mod scale;
mod table;
mod traffic;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use integration::agent::AgentOptions;
use integration::topology::{Cluster, Options, State};
use integration::{binaries, requirements};

const USAGE: &str = "usage: demo [--keep | --cleanup]
  --keep     leave the cluster running, and say what to try
  --cleanup  remove a cluster that was left running, and what killed tests left";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keep = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--keep"] => true,
        ["--cleanup"] => return cleanup(),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(());
        }
        _ => bail!("unknown arguments {arguments:?}\n{USAGE}"),
    };
    requirements::check()?;
    binaries::kube_shunt()?;
    binaries::probe()?;
    let mut progress = Progress::start();
    if State::demo_exists() {
        progress.say("an earlier demo is still there: removing it");
        remove()?;
    }
    let mut cluster = Cluster::build(Options::default(), State::for_demo()?)?;
    manifests::write_all(&cluster.manifests)?;
    progress.say("cluster ready: node-a (pods behind a bridge), node-b (pods on routed veths), a router, an outside client; IPv4 and IPv6");
    cluster.start_agents(&AgentOptions::production())?;
    progress.say("an agent on each node has put 3 Services from tests/manifests into the kernel; now some traffic");
    let rows = traffic::measure(&cluster)?;
    println!("\n{}", table::render(&rows));
    let failed: u32 = rows.iter().map(|row| row.failed).sum();
    progress.say("scaling the Service web in and out, ten times, under traffic");
    println!("\n{}", scale::measure(&cluster)?);
    if keep {
        println!("{}", advice::for_a_kept_cluster(&cluster));
        let _names = cluster.keep();
    } else {
        drop(cluster);
        progress.say("removed agents, eBPF programs, namespaces and files");
        println!("{}", advice::FOR_THE_END);
    }
    ensure!(
        failed == 0,
        "{failed} requests were not answered; see the table"
    );
    Ok(())
}

fn cleanup() -> Result<()> {
    requirements::check()?;
    State::remove_leftovers();
    if !State::demo_exists() {
        println!("no demo is running");
        return Ok(());
    }
    remove()?;
    println!("removed agents, eBPF programs, namespaces and files of the demo");
    Ok(())
}

/// Removes an earlier demo, unless another process runs it right now.
fn remove() -> Result<()> {
    let state = State::for_demo().context("another demo is running")?;
    state.remove()
}

/// Says what is going on, with the time since the start.
struct Progress(Instant);

impl Progress {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn say(&mut self, what: &str) {
        println!("[{:5.1} s] {what}", self.0.elapsed().as_secs_f64());
    }
}
