//! The file system of a machine: our programs, `ip` and what else they call, their libraries, the kernel's modules.
//!
//! A cpio archive in the form that the kernel unpacks (newc): for each file a head of hexadecimal fields, the name, the
//! contents, each filled up to four bytes.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::kernels::Kernel;
use crate::{places, shell};

/// What clusters of namespaces are made of, and what the agent's rule needs.
const MODULES: [&str; 12] = [
    "veth",
    "bridge",
    "br_netfilter",
    "sch_ingress",
    "cls_bpf",
    "act_bpf",
    "nf_conntrack",
    "nf_tables",
    "nft_ct",
    "nft_masq",
    "nft_chain_nat",
    "vxlan",
];
/// Called by the programs under test.
const CALLED: [&str; 3] = ["ip", "nft", "ethtool"];
/// As cargo places them: the tests look for each other there.
const PROGRAMS: &str = "target/debug";
/// The first process.
pub(super) const INIT: &str = "/target/debug/vm_smoke";
const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// Builds the archive for `kernel` with `programs`; one of them is [`INIT`].
pub(super) fn build(kernel: &Kernel, programs: &[PathBuf]) -> Result<PathBuf> {
    let work = places::target().join("vm").join(&kernel.version);
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let mut archive = Archive::default();
    let mut libraries = BTreeSet::new();
    for program in programs {
        let name = program
            .file_name()
            .and_then(|name| name.to_str())
            .context("a program without a name")?;
        libraries.extend(libraries_of(program)?);
        archive.add(
            &format!("{PROGRAMS}/{name}"),
            FILE,
            &stripped(program, &work)?,
        );
    }
    for name in CALLED {
        let program = shell::find_program(name).with_context(|| format!("no {name} here"))?;
        libraries.extend(libraries_of(&program)?);
        archive.add(&format!("sbin/{name}"), FILE, &read(&program)?);
    }
    for library in libraries {
        let name = library
            .strip_prefix("/")
            .unwrap_or(&library)
            .to_string_lossy()
            .into_owned();
        archive.add(&name, FILE, &read(&library)?);
    }
    for (number, module) in kernel.modules(&MODULES)?.iter().enumerate() {
        archive.add(&format!("modules/{number:03}.ko"), FILE, &unpacked(module)?);
    }
    let path = work.join("initrd");
    fs::write(&path, archive.finish())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The program without debug information: it is copied to memory at every boot.
fn stripped(program: &Path, work: &Path) -> Result<Vec<u8>> {
    let slim = work.join("slim");
    shell::output(Command::new("strip").arg("-o").arg(&slim).arg(program))?;
    read(&slim)
}

/// A module as the kernel takes it; newer packages compress them.
fn unpacked(module: &Path) -> Result<Vec<u8>> {
    if module.extension().is_none_or(|extension| extension != "xz") {
        return read(module);
    }
    let output = Command::new("xz")
        .arg("-dc")
        .arg(module)
        .output()
        .context("cannot start xz")?;
    anyhow::ensure!(
        output.status.success(),
        "cannot unpack {}",
        module.display()
    );
    Ok(output.stdout)
}

/// The shared libraries of a program, and its loader.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let told = shell::output(Command::new("ldd").arg(program))?;
    let words = told
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(words.map(PathBuf::from).collect())
}

/// A newc archive that grows.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds a file, and the directories above it.
    fn add(&mut self, name: &str, mode: u32, contents: &[u8]) {
        for (end, _) in name.match_indices('/') {
            let directory = name.get(..end).unwrap_or_default().to_owned();
            if self.directories.insert(directory.clone()) {
                self.entry(&directory, DIRECTORY, &[]);
            }
        }
        self.entry(name, mode, contents);
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        // inode, mode, uid, gid, links, time, size, device and special device (major, minor each), name's length, check
        let fields = [
            0,
            mode,
            0,
            0,
            1,
            0,
            length(contents.len()),
            0,
            0,
            0,
            0,
            length(name.len() + 1),
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            // Writing to memory cannot fail.
            let _never = write!(self.bytes, "{field:08X}");
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

/// Lengths in this format have 32 bits; no file here comes near.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Archive, FILE};

    #[test]
    fn archive_lists_directories_once_and_pads() {
        let mut archive = Archive::default();
        archive.add("a/b/c", FILE, b"12345");
        archive.add("a/b/d", FILE, b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let heads = bytes
            .windows(6)
            .filter(|window| window == b"070701")
            .count();
        assert_eq!(heads, 5, "a, a/b, two files, the trailer");
        assert!(
            bytes.starts_with(b"07070100000000000041ED"),
            "a directory comes first"
        );
    }
}
