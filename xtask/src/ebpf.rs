//! Builds the eBPF object. Knows the compilers that can do it, and must not know what is in the object.
//!
//! The target `bpfel-unknown-none` needs `core` from source, so a compiler with its own rust-src. A pinned one is used, not
//! the newest: instruction counts, and whether old verifiers accept the code at all, depend on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{packages, places, shell};

/// The compiler of choice. Its LLVM is the one that [`LINKER_VERSION`] was made for.
const RELEASE: &str = "1.95.0";
/// The name under which Debian's compiler is linked, for machines whose rustup cannot download.
const LINKED: &str = "bpf";
/// Later ones want an installed LLVM to link against.
const LINKER_VERSION: &str = "0.10.4";
/// The LLVM that both agree on.
const LLVM: &str = "libLLVM-22";
const TARGET: &str = "bpfel-unknown-none";
/// Without v3 there are no atomics that return a value.
const FLAGS: [&str; 3] = ["-Cdebuginfo=2", "-Ctarget-cpu=v3", "-Clink-arg=--btf"];

/// Makes sure that the compiler and the linker are there.
pub(crate) fn ensure_tools() -> Result<()> {
    toolchain()?;
    ensure_linker()
}

/// Builds the object and puts it where proxy-kernel's build script looks for it.
pub(crate) fn build() -> Result<()> {
    build_with(false)
}

/// The same; with `trace` the programs log every outcome.
pub(crate) fn build_with(trace: bool) -> Result<()> {
    shell::heading("building the eBPF object");
    let toolchain = toolchain()?;
    ensure_linker()?;
    let workshop = places::target().join("ebpf-build");
    shell::run(
        cargo(toolchain)?
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
    let toolchain = toolchain()?;
    if toolchain != RELEASE {
        shell::note("skipped: the compiler for eBPF comes without clippy here");
        return Ok(());
    }
    shell::output(rustup().args(["component", "add", "clippy", "--toolchain", RELEASE]))?;
    let mut clippy = cargo(toolchain)?;
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
fn cargo(toolchain: &str) -> Result<Command> {
    let mut cargo = Command::new("rustup");
    cargo.args(["run", toolchain, "cargo"]);
    cargo.current_dir(places::root());
    // Not as a flag: cargo does not hand flags on to clippy.
    cargo.env("CARGO_UNSTABLE_BUILD_STD", "core");
    // Unstable things on a release compiler.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_BUILD_TARGET", TARGET);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    cargo.env("LD_LIBRARY_PATH", llvm_folder(toolchain)?);
    // Set by the outer cargo for its own toolchain; they would lead the inner one astray.
    for name in [
        "RUSTC",
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        cargo.env_remove(name);
    }
    Ok(cargo)
}

/// Whether the object is built by the compiler of choice here.
pub(crate) fn is_pinned() -> Result<bool> {
    Ok(toolchain()? == RELEASE)
}

/// The compiler of choice.
pub(crate) fn pinned() -> String {
    format!("Rust {RELEASE}")
}

/// The compiler that can build the object here: the pinned release, else Debian's.
fn toolchain() -> Result<&'static str> {
    if shell::find_program("rustup").is_none() {
        bail!(
            "rustup is missing: install it from https://rustup.rs (the eBPF object needs a second compiler)"
        );
    }
    for name in [RELEASE, LINKED] {
        if has_source(name) {
            return Ok(name);
        }
    }
    shell::heading("the compiler for eBPF is missing");
    match install_release() {
        Ok(()) => Ok(RELEASE),
        Err(error) => {
            shell::note(&format!("rustup cannot download it: {error:#}"));
            link_debian().context("no compiler can build the eBPF object")?;
            Ok(LINKED)
        }
    }
}

fn install_release() -> Result<()> {
    shell::timed(
        &format!("installing Rust {RELEASE} with rust-src by rustup"),
        || {
            shell::output(rustup().args([
                "toolchain",
                "install",
                RELEASE,
                "--profile",
                "minimal",
                "--component",
                "rust-src",
            ]))
        },
    )?;
    if !has_source(RELEASE) {
        bail!("rustup reports success, but Rust {RELEASE} has no rust-src");
    }
    Ok(())
}

/// Debian backports a current compiler for its browsers. Its source package makes it fit for build-std.
fn link_debian() -> Result<()> {
    packages::install(&["rustc-web", "cargo-web", "rust-web-src"])?;
    shell::output(rustup().args(["toolchain", "link", LINKED, "/usr"]))?;
    if !has_source(LINKED) {
        bail!("Debian's rustc-web has no rust-src");
    }
    Ok(())
}

fn rustup() -> Command {
    let mut rustup = Command::new("rustup");
    rustup.env_remove("RUSTUP_TOOLCHAIN");
    rustup
}

fn has_source(toolchain: &str) -> bool {
    sysroot(toolchain).is_ok_and(|root| {
        root.join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .is_file()
    })
}

fn sysroot(toolchain: &str) -> Result<PathBuf> {
    // `rustup run` would offer to install a missing toolchain; this asks for what is there.
    let told = shell::output(
        Command::new("rustup")
            .args(["run", toolchain, "rustc", "--print", "sysroot"])
            .env("RUSTUP_AUTO_INSTALL", "0")
            .env_remove("RUSTUP_TOOLCHAIN"),
    )?;
    Ok(PathBuf::from(told.trim()))
}

/// A folder with one LLVM of the linker's version. bpf-linker takes the first that it meets.
fn llvm_folder(toolchain: &str) -> Result<PathBuf> {
    // Debian's compiler keeps its LLVM among all others; the everyday compiler has the same version in a folder of its own.
    let outer = std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned());
    let candidates = [toolchain, &outer];
    candidates
        .iter()
        .filter(|name| **name != LINKED)
        .filter_map(|name| sysroot(name).ok())
        .map(|root| root.join("lib"))
        .find(|folder| has_llvm(folder))
        .with_context(|| format!("no toolchain here carries a {LLVM} for bpf-linker"))
}

fn has_llvm(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(LLVM))
    })
}

fn ensure_linker() -> Result<()> {
    let installed = shell::output(Command::new("bpf-linker").arg("--version")).unwrap_or_default();
    if installed.trim().ends_with(LINKER_VERSION) {
        return Ok(());
    }
    shell::heading("bpf-linker is missing");
    shell::timed(
        &format!("building bpf-linker {LINKER_VERSION} (about a minute)"),
        || {
            shell::output(Command::new("cargo").args([
                "install",
                "--quiet",
                "bpf-linker",
                "--version",
                LINKER_VERSION,
                "--locked",
            ]))
        },
    )
    .map(|_| ())
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
