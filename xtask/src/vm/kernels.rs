//! Which kernels, where they come from, and what is in their packages. They are unpacked, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::archive::Archive;
use crate::{places, shell};

/// A kernel series, as Debian's flavour for virtual machines.
pub(super) struct Release {
    /// As in the budget.
    pub(super) name: &'static str,
    /// Path on the mirror, and suite.
    suite: (&'static str, &'static str),
    /// The package that depends on the newest of the series.
    package: &'static str,
}

/// A kernel that can be booted.
pub(super) struct Kernel {
    /// As `uname -r` says.
    pub(super) version: String,
    /// The file that qemu boots.
    pub(super) image: PathBuf,
    /// A folder with `lib/modules/<version>` in it.
    pub(super) root: PathBuf,
}

const SECURITY: &str = "debian-security";

impl Release {
    /// Oldest first. Exact versions vanish from the archive, so a series is named.
    pub(super) const ALL: [Self; 4] = [
        Self {
            name: "5.10",
            suite: (SECURITY, "bullseye-security"),
            package: "linux-image-cloud-amd64",
        },
        Self {
            name: "6.1",
            suite: (SECURITY, "bookworm-security"),
            package: "linux-image-cloud-amd64",
        },
        Self {
            name: "6.12",
            suite: (SECURITY, "bookworm-security"),
            package: "linux-image-6.12-cloud-amd64",
        },
        Self {
            name: "newest",
            suite: ("debian", "sid"),
            package: "linux-image-cloud-amd64",
        },
    ];

    /// Fetches and unpacks the newest kernel of the series, unless that is in the cache.
    pub(super) fn fetch(&self) -> Result<Kernel> {
        let archive = Archive::open(self.suite.1, &[self.suite], false)?;
        let is_part = |name: &str| {
            name.starts_with("linux-")
                && name.contains("-cloud-")
                && name.contains(|c: char| c.is_ascii_digit())
        };
        let is_part = |name: &str| {
            is_part(name) && name != self.package && !name.starts_with("linux-base-cloud")
        };
        let debs = archive.fetch(self.package, is_part)?;
        let root = places::cache(&format!("kernels/{}", stem(&debs)?))?;
        if !root.join("complete").is_file() {
            unpack(&debs, &root)?;
        }
        Kernel::find(root)
    }
}

/// The name of the image's package file names the version exactly.
fn stem(debs: &[PathBuf]) -> Result<String> {
    debs.iter()
        .filter_map(|deb| deb.file_stem()?.to_str())
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
        .context("no image among the packages")
}

fn unpack(debs: &[PathBuf], root: &Path) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    for deb in debs {
        shell::output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(root))?;
    }
    // Newer packages have everything below /usr.
    let modules = root.join("lib/modules");
    if !modules.exists() {
        fs::create_dir_all(root.join("lib")).context("cannot create lib")?;
        std::os::unix::fs::symlink("../usr/lib/modules", &modules)
            .context("cannot link the modules")?;
    }
    let version = version(&modules)?;
    shell::output(Command::new("depmod").arg("-b").arg(root).arg(&version))?;
    fs::write(root.join("complete"), "").context("cannot mark the kernel as complete")
}

fn version(modules: &Path) -> Result<String> {
    let entries =
        fs::read_dir(modules).with_context(|| format!("cannot read {}", modules.display()))?;
    let name = entries
        .flatten()
        .find_map(|entry| entry.file_name().into_string().ok());
    name.with_context(|| format!("no kernel in {}", modules.display()))
}

impl Kernel {
    fn find(root: PathBuf) -> Result<Self> {
        let version = version(&root.join("lib/modules"))?;
        let places = [
            root.join("boot").join(format!("vmlinuz-{version}")),
            root.join("lib/modules").join(&version).join("vmlinuz"),
        ];
        let image = places
            .into_iter()
            .find(|path| path.is_file())
            .with_context(|| format!("no vmlinuz of {version}"))?;
        Ok(Self {
            version,
            image,
            root,
        })
    }

    /// The files of `names` and of what they depend on, in the order in which they must be inserted. What is built in
    /// has no file.
    pub(super) fn modules(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for name in names {
            let mut modprobe = Command::new("modprobe");
            modprobe
                .arg("-d")
                .arg(&self.root)
                .args(["-S", &self.version, "--show-depends", name]);
            let told = shell::output(&mut modprobe)
                .with_context(|| format!("Linux {} has no {name}", self.version))?;
            for path in told
                .lines()
                .filter_map(|line| line.trim().strip_prefix("insmod "))
                .map(PathBuf::from)
            {
                if !files.contains(&path) {
                    files.push(path);
                }
            }
        }
        Ok(files)
    }
}
