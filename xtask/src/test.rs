//! `cargo xtask test`: every test there is, cheapest first. A failure ends nothing early; the sum is the last line.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{build, chart, ebpf, places, setup, shell, tally::Tally, vm};

/// A kind of test, by what it needs.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// Unit and property tests of all crates, and the tidy checks; what needs the kernel runs if we are root
    Unit,
    /// The Helm chart's checks
    Chart,
    /// Traffic through clusters out of network namespaces (root)
    Cluster,
    /// The same behind a real kube-apiserver (root)
    Api,
    /// Load, attach and pass traffic on other kernels in virtual machines
    Kernels,
}

/// The crates whose tests need nothing but a compiler, or skip themselves.
const CRATES: [&str; 8] = [
    "proxy-common",
    "proxy-model",
    "proxy-kernel",
    "kube-shunt",
    "proxy-oracle",
    "proxy-scenario",
    "proxy-bench",
    "xtask",
];

/// Runs the tests of `levels`, of all if there are none.
pub(crate) fn run(levels: &[Level]) -> Result<ExitCode> {
    let wanted = |level: Level| levels.is_empty() || levels.contains(&level);
    let mut tally = Tally::default();
    setup::build_tools()?;
    ebpf::build()?;
    prepare(&wanted, &mut tally);
    if wanted(Level::Unit) {
        shell::heading("unit and property tests");
        let packages = CRATES.iter().flat_map(|name| ["--package", name]);
        cargo_test(
            &mut tally,
            packages.chain(["--features", "proxy-common/sim"]),
        )?;
    }
    if wanted(Level::Chart) {
        shell::heading("the Helm chart");
        chart::check(&mut tally);
    }
    if wanted(Level::Cluster) || wanted(Level::Api) {
        shell::heading("building what runs in the clusters");
        shell::run(build::cargo().args([
            "build",
            "--quiet",
            "--package",
            "kube-shunt",
            "--package",
            "integration",
            "--bins",
        ]))?;
    }
    for (level, title) in [
        (Level::Cluster, "traffic in network namespaces"),
        (Level::Api, "a real API server"),
    ] {
        if wanted(level) {
            shell::heading(title);
            let tests = integration_tests(level)?;
            let names = tests.iter().flat_map(|name| ["--test", name]);
            let library: &[&str] = if level == Level::Cluster {
                &["--lib", "--bins"]
            } else {
                &[]
            };
            cargo_test(
                &mut tally,
                ["--package", "integration"]
                    .into_iter()
                    .chain(library.iter().copied())
                    .chain(names),
            )?;
        }
    }
    if wanted(Level::Kernels) {
        shell::heading("other kernels");
        vm::test(&mut tally);
    }
    Ok(report(&tally))
}

/// Set-up of what the levels need. What cannot be had is skipped by the tests that need it; the reason is said here.
fn prepare(wanted: &impl Fn(Level) -> bool, tally: &mut Tally) {
    let clusters = wanted(Level::Cluster) || wanted(Level::Api);
    let mut errors = Vec::new();
    if clusters {
        errors.extend(setup::cluster_tools().err());
    }
    if wanted(Level::Api) {
        errors.extend(setup::control_plane());
        errors.extend(setup::peer());
    }
    if wanted(Level::Chart) || wanted(Level::Api) {
        errors.extend(setup::chart_tools());
    }
    for error in errors {
        tally.skipped.push(format!("set-up: {error:#}"));
        shell::note(&format!("{error:#}"));
    }
}

/// The integration tests of a level: those of the API are named so.
fn integration_tests(level: Level) -> Result<Vec<String>> {
    let folder = places::root().join("tests/tests");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".rs")
                .map(str::to_owned)
        })
        .filter(|name| name.starts_with("api_") == (level == Level::Api))
        .collect();
    names.sort();
    Ok(names)
}

/// Runs `cargo test` to its end, shows what it says, and counts. Tests that do not compile fail as one.
fn cargo_test<'a>(tally: &mut Tally, args: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut cargo = build::cargo();
    cargo
        .args(["test", "--no-fail-fast"])
        .args(args)
        .env("CARGO_TERM_COLOR", "never");
    let (ended_well, output) = shown(&mut cargo)?;
    let failed_before = tally.failed.len();
    tally.add_cargo_output(&output);
    if !ended_well && tally.failed.len() == failed_before {
        tally.failed.push("cargo test itself, see above".to_owned());
    }
    Ok(())
}

/// Runs a command, shows its lines as they come (but for the good news of single tests), and returns them all.
fn shown(command: &mut Command) -> Result<(bool, String)> {
    let (read, write) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(write.try_clone().context("cannot share a pipe")?)
        .stderr(write)
        .spawn()
        .context("cannot start cargo")?;
    // The command keeps the pipe's other end open until it is dropped or set anew.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut output = String::new();
    for line in BufReader::new(read).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("cannot read from cargo")?).into_owned();
        if !(line.starts_with("test ") && line.ends_with(" ... ok") || line.is_empty()) {
            println!("{line}");
        }
        output.push_str(&line);
        output.push('\n');
    }
    Ok((
        child.wait().context("cannot wait for cargo")?.success(),
        output,
    ))
}

/// Shows what was counted. Nothing may be printed after it: the sum is the last line.
fn report(tally: &Tally) -> ExitCode {
    shell::heading("all tests");
    for skip in &tally.skipped {
        println!("skipped: {skip}");
    }
    for name in &tally.failed {
        println!("failed: {name}");
    }
    println!("{}", tally.sum());
    // A run in which no test ran proves nothing.
    if tally.failed.is_empty() && tally.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
