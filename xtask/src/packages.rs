//! Debian packages: asks dpkg what is there, lets apt add what is not. It never removes or upgrades a package.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{host, shell, vm::archive::Archive};

/// The packages of the list that are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let told = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Abbrev}\n"])
        .args(packages)
        .output();
    // dpkg-query exits 1 when it does not know one of them; what it knows is in its output all the same.
    let told = told
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    packages
        .iter()
        .copied()
        .filter(|package| !told.lines().any(|line| is_installed(line, package)))
        .collect()
}

fn is_installed(line: &str, package: &str) -> bool {
    line.split_once(' ')
        .is_some_and(|(name, state)| name == package && state.starts_with("ii"))
}

/// Installs what is missing of the list.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !host::is_root() {
        bail!("these packages are missing: {list}; run as root, or: apt-get install {list}");
    }
    if shell::find_program("apt-get").is_none() {
        bail!("these packages are missing and there is no apt-get here: {list}");
    }
    shell::timed(&format!("installing with apt-get: {list}"), || {
        if install_known(&missing).is_ok() {
            return Ok(());
        }
        // The lists may be missing or older than the archive.
        shell::output(Command::new("apt-get").args(["-q", "update"]))
            .context("cannot update the package lists")?;
        install_known(&missing).with_context(|| format!("cannot install {list}"))
    })
}

/// Installs qemu for x86: the distribution's, else the one of Debian's backports. Bookworm's own is too old to install
/// beside a newer qemu-utils.
pub(crate) fn install_qemu() -> Result<()> {
    if shell::find_program("qemu-system-x86_64").is_some() {
        return Ok(());
    }
    if !host::is_root() {
        bail!("qemu is missing; run as root, or: apt-get install qemu-system-x86");
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release
        .lines()
        .any(|line| line == "VERSION_CODENAME=bookworm")
    {
        return install(&["qemu-system-x86"]);
    }
    let suites = [
        ("debian", "bookworm"),
        ("debian", "bookworm-backports"),
        ("debian-security", "bookworm-security"),
    ];
    let archive = Archive::open("bookworm-backports", &suites, true)?;
    let mut apt = archive.apt("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-q",
        "-y",
        "--no-install-recommends",
        "--no-remove",
    ]);
    // What was copied for looking must not be what dpkg writes to.
    apt.args([
        "-o",
        "Dir::State::Status=/var/lib/dpkg/status",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    apt.args(["-t", "bookworm-backports", "install", "qemu-system-x86"]);
    shell::timed("installing qemu from bookworm-backports", || {
        shell::output(&mut apt)
    })
    .map(drop)
}

fn install_known(packages: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args([
        "-q",
        "-y",
        "--no-install-recommends",
        "--no-remove",
        "-o",
        "DPkg::Lock::Timeout=300",
        "install",
    ]);
    shell::output(apt.args(packages)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::is_installed;

    #[test]
    fn removed_package_counts_as_missing() {
        assert!(is_installed("nftables ii ", "nftables"));
        assert!(!is_installed("nftables rc ", "nftables"));
        assert!(!is_installed("nftables2 ii ", "nftables"));
    }
}
