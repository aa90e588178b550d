//! Removes every trace of kube-shunt from a node, whatever state its agent left.
//!
//! Goes on after errors. Connections that our programs translated end here: stop the agent first, and drain before that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::masquerade;
use crate::netlink::socket::Requests;
use crate::netlink::tc::{self, Direction};
use crate::netlink::wire::{Message, Request, attribute, msg, read_text, read_u32};
use crate::pins;
use crate::programs::chain;
use crate::sys::bpf::open_pin;
use crate::sys::links::{Target, attach_type, detach, link_info, query_cgroup};
use crate::tc::clsact;

/// What to clean.
#[derive(Clone, Debug)]
pub struct CleanupOptions {
    /// Pin root.
    pub bpf_root: PathBuf,
    /// cgroup v2 root, if there is one: it is asked whether our hooks are really gone.
    pub cgroup_root: Option<PathBuf>,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Removed {
    /// One line for each thing removed.
    pub removed: Vec<String>,
    /// One line for each thing that could not be removed.
    pub errors: Vec<String>,
}

impl Removed {
    fn note(&mut self, what: impl Into<String>, result: Result<bool>) {
        match result {
            Ok(true) => self.removed.push(what.into()),
            Ok(false) => {}
            Err(error) => self.errors.push(chain(&error)),
        }
    }
}

/// Removes pins, links, clsact filters, the nft table and socket hooks, of any layout version. Acts on the network namespace
/// it runs in.
pub fn cleanup(options: &CleanupOptions) -> Removed {
    let CleanupOptions {
        bpf_root,
        cgroup_root,
    } = options;
    let mut report = Removed::default();
    let versions = || {
        pins::entries(bpf_root)
            .into_iter()
            .filter(|(name, _path)| pins::is_version(name))
            .map(|(_name, path)| path)
    };
    let hooks = pinned_hooks(versions());
    remove_filters(&qdiscs_of_ours(versions()), &mut report);
    for version in versions() {
        remove_version(&version, &mut report);
    }
    if let Some(root) = cgroup_root {
        verify_hooks(root, &hooks, &mut report);
    }
    remove_directory(bpf_root, &mut report);
    let table = masquerade::exists().and_then(|there| {
        if there {
            masquerade::remove().map(|()| true)
        } else {
            Ok(false)
        }
    });
    report.note(format!("nftables table {}", masquerade::TABLE), table);
    report
}

/// Removes all pins of one layout version: links first, programs need the maps until they are gone.
pub(crate) fn remove_version(version: &Path, report: &mut Removed) {
    let (links, mut directories): (Vec<_>, Vec<_>) = pins::entries(version)
        .into_iter()
        .map(|(_name, path)| path)
        .partition(|path| path.ends_with("links"));
    directories.splice(0..0, links);
    for directory in directories {
        for (name, path) in pins::entries(&directory) {
            remove_pin(&name, &path, report);
        }
        remove_directory(&directory, report);
    }
    remove_directory(version, report);
}

fn remove_pin(name: &str, path: &Path, report: &mut Removed) {
    if path.is_dir() {
        // The marker of a clsact qdisc: the filters went first, so the qdisc is gone or somebody else's by now.
        return remove_directory(path, report);
    }
    let link = open_pin(path)
        .ok()
        .and_then(|fd| Some((link_info(&fd).ok()?, fd)));
    let what = match link {
        // An agent that still runs holds the link too: without this the program would stay.
        Some((info, fd))
            if info.target != Target::Other && path.to_string_lossy().contains("/links/") =>
        {
            let attached = is_attached(info.target);
            match detach(&fd) {
                Err(error) if attached => {
                    report.errors.push(format!("cannot detach {name}: {error}"));
                }
                Ok(()) | Err(_) => {}
            }
            describe(name, info.target)
        }
        _map => format!("pin {}", path.display()),
    };
    report.note(what, pins::unlink(path));
}

fn is_attached(target: Target) -> bool {
    match target {
        Target::Tcx { ifindex, .. } | Target::Xdp { ifindex } => ifindex != 0,
        Target::Cgroup { id, .. } => id != 0,
        Target::Other => false,
    }
}

fn describe(name: &str, target: Target) -> String {
    match target {
        target if !is_attached(target) => format!("dead link {name}"),
        Target::Tcx {
            ifindex,
            attach_type: attach_type::TCX_INGRESS,
        } => format!("TC ingress program of device {ifindex}"),
        Target::Tcx { ifindex, .. } => format!("TC egress program of device {ifindex}"),
        Target::Xdp { ifindex } => format!("XDP program of device {ifindex}"),
        Target::Cgroup { .. } | Target::Other => format!("socket hook {name}"),
    }
}

fn remove_directory(path: &Path, report: &mut Removed) {
    match fs::remove_dir(path) {
        Ok(()) => report.removed.push(format!("directory {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => report.errors.push(chain(&Error::io("remove", path)(error))),
    }
}

/// Indexes of the devices whose clsact qdisc we made.
fn qdiscs_of_ours(versions: impl Iterator<Item = PathBuf>) -> BTreeSet<u32> {
    let links = versions.flat_map(|version| pins::entries(&version.join("links")));
    links
        .filter_map(|(name, _path)| name.strip_prefix(clsact::MARKER_PREFIX)?.parse().ok())
        .collect()
}

/// Attach types and program ids of the pinned socket hooks.
fn pinned_hooks(versions: impl Iterator<Item = PathBuf>) -> Vec<(u32, u32)> {
    let links = versions.flat_map(|version| pins::entries(&version.join("links")));
    links
        .filter_map(|(_name, path)| link_info(open_pin(&path).ok()?).ok())
        .filter_map(|info| match info.target {
            Target::Cgroup { attach_type, .. } => Some((attach_type, info.program_id)),
            Target::Tcx { .. } | Target::Xdp { .. } | Target::Other => None,
        })
        .collect()
}

fn verify_hooks(root: &Path, hooks: &[(u32, u32)], report: &mut Removed) {
    let Ok(cgroup) = fs::File::open(root) else {
        return;
    };
    for (attach_type, program) in hooks {
        if query_cgroup(&cgroup, *attach_type).is_ok_and(|ids| ids.contains(program)) {
            report.errors.push(format!(
                "program {program} still runs on {}",
                root.display()
            ));
        }
    }
}

/// Removes our clsact filters from every device, and the qdiscs in `made` that nobody else uses.
fn remove_filters(made: &BTreeSet<u32>, report: &mut Removed) {
    if let Err(error) = try_remove_filters(made, report) {
        report.errors.push(chain(&error));
    }
}

fn try_remove_filters(made: &BTreeSet<u32>, report: &mut Removed) -> Result<()> {
    let mut requests = Requests::open().map_err(Error::netlink("opening a socket"))?;
    let list = Request::new(msg::GETLINK, msg::DUMP, &[0; 16]);
    let devices: Vec<(u32, String)> = requests
        .dump(&list, read_name)
        .map_err(Error::netlink("listing devices"))?;
    for (ifindex, name) in devices {
        let mut others = 0;
        for direction in Direction::ORDER.into_iter().rev() {
            let filters = tc::filters(&mut requests, ifindex, direction)
                .map_err(Error::netlink("listing filters"))?;
            others += filters.others;
            if filters.ours.is_some() {
                let result = tc::remove_filter(&mut requests, ifindex, direction)
                    .map_err(Error::netlink("removing a filter"));
                report.note(
                    format!("clsact {direction:?} filter of device {name}").to_lowercase(),
                    result.map(|()| true),
                );
            }
        }
        if made.contains(&ifindex) && others == 0 {
            let result = tc::remove_clsact(&mut requests, ifindex)
                .map_err(Error::netlink("removing clsact"));
            report.note(
                format!("clsact qdisc of device {name}"),
                result.map(|()| true),
            );
        }
    }
    Ok(())
}

fn read_name(devices: &mut Vec<(u32, String)>, message: &Message<'_>) {
    const IFNAME: u16 = 3;
    let name = message
        .payload
        .get(16..)
        .and_then(|attributes| attribute(attributes, IFNAME))
        .map(read_text);
    if let (Some(index), Some(name)) = (read_u32(message.payload, 4), name) {
        devices.push((index, name));
    }
}
