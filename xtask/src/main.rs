//! `cargo xtask <command>`: every command that developers and CI use. Each does its own set-up.

mod bench;
mod build;
mod chart;
mod demo;
mod ebpf;
mod host;
mod lint;
mod packages;
mod parts;
mod places;
mod setup;
mod shell;
mod tally;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "Builds, runs and tests kube-shunt. Every command does its own set-up."
)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing for every other command
    Setup,
    /// Build the eBPF object, the agent and the test programs
    Build {
        /// Only the eBPF object
        #[arg(long)]
        ebpf_only: bool,
        /// eBPF programs that log every outcome; never for production
        #[arg(long)]
        trace: bool,
    },
    /// Run a two-node cluster out of network namespaces, with real traffic (root)
    Demo {
        /// Leave the cluster running, and say what to try
        #[arg(long)]
        keep: bool,
        /// Remove a cluster that was left running
        #[arg(long, conflicts_with = "keep")]
        cleanup: bool,
    },
    /// Run every test; the last line is the sum
    Test {
        /// Only these levels
        levels: Vec<test::Level>,
    },
    /// Load, attach and pass traffic on other kernels, in virtual machines; compare verified instructions
    VmTest {
        /// Make the counts of this run the new budget
        #[arg(long)]
        update: bool,
        /// Prove that guests that fail, panic or hang are seen as such
        #[arg(long, conflicts_with = "update")]
        self_test: bool,
        /// Only these kernels: 5.10, 6.1, 6.12, newest
        kernels: Vec<String>,
    },
    /// Measure kube-shunt and the real kube-proxy side by side (root)
    Bench {
        #[command(flatten)]
        options: bench::Options,
    },
    /// Remove what killed tests and demos left behind (root)
    CleanUp,
    /// Check format and lints
    Lint,
}

fn main() -> ExitCode {
    let Options { command } = Options::parse();
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    let result = match command {
        Command::Setup => done(setup::run()),
        Command::Build { ebpf_only, trace } => done(build::run(ebpf_only, trace)),
        Command::Demo { keep, cleanup } => {
            let options = [(keep, "--keep"), (cleanup, "--cleanup")];
            let wanted: Vec<_> = options
                .into_iter()
                .filter_map(|(wanted, option)| wanted.then_some(option))
                .collect();
            done(demo::run(&wanted))
        }
        Command::Test { levels } => test::run(&levels),
        Command::VmTest {
            update: _,
            self_test: true,
            kernels: _,
        } => done(vm::self_test()),
        Command::VmTest {
            update: true,
            self_test: false,
            kernels,
        } => done(vm::run(&kernels, vm::Counts::Update)),
        Command::VmTest {
            update: false,
            self_test: false,
            kernels,
        } => done(vm::run(&kernels, vm::Counts::Compare)),
        Command::Bench { options } => done(bench::run(&options)),
        Command::CleanUp => done(demo::run(&["--cleanup"])),
        Command::Lint => done(lint::run()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // Not anyhow's Debug form: where RUST_BACKTRACE is set, that buries the one line that matters.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
