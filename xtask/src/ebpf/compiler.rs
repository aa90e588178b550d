//! Finds or installs a compiler for the eBPF target, and the LLVM that the linker loads. Must not know what is compiled.
//!
//! The target needs `core` from source, so a compiler with its own rust-src. A pinned one is taken where rustup can have it,
//! not the newest: instruction counts, and whether old verifiers accept the code at all, depend on it.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{packages, places, shell};

/// The compiler of choice. Its LLVM is the one that bpf-linker was made for.
pub(crate) const RELEASE: &str = "1.95.0";
/// How the names of an LLVM begin that fits bpf-linker.
const LLVM: [&str; 2] = ["libLLVM-22", "libLLVM.so.22"];

/// A compiler that can build the object.
pub(super) struct Compiler {
    /// Its cargo, as the start of a command line.
    cargo: Vec<OsString>,
    /// Its rustc, where cargo does not know it by itself.
    rustc: Option<PathBuf>,
    sysroot: PathBuf,
    /// The compiler of choice.
    pub(super) pinned: bool,
}

impl Compiler {
    /// The pinned release by rustup, else, without rustup, the compiler at work if it has its source, else Debian's.
    pub(super) fn ensure() -> Result<Self> {
        if let Some(found) = Self::candidates().find(Self::has_source) {
            return Ok(found);
        }
        shell::heading("the compiler for eBPF is missing");
        if shell::find_program("rustup").is_some() {
            match install_release() {
                Ok(()) => {}
                Err(error) => shell::note(&format!("rustup cannot download it: {error:#}")),
            }
        }
        if !Self::candidates().any(|found| found.has_source()) {
            // Debian backports a current compiler for its browsers. Its source package makes it fit for build-std.
            packages::install(&["rustc-web", "cargo-web", "rust-web-src"]).context(
                "no compiler can build the eBPF object; rustup (https://rustup.rs) would bring one",
            )?;
        }
        Self::candidates()
            .find(Self::has_source)
            .context("the compiler was installed, but has no rust-src")
    }

    fn candidates() -> impl Iterator<Item = Self> {
        let rustup = shell::find_program("rustup").is_some();
        let second = if rustup { None } else { Self::at_work() };
        let first = if rustup { Self::pinned() } else { None };
        first.into_iter().chain(second).chain(Self::debian())
    }

    fn pinned() -> Option<Self> {
        Some(Self {
            cargo: ["rustup", "run", RELEASE, "cargo"]
                .map(OsString::from)
                .into(),
            rustc: None,
            // `rustup run` would offer to install a missing toolchain; this asks for what is there.
            sysroot: sysroot(
                Command::new("rustup")
                    .args(["run", RELEASE, "rustc"])
                    .env("RUSTUP_AUTO_INSTALL", "0")
                    .env_remove("RUSTUP_TOOLCHAIN"),
            )?,
            pinned: true,
        })
    }

    /// The cargo that runs us, and the rustc beside it.
    fn at_work() -> Option<Self> {
        let cargo = PathBuf::from(env::var_os("CARGO")?);
        let rustc = cargo.with_file_name("rustc");
        Some(Self {
            sysroot: sysroot(&mut Command::new(&rustc))?,
            cargo: vec![cargo.into()],
            rustc: Some(rustc),
            pinned: false,
        })
    }

    fn debian() -> Option<Self> {
        let rustc = PathBuf::from("/usr/bin/rustc");
        Some(Self {
            sysroot: sysroot(&mut Command::new(&rustc))?,
            cargo: vec!["/usr/bin/cargo".into()],
            rustc: Some(rustc),
            pinned: false,
        })
    }

    fn has_source(&self) -> bool {
        self.sysroot
            .join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .is_file()
    }

    /// Its cargo, in the workspace, free of what the outer cargo set for its own toolchain.
    pub(super) fn cargo(&self) -> Result<Command> {
        let (program, arguments) = self
            .cargo
            .split_first()
            .context("a command has a program")?;
        let mut cargo = Command::new(program);
        cargo.args(arguments).current_dir(places::root());
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
        if let Some(rustc) = &self.rustc {
            cargo.env("RUSTC", rustc);
        }
        Ok(cargo)
    }

    /// A folder with its LLVM and no other: bpf-linker loads the first that it meets in the folder it is given.
    pub(super) fn llvm(&self) -> Result<PathBuf> {
        let lib = self.sysroot.join("lib");
        let found = shell::entries(&lib)
            .into_iter()
            .filter(|entry| entry.is_dir())
            .chain([lib.clone()])
            .flat_map(|folder| shell::entries(&folder))
            .filter(|entry| is_llvm(entry));
        let folder = places::target().join("ebpf-build/llvm");
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let mut any = false;
        for library in found {
            let name = library.file_name().context("a library has a name")?;
            std::os::unix::fs::symlink(&library, folder.join(name))
                .with_context(|| format!("cannot link {}", library.display()))?;
            any = true;
        }
        if any {
            Ok(folder)
        } else {
            bail!("{} has no {} for bpf-linker", lib.display(), LLVM[0])
        }
    }
}

fn is_llvm(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        LLVM.iter().any(|start| name.starts_with(start))
    })
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let told = shell::output(rustc.args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(told.trim()))
}

fn install_release() -> Result<()> {
    shell::timed(
        &format!("installing Rust {RELEASE} with rust-src by rustup"),
        || {
            shell::output(
                Command::new("rustup")
                    .args(["toolchain", "install", RELEASE])
                    .args(["--profile", "minimal", "--component", "rust-src"])
                    .env_remove("RUSTUP_TOOLCHAIN"),
            )
        },
    )
    .map(drop)
}
