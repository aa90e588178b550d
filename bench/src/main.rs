//! `proxy-bench`: the command line of the benchmark. `cargo xtask bench` builds everything and runs it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use integration::{binaries, requirements};
use proxy_bench::awake::Awake;
use proxy_bench::context::Context;
use proxy_bench::options::Options;
use proxy_bench::plan::Plan;
use proxy_bench::report::{self, Results};
use proxy_bench::{interrupt, run, traffic};

/// Measures kube-shunt, the real kube-proxy and the pods' own addresses side by side.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench", disable_version_flag = true)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        // This program's own client and server, in the namespaces.
        ["serve", port, cpu] => serve(port, cpu),
        ["ask", order] => ask(order),
        _ => bench(CommandLine::parse().options),
    };
    match done {
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
        out,
        seed,
        publish,
        from,
        list,
    } = options;
    let plan = Plan::new(&subsets, quick, seed).sizes(&services);
    if list {
        println!("{}", plan.describe());
        return Ok(());
    }
    let results = if from.is_empty() {
        measure(plan)?
    } else {
        let runs: Result<_> = from.iter().map(|path| report::read(path)).collect();
        Results::join(runs?)?
    };
    let folder = out.unwrap_or_else(|| report::default_folder(&results));
    report::write(&results, &folder)?;
    if publish {
        report::publish(&results, &Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
    }
    Ok(())
}

fn measure(plan: Plan) -> Result<Results> {
    requirements::check()?;
    binaries::kube_shunt()?;
    interrupt::catch()?;
    let context = Context::new(plan);
    let awake = Awake::hold();
    let idle = match &awake {
        Ok(_) => "do not halt while it runs (PM QoS)".to_owned(),
        Err(error) => format!("may halt while it runs ({error})"),
    };
    context.say(&format!("idle processors {idle}"));
    let outcomes = run::run(&context)?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo xtask bench {}", words.join(" "));
    let command = command.trim_end().to_owned();
    Results::new(&context.plan, command, context.seconds(), idle, outcomes)
}

fn serve(port: &str, cpu: &str) -> Result<()> {
    Ok(traffic::serve(port.parse()?, cpu.parse()?)?)
}

fn ask(order: &str) -> Result<()> {
    let found = traffic::ask(&serde_json::from_str(order)?)?;
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}
