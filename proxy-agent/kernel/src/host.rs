//! The surroundings the agent needs: rights, kernel version, bpffs, cgroup v2, locked memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use crate::error::{Error, Result};

/// The oldest kernel whose features we rely on without a way around.
const OLDEST: (u32, u32) = (5, 10);
const BPFFS: &str = "/sys/fs/bpf";

/// Root, kernel, memlock limit and a bpffs under `bpf_root` (mounted if missing): one clear error each.
pub fn prepare(bpf_root: &Path) -> Result<()> {
    check_root()?;
    let release = release();
    if version(&release).is_some_and(|version| version < OLDEST) {
        return Err(Error::OldKernel { release });
    }
    // Maps count against this limit before 5.11. Without the right to raise it, the maps themselves will say so.
    if let Err(error) = setrlimit(
        Resource::RLIMIT_MEMLOCK,
        libc::RLIM_INFINITY,
        libc::RLIM_INFINITY,
    ) {
        tracing::debug!(%error, "cannot raise the limit of locked memory");
    }
    ensure_bpffs(bpf_root)
}

/// An error for anybody but root.
pub(crate) fn check_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err(Error::NotRoot)
    }
}

/// As uname says.
pub fn release() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_error| String::new(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

/// Major and minor number of a kernel release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn ensure_bpffs(bpf_root: &Path) -> Result<()> {
    if on_bpffs(bpf_root) {
        return Ok(());
    }
    let failed = |source| Error::NoBpffs {
        path: bpf_root.to_path_buf(),
        source,
    };
    if !bpf_root.starts_with(BPFFS) {
        return Err(failed(io::Error::other(format!(
            "only {BPFFS} is mounted automatically"
        ))));
    }
    mount(
        Some("bpf"),
        BPFFS,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .map_err(|error| failed(error.into()))?;
    if on_bpffs(bpf_root) {
        Ok(())
    } else {
        Err(failed(io::ErrorKind::Unsupported.into()))
    }
}

/// Whether `path`, or what of it exists, lies on a bpffs.
fn on_bpffs(path: &Path) -> bool {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    existing
        .and_then(|existing| statfs(existing).ok())
        .is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// The cgroup v2 mount point: /sys/fs/cgroup, or /sys/fs/cgroup/unified in the hybrid layout, or wherever it is mounted.
pub fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .map(PathBuf::from)
        .into_iter()
        .chain(cgroup2_mount(&mounts))
        .find(|path| check_cgroup_root(path).is_ok())
        .ok_or_else(|| Error::NoCgroup2 {
            path: PathBuf::from("/sys/fs/cgroup"),
        })
}

/// Whether `path` lies on a cgroup v2 file system.
pub fn check_cgroup_root(path: &Path) -> Result<()> {
    match statfs(path) {
        Ok(fs) if fs.filesystem_type() == CGROUP2_SUPER_MAGIC => Ok(()),
        Ok(_) | Err(_) => Err(Error::NoCgroup2 {
            path: path.to_path_buf(),
        }),
    }
}

/// First cgroup2 mount point in the format of /proc/self/mounts.
fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_source, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_reads_releases() {
        for (release, expected) in [
            ("5.10.0-30-cloud-amd64", Some((5, 10))),
            ("6.18.44-fc-v595", Some((6, 18))),
            ("7.3-rc7", Some((7, 3))),
            ("", None),
            ("linux", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn cgroup2_mount_is_found_among_others() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /mnt/cg cgroup2 rw 0 0\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/mnt/cg")));
        assert_eq!(cgroup2_mount("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn cgroup_root_elsewhere_is_an_error() {
        assert!(matches!(
            check_cgroup_root(Path::new("/proc")),
            Err(Error::NoCgroup2 { .. })
        ));
        assert!(matches!(
            check_cgroup_root(Path::new("/no/such/path")),
            Err(Error::NoCgroup2 { .. })
        ));
    }
}
