//! What the machine must offer, each shortcoming in one clear line.

use std::io::Write as _;

use anyhow::{Result, bail, ensure};

use crate::cgroup;

/// The oldest kernel that the eBPF programs load on.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Fails with one line if the machine cannot run a namespace cluster with agents.
pub fn check() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "needs root: network namespaces and eBPF programs are made here"
    );
    let release = nix::sys::utsname::uname()?
        .release()
        .to_string_lossy()
        .into_owned();
    ensure!(
        kernel_version(&release) >= Some(OLDEST_KERNEL),
        "needs Linux {}.{} or newer, this is {release}",
        OLDEST_KERNEL.0,
        OLDEST_KERNEL.1
    );
    ensure!(
        cgroup::mount_point().is_some(),
        "needs a mounted cgroup v2 (mount -t cgroup2 none /sys/fs/cgroup)"
    );
    for program in ["ip", "nft"] {
        if !has_program(program) {
            bail!("needs the program `{program}` (Debian, Ubuntu: apt install iproute2 nftables)");
        }
    }
    Ok(())
}

/// For tests: whether `program`, which only `test` needs, is installed; says so if not.
pub fn installed(test: &str, program: &str) -> bool {
    let found = has_program(program);
    if !found {
        skip(test, &format!("needs the program `{program}`"));
    }
    found
}

/// For tests: whether the kernel has TCX, which it got in 6.6 with the commit e420bed02507; says so if not.
pub fn has_tcx(test: &str) -> bool {
    let tcx = running_kernel() >= Some((6, 6));
    if !tcx {
        skip(test, "needs TCX, of Linux 6.6");
    }
    tcx
}

fn has_program(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// For tests: whether `test` can run; says so on the terminal if not, past the test runner's capture.
pub fn met(test: &str) -> bool {
    let Err(missing) = check() else { return true };
    skip(test, &missing.to_string());
    false
}

/// Prints the line that `cargo xtask test` counts.
pub fn skip(test: &str, reason: &str) {
    // Not eprintln!: the test runner captures that and hides it from passing tests. In one write, so that no other test's
    // words get between, and on a line of its own.
    let line = format!("\nSKIPPED {test}: {reason}\n");
    let _closed = std::io::stderr().write_all(line.as_bytes());
}

/// The kernel that runs, if its release begins with two numbers.
pub fn running_kernel() -> Option<(u32, u32)> {
    let name = nix::sys::utsname::uname().ok()?;
    kernel_version(&name.release().to_string_lossy())
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(kernel_version("6.18.44-fc"), Some((6, 18)));
        assert!(kernel_version("5.4.0-150-generic") < Some(OLDEST_KERNEL));
        assert!(kernel_version("5.10.0") >= Some(OLDEST_KERNEL));
        assert_eq!(kernel_version("unknown"), None);
    }
}
