//! Puts the eBPF object where `include_bytes!` finds it: an empty stub while `cargo xtask build` has not made one.

use std::path::PathBuf;
use std::{env, fs, io};

use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let built = manifest.join("../../target/ebpf");
    // cargo reruns a script for ever whose watched path is missing.
    fs::create_dir_all(&built)?;
    println!("cargo::rerun-if-changed={}", built.display());
    let object = built.join("kube-shunt.bpf.o");
    let bytes = if object.exists() {
        without_debug_info(&fs::read(&object)?).map_err(io::Error::other)?
    } else {
        Vec::new()
    };
    fs::write(out.join("kube-shunt.bpf.o"), bytes)
}

/// BTF, which the kernel wants, is in sections of its own.
fn without_debug_info(elf: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut elf = Builder::read(elf)?;
    for section in &mut elf.sections {
        section.delete = [".debug_", ".rel.debug_"]
            .iter()
            .any(|prefix| section.name.starts_with(prefix.as_bytes()));
    }
    // LLVM keeps names of sections among those of symbols; this library wants them apart.
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut bytes = Vec::new();
    elf.write(&mut bytes)?;
    Ok(bytes)
}
