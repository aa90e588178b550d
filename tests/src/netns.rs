//! Network namespaces that vanish with their owner.
//!
//! Entered by `setns(CLONE_NEWNET)` alone: `ip netns exec` would hide bpffs and cgroup2.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};

/// Where iproute2 keeps the names of namespaces.
pub const NAMES: &str = "/run/netns";

/// A named network namespace; deleted when dropped, with every device in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
    keep: bool,
}

impl Namespace {
    /// Makes the namespaces `names`, in one run of `ip`.
    pub fn create_all(names: &[String]) -> Result<Vec<Self>> {
        let batch: Vec<String> = names
            .iter()
            .map(|name| format!("netns add {name}\n"))
            .collect();
        ip_batch(Command::new("ip"), &batch.concat())?;
        names.iter().map(|name| Self::open(name, false)).collect()
    }

    /// The machine's initial namespace, under the name `name`. Only for machines of ours: it gets devices and routes.
    pub fn initial(name: &str) -> Result<Self> {
        ip_batch(Command::new("ip"), &format!("netns attach {name} 1\n"))?;
        Self::open(name, false)
    }

    /// A namespace that exists already. `keep`: it outlives this value.
    pub fn open(name: &str, keep: bool) -> Result<Self> {
        let path = Path::new(NAMES).join(name);
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self {
            name: name.to_owned(),
            file,
            keep,
        })
    }

    /// Leaves the namespace behind when this value is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// The name under [`NAMES`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The open namespace.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Runs `work` on a thread inside the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("enter {}", self.name))?;
                Ok(work())
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.keep {
            delete(&self.name);
        }
    }
}

/// Deletes the namespace `name` once nothing else holds it. Silent if it is gone already.
pub fn delete(name: &str) {
    let path = Path::new(NAMES).join(name);
    let gone = umount2(&path, MntFlags::MNT_DETACH).is_err();
    if std::fs::remove_file(&path).is_err() && !gone {
        eprintln!("cannot remove {}", path.display());
    }
}

/// Names of all namespaces that begin with `prefix`.
pub fn with_prefix(prefix: &str) -> Vec<String> {
    let Ok(names) = std::fs::read_dir(NAMES) else {
        return Vec::new();
    };
    names
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Runs `ip -batch` with `script` on its standard input; `ip` says where it runs.
pub fn ip_batch(mut ip: Command, script: &str) -> Result<()> {
    use std::io::Write as _;
    use std::process::Stdio;

    let mut child = ip
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run ip")?;
    child
        .stdin
        .take()
        .context("ip has no standard input")?
        .write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip: {complaint}in:\n{script}");
    Ok(())
}

/// Writes a setting below /proc/sys/net; call it inside the namespace. `key` is the path, as in `ipv4/ip_forward`.
pub fn write_sysctl(key: &str, value: &str) -> Result<()> {
    let path: PathBuf = Path::new("/proc/sys/net").join(key);
    std::fs::write(&path, value).with_context(|| format!("write {value} to {}", path.display()))
}
