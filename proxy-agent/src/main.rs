//! The `kube-shunt` binary: parse, set up logging, run, exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use kube_shunt::config::{Cli, Command};
use kube_shunt::{agent, cli, explain, logging};
use proxy_kernel::heap;

fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    let level = if matches!(command, Command::Run(_)) {
        "info"
    } else {
        "warn"
    };
    // A log line where a log is read, a plain line where a person looks.
    let logged = matches!(command, Command::Run(_));
    let result = logging::init(&log, level).and_then(|()| run(command));
    match result {
        Ok(code) => code,
        Err(error) if logged => {
            tracing::error!(
                error = format!("{error:#}"),
                "kube-shunt ends; the kernel keeps serving what it was told"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("kube-shunt: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Explain(args) => return explain::run(&args),
        Command::Run(args) => {
            let config = args.validate()?;
            heap::one_heap();
            // Two workers: one for the sync task's bursts, one for everything that must answer meanwhile.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .thread_name("kube-shunt")
                .build()?;
            runtime.block_on(agent::run(config))?;
        }
        Command::Services(args) => cli::services(&args)?,
        Command::Backends(args) => cli::backends(&args)?,
        Command::Flows(args) => cli::flows(&args)?,
        Command::Cleanup(args) => cli::cleanup(&args)?,
        Command::Version(args) => cli::version(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
