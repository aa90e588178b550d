//! Puts the eBPF object where `include_bytes!` finds it: an empty stub while `cargo xtask build` has not made one.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let built = manifest.join("../../target/ebpf");
    // cargo reruns a script for ever whose watched path is missing.
    fs::create_dir_all(&built)?;
    println!("cargo::rerun-if-changed={}", built.display());
    let object = built.join("kube-shunt.bpf.o");
    let bytes = if object.exists() {
        fs::read(&object)?
    } else {
        Vec::new()
    };
    fs::write(out.join("kube-shunt.bpf.o"), bytes)
}
