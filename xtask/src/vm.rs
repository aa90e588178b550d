//! `cargo xtask vm-test`: our programs and real traffic on other kernels, in virtual machines.
//!
//! ```text
//! kernels (Debian packages) ─┐
//! agent, probe, vm_smoke ────┴▶ initrd ─▶ machine (qemu) ─▶ verdict, instruction counts ─▶ budget
//! ```

pub(crate) mod archive;
mod budget;
mod initrd;
mod kernels;
mod machine;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{build, ebpf, packages, places, setup, shell, tally::Tally};
use budget::Budget;
use kernels::{Kernel, Release};
use machine::Ending;

/// What to do with instruction counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// Compare them with the budget.
    Compare,
    /// Make them the budget.
    Update,
    /// Print them only.
    Print,
}

/// Enough for a boot; a guest that hangs must not hold up its proof for long.
const SELF_TEST_LIMIT: Duration = Duration::from_secs(45);
/// What runs in a machine.
const PROGRAMS: [&str; 3] = ["kube-shunt", "probe", "vm_smoke"];
/// Programs of Debian that make and boot a machine; qemu has a way of its own.
const PACKAGES: [&str; 4] = ["kmod", "xz-utils", "ethtool", "iproute2"];

/// Boots the kernels `wanted`, all if there is none.
pub(crate) fn run(wanted: &[String], counts: Counts) -> Result<()> {
    let mut tally = Tally::default();
    setup::build_tools()?;
    ebpf::build()?;
    let programs = build_programs()?;
    ready()?;
    let failed = test_kernels(wanted, counts, &programs, &mut tally)?;
    for skip in &tally.skipped {
        println!("skipped: {skip}");
    }
    ensure!(failed == 0, "{failed} kernel(s) failed");
    Ok(())
}

/// As a level of `cargo xtask test`: a machine that cannot boot others skips this, and says so.
pub(crate) fn test(tally: &mut Tally) {
    if let Err(error) = ready() {
        tally.skipped.push(format!("kernels: {error:#}"));
        return;
    }
    let outcome =
        build_programs().and_then(|programs| test_kernels(&[], Counts::Compare, &programs, tally));
    if let Err(error) = outcome {
        tally.failed.push(format!("kernels: {error:#}"));
    }
}

/// Proves that the verdict can be trusted: guests that fail, panic and hang must be seen as such.
pub(crate) fn self_test() -> Result<()> {
    setup::build_tools()?;
    ebpf::build()?;
    let programs = build_programs()?;
    ready()?;
    let release = Release::ALL.last().context("no kernels")?;
    let kernel = release.fetch()?;
    let initrd = initrd::build(&kernel, &programs)?;
    for (word, expected) in [
        ("smoke=fail", Ending::Failed),
        ("smoke=panic", Ending::Died),
        ("smoke=hang", Ending::Hung),
    ] {
        let outcome = machine::boot(&kernel, &initrd, word, SELF_TEST_LIMIT)?;
        ensure!(
            outcome.ending == expected,
            "{word}: {:?}\n{}",
            outcome.ending,
            outcome.results
        );
        shell::note(&format!("{word}: seen as {expected:?}"));
    }
    Ok(())
}

/// qemu and what else makes a machine.
fn ready() -> Result<()> {
    packages::install(&PACKAGES)?;
    packages::install_qemu()
}

fn build_programs() -> Result<Vec<PathBuf>> {
    shell::heading("building what runs in the machines");
    let mut cargo = build::cargo();
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "kube-shunt",
        "--package",
        "integration",
    ]);
    shell::run(cargo.args(PROGRAMS.iter().flat_map(|name| ["--bin", name])))?;
    Ok(PROGRAMS
        .map(|name| places::target().join("debug").join(name))
        .to_vec())
}

fn test_kernels(
    wanted: &[String],
    counts: Counts,
    programs: &[PathBuf],
    tally: &mut Tally,
) -> Result<usize> {
    let path = places::root().join("bench/verifier-budget.toml");
    // Counts depend on the compiler: the budget holds for one.
    let counts = if ebpf::is_pinned()? {
        counts
    } else {
        ensure!(
            counts != Counts::Update,
            "the budget is written with {}",
            ebpf::pinned()
        );
        let reason = format!(
            "verifier budget: the object was not built by {}",
            ebpf::pinned()
        );
        tally.skipped.push(reason);
        Counts::Print
    };
    let mut budget = Budget::read(&path)?;
    let mut failed = 0;
    for release in Release::ALL
        .iter()
        .filter(|release| wanted.is_empty() || wanted.iter().any(|name| name == release.name))
    {
        // A package that is gone or a network that is down says nothing about our programs.
        let kernel = match release.fetch() {
            Ok(kernel) => kernel,
            Err(error) => {
                tally
                    .skipped
                    .push(format!("kernel {}: {error:#}", release.name));
                continue;
            }
        };
        match test_kernel(release.name, &kernel, programs, counts, &mut budget) {
            Ok(skips) => {
                tally.passed += 1;
                let named = skips
                    .into_iter()
                    .map(|skip| format!("kernel {}: {skip}", release.name));
                tally.skipped.extend(named);
            }
            Err(error) => {
                shell::note(&format!("kernel {}: {error:#}", release.name));
                tally.failed.push(format!("kernel {}", release.name));
                failed += 1;
            }
        }
    }
    if counts == Counts::Update {
        budget.write(&path)?;
        shell::note(&format!("wrote {}", path.display()));
    }
    Ok(failed)
}

fn test_kernel(
    name: &str,
    kernel: &Kernel,
    programs: &[PathBuf],
    counts: Counts,
    budget: &mut Budget,
) -> Result<Vec<String>> {
    let start = Instant::now();
    let initrd = initrd::build(kernel, programs)?;
    let outcome = machine::boot(kernel, &initrd, "", machine::LIMIT)?;
    let seconds = start.elapsed().as_secs();
    if outcome.ending != Ending::Passed {
        bail!(
            "Linux {}: {:?} after {seconds} s\n{}\n{}",
            kernel.version,
            outcome.ending,
            outcome.console_tail(),
            outcome.results
        );
    }
    let counted = outcome.programs();
    ensure!(
        !counted.is_empty(),
        "Linux {} lists no programs",
        kernel.version
    );
    let sum: u64 = counted.values().sum();
    shell::note(&format!(
        "Linux {}: passed after {seconds} s; {} programs, {sum} instructions",
        kernel.version,
        counted.len()
    ));
    match counts {
        Counts::Update => budget.set(name, counted),
        Counts::Compare => budget.check(name, &counted)?,
        Counts::Print => {}
    }
    Ok(outcome.skipped())
}
