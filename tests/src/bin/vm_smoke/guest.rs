//! What an init does: file systems, modules, the end.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

/// Kind and place of every file system, parents first.
const MOUNTS: [(&str, &str); 8] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/var"),
    ("bpf", "/sys/fs/bpf"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// Mounts all of [`MOUNTS`].
pub(crate) fn mount_all() -> Result<()> {
    for (kind, place) in MOUNTS {
        std::fs::create_dir_all(place).with_context(|| format!("make {place}"))?;
        match mount(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        ) {
            // The kernel may have mounted devtmpfs itself.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("mount {place}")),
        }
    }
    std::fs::create_dir_all("/run/netns")?;
    Ok(())
}

/// Inserts the files of /modules in the order of their names, in which they depend on each other.
pub(crate) fn insert_modules() -> Result<()> {
    let entries = std::fs::read_dir("/modules").context("read /modules")?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for path in files {
        let file = File::open(&path)?;
        let parameters = CString::default();
        // SAFETY: the descriptor is open and the string ends with NUL; the kernel copies both before it returns.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_finit_module,
                file.as_raw_fd(),
                parameters.as_ptr(),
                0,
            )
        };
        if failed != 0 && Errno::last() != Errno::EEXIST {
            bail!("insert {}: {}", path.display(), Errno::last());
        }
    }
    Ok(())
}

/// Ends the machine.
pub(crate) fn power_off() -> ! {
    match reboot(RebootMode::RB_POWER_OFF) {
        Ok(never) => match never {},
        // An init that ends makes the kernel panic; qemu ends then too.
        Err(_) => std::process::exit(1),
    }
}
