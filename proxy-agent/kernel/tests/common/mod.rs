//! A world of one test: a network namespace, a pin root and a cgroup of its own, gone at the end.
//!
//! A test that needs root and does not have it says `SKIPPED` and returns.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::allow_attributes,
    reason = "a file that uses all of it must not be warned about"
)]

pub(crate) mod node;

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use proxy_common::layout::LAYOUT_VERSION;
use proxy_kernel::cleanup::{CleanupOptions, cleanup};
use proxy_kernel::options::MASQUERADE_BIT;
use proxy_kernel::{
    Capacities, DeviceOverrides, LoadOptions, LocalDetector, NodePortAddresses, XdpDevices, host,
};

/// `below` the pins of this layout, from the pin root.
pub(crate) fn pin_path(below: &str) -> String {
    format!("v{LAYOUT_VERSION}/{below}")
}

/// Why a test cannot run here, if it cannot.
pub(crate) fn skip_reason() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        Some("needs root")
    } else if proxy_kernel::object::bytes().is_empty() {
        Some("built without the eBPF object; run `cargo xtask build`")
    } else if host::cgroup_root().is_err() {
        Some("needs cgroup v2")
    } else {
        None
    }
}

/// Runs `test` in a thread inside a new network namespace with a pin root of its own.
pub(crate) fn in_world(test: &str, run: impl FnOnce(&World) + Send) {
    if let Some(reason) = skip_reason() {
        println!("SKIPPED {test}: {reason}");
        return;
    }
    let world = World::new();
    let result = thread::scope(|scope| {
        scope
            .spawn(|| {
                world.enter();
                run(&world);
            })
            .join()
    });
    drop(world);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// What a test owns.
pub(crate) struct World {
    pub(crate) netns: String,
    pub(crate) bpf_root: PathBuf,
    pub(crate) cgroup: PathBuf,
}

impl World {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "ksk-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = host::cgroup_root().unwrap().join(&name);
        fs::create_dir(&cgroup).unwrap();
        ip(&["netns", "add", &name]);
        let world = Self {
            bpf_root: Path::new("/sys/fs/bpf").join(&name),
            netns: name,
            cgroup,
        };
        world.ip(&["link", "set", "lo", "up"]);
        world
    }

    /// Moves the calling thread into the world's namespace.
    fn enter(&self) {
        let file = fs::File::open(Path::new("/run/netns").join(&self.netns)).unwrap();
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Another namespace; gone with the world.
    pub(crate) fn add_netns(&self, suffix: &str) -> String {
        let name = format!("{}-{suffix}", self.netns);
        ip(&["netns", "add", &name]);
        name
    }

    /// `ip` in the world's namespace.
    pub(crate) fn ip(&self, args: &[&str]) {
        ip(&[&["-n", &self.netns], args].concat());
    }

    /// A veth with one end here and the other in a new namespace.
    pub(crate) fn add_pod(&self, device: &str) -> String {
        let pod = self.add_netns(device);
        self.ip(&[
            "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", &pod,
        ]);
        self.ip(&["link", "set", device, "up"]);
        pod
    }

    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions {
            bpf_root: self.bpf_root.clone(),
            cgroup_root: self.cgroup.clone(),
            node_name: "node".to_owned(),
            capacities: Capacities {
                frontends: 1024,
                backends: 1024,
                flows: 4096,
                embryos: 1024,
                affinity: 1024,
                source_ranges: 1024,
                lut: 1024,
            },
            node_port_addresses: NodePortAddresses::default(),
            xdp: XdpDevices::None,
            devices: DeviceOverrides::default(),
            detect: LocalDetector::Devices,
            exact_masquerade: false,
            masquerade_all: false,
            host_routing: false,
            masquerade_bit: MASQUERADE_BIT,
        }
    }

    pub(crate) fn cleanup_options(&self) -> CleanupOptions {
        CleanupOptions {
            bpf_root: self.bpf_root.clone(),
            cgroup_root: Some(self.cgroup.clone()),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let options = self.cleanup_options();
        let cleaned = thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter();
                    cleanup(&options)
                })
                .join()
        });
        for (name, _path) in dir(Path::new("/run/netns")) {
            if name == self.netns || name.starts_with(&format!("{}-", self.netns)) {
                run(Command::new("ip").args(["netns", "del", &name]));
            }
        }
        fs::remove_dir(&self.cgroup).ok();
        let cleaned = cleaned.expect("cleanup");
        if !thread::panicking() {
            assert!(cleaned.errors.is_empty(), "{:?}", cleaned.errors);
            assert!(!self.bpf_root.exists(), "{:?}", dir(&self.bpf_root));
        }
    }
}

/// Names and paths in a directory.
pub(crate) fn dir(path: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut entries: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    entries.sort();
    entries
}

fn ip(args: &[&str]) {
    let output = run(Command::new("ip").args(args));
    assert!(output.is_some(), "ip {args:?}");
}

/// Output of a command that succeeded.
pub(crate) fn run(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        eprintln!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
