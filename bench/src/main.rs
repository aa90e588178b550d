//! `proxy-bench`: the command line of the benchmark. `cargo xtask bench` builds everything and runs it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use integration::{binaries, requirements};
use proxy_bench::context::Context;
use proxy_bench::options::Options;
use proxy_bench::plan::Plan;
use proxy_bench::{interrupt, run};

/// Measures kube-shunt, the real kube-proxy and the pods' own addresses side by side.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench", disable_version_flag = true)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match bench(CommandLine::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: Options) -> Result<()> {
    let Options {
        subsets,
        quick,
        services,
        out: _,
        seed,
        publish: _,
        from: _,
        list: _,
    } = options;
    requirements::check()?;
    binaries::kube_shunt()?;
    interrupt::catch()?;
    let context = Context::new(Plan::new(&subsets, quick, seed).sizes(&services));
    let outcomes = run::run(&context)?;
    println!("{}", serde_json::to_string(&outcomes)?);
    Ok(())
}
