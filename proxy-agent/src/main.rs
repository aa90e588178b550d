//! The `kube-shunt` binary: parse, set up logging, run, exit code. Everything else is in the library.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use kube_shunt::config::{self, Action, Cli, Command, Config, LogArgs, RunArgs};
use kube_shunt::{agent, cli, explain, logging};
use proxy_kernel::heap;

fn main() -> ExitCode {
    let commands: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let Cli { log, command } = Cli::parse_from(config::normalize(std::env::args_os(), &commands));
    // A log line where a log is read, a plain line where a person looks.
    let logged = matches!(command, Command::Run(_));
    let result = act(command, &log);
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

fn run(args: RunArgs, log: &LogArgs) -> anyhow::Result<()> {
    let action = match args.action(log.clone()) {
        Ok(action) => action,
        Err(error) => {
            // The settings would say how to log.
            logging::init(log, "info")?;
            return Err(error.into());
        }
    };
    let config: Config = match action {
        Action::Run(config) => *config,
        Action::Init(config) => {
            start_log(&config)?;
            return agent::init(&config);
        }
        Action::Cleanup(args) => {
            logging::init(log, "warn")?;
            return cli::cleanup(&args);
        }
        Action::Write(path, settings) => {
            logging::init(log, "info")?;
            let text = config::yaml(&settings).context("cannot write the settings as YAML")?;
            return std::fs::write(&path, text)
                .with_context(|| format!("--write-config-to {}", path.display()));
        }
    };
    start_log(&config)?;
    heap::one_heap();
    // Two workers: one for the sync task's bursts, one for everything that must answer meanwhile.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_name("kube-shunt")
        .build()?;
    runtime.block_on(agent::run(config))
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    logging::init(&config.log, "info")?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(())
}

fn act(command: Command, log: &LogArgs) -> anyhow::Result<ExitCode> {
    if !matches!(command, Command::Run(_)) {
        logging::init(log, "warn")?;
    }
    match command {
        // It sets up the log by its settings.
        Command::Run(args) => run(*args, log)?,
        Command::Explain(args) => return explain::run(&args),
        Command::Services(args) => cli::services(&args)?,
        Command::Backends(args) => cli::backends(&args)?,
        Command::Flows(args) => cli::flows(&args)?,
        Command::Cleanup(args) => cli::cleanup(&args)?,
        Command::Version(args) => cli::version(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
