//! What this machine must offer before a command starts, each refusal in one clear line.

use std::fs;

use anyhow::{Result, bail};

/// The oldest kernel that the programs are tested on.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid only reads the process's credentials and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether network namespaces and eBPF programs can be used here.
pub(crate) fn can_run_clusters() -> Result<()> {
    if !is_root() {
        bail!(
            "root is needed for network namespaces and eBPF programs: run `sudo -E env PATH=$PATH cargo xtask ...`"
        );
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if kernel_version(release).is_none_or(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        bail!("Linux {release} is too old: kube-shunt needs {major}.{minor} or later");
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if !has_cgroup2(&mounts) {
        bail!("no cgroup v2 here: mount it with `mount -t cgroup2 none /sys/fs/cgroup/unified`");
    }
    Ok(())
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn has_cgroup2(mounts: &str) -> bool {
    mounts
        .lines()
        .any(|line| line.split(' ').nth(2) == Some("cgroup2"))
}

#[cfg(test)]
mod tests {
    use super::{has_cgroup2, kernel_version};

    #[test]
    fn kernel_version_compares_as_numbers() {
        assert_eq!(kernel_version("6.18.44-fc-v595"), Some((6, 18)));
        assert!(kernel_version("5.4.0-150-generic") < Some((5, 10)));
        assert_eq!(kernel_version(""), None);
    }

    #[test]
    fn cgroup2_is_found_in_either_layout() {
        assert!(has_cgroup2(
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
        ));
        assert!(has_cgroup2(
            "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n"
        ));
        assert!(!has_cgroup2(
            "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
        ));
    }
}
