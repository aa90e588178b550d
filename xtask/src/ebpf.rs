//! Builds the eBPF object. Knows the compilers that can do it, and must not know what is in the object.

mod compiler;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{places, shell};
use compiler::{Compiler, RELEASE};

/// Later ones want an installed LLVM to link against.
const LINKER_VERSION: &str = "0.10.4";
const TARGET: &str = "bpfel-unknown-none";
/// Without v3 there are no atomics that return a value.
const FLAGS: [&str; 3] = ["-Cdebuginfo=2", "-Ctarget-cpu=v3", "-Clink-arg=--btf"];

/// Makes sure that the compiler and the linker are there.
pub(crate) fn ensure_tools() -> Result<()> {
    Compiler::ensure()?;
    linker().map(drop)
}

/// Builds the object and puts it where proxy-kernel's build script looks for it.
pub(crate) fn build() -> Result<()> {
    build_with(false)
}

/// The same; with `trace` the programs log every outcome.
pub(crate) fn build_with(trace: bool) -> Result<()> {
    shell::heading("building the eBPF object");
    let (compiler, linker) = (Compiler::ensure()?, linker()?);
    let workshop = places::target().join("ebpf-build");
    shell::run(
        cargo(&compiler, &linker)?
            .args([
                "build",
                "--quiet",
                "--package",
                "proxy-ebpf",
                "--release",
                "--target-dir",
            ])
            .arg(&workshop)
            .args(trace.then_some(["--features", "trace"]).iter().flatten()),
    )?;
    publish(
        &workshop.join(TARGET).join("release/proxy-ebpf"),
        &places::ebpf_object(),
    )
}

/// Lints the eBPF crate, if its compiler has a clippy: Debian's has none.
pub(crate) fn clippy() -> Result<()> {
    let compiler = Compiler::ensure()?;
    if !compiler.pinned {
        shell::note("skipped: the compiler for eBPF comes without clippy here");
        return Ok(());
    }
    shell::output(
        Command::new("rustup")
            .args(["component", "add", "clippy", "--toolchain", RELEASE])
            .env_remove("RUSTUP_TOOLCHAIN"),
    )?;
    let mut clippy = cargo(&compiler, &linker()?)?;
    clippy.args([
        "clippy",
        "--quiet",
        "--package",
        "proxy-ebpf",
        "--release",
        "--target-dir",
    ]);
    clippy
        .arg(places::target().join("ebpf-build"))
        .args(["--", "-D", "warnings"]);
    shell::run(&mut clippy)
}

/// A cargo of the eBPF compiler, with everything set but the command.
fn cargo(compiler: &Compiler, linker: &Path) -> Result<Command> {
    let mut cargo = compiler.cargo()?;
    // Not as a flag: cargo does not hand flags on to clippy.
    cargo.env("CARGO_UNSTABLE_BUILD_STD", "core");
    // Unstable things on a release compiler.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_BUILD_TARGET", TARGET);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    cargo.env("LD_LIBRARY_PATH", compiler.llvm()?);
    Ok(cargo)
}

/// Whether the object is built by the compiler of choice here.
pub(crate) fn is_pinned() -> Result<bool> {
    Ok(Compiler::ensure()?.pinned)
}

/// The compiler of choice.
pub(crate) fn pinned() -> String {
    format!("Rust {RELEASE}")
}

/// bpf-linker of the right version: one in `PATH`, else our own in the cache, built if it is not there.
fn linker() -> Result<PathBuf> {
    let cached = places::cache("bpf-linker")?;
    let ours = cached.join("bin/bpf-linker");
    let candidates = shell::find_program("bpf-linker")
        .into_iter()
        .chain([ours.clone()]);
    for candidate in candidates {
        let told = shell::output(Command::new(&candidate).arg("--version")).unwrap_or_default();
        if told.trim().ends_with(LINKER_VERSION) {
            return Ok(candidate);
        }
    }
    shell::heading("bpf-linker is missing");
    shell::timed(
        &format!("building bpf-linker {LINKER_VERSION} (about a minute)"),
        || {
            shell::output(
                Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                    .args(["install", "--quiet", "bpf-linker", "--version"])
                    .args([LINKER_VERSION, "--locked", "--force", "--root"])
                    .arg(&cached),
            )
        },
    )?;
    Ok(ours)
}

/// Copies the object only when it changed: its time stamp decides whether proxy-kernel is built anew.
fn publish(built: &Path, object: &Path) -> Result<()> {
    let bytes = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = object.parent().context("the object has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let unfinished = object.with_extension("unfinished");
    fs::write(&unfinished, bytes)
        .with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, object).with_context(|| format!("cannot create {}", object.display()))
}
