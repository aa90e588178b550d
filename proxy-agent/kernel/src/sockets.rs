//! The socket hooks on the cgroup v2 root: attached once, pinned, replaced in place.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use crate::Loaded;
use crate::error::{Error, Result};
use crate::options::LoadOptions;
use crate::pins::{self, Pins};
use crate::programs::{Name, Programs};
use crate::sys::bpf::{open_pin, pin};
use crate::sys::links::{Target, create_on_cgroup, link_info, query_cgroup, replace};

/// Attaches all socket hooks, or replaces those an earlier run pinned, without a gap. Returns one line for each program.
///
/// The hooks that hide a translation (recvmsg, getpeername) come before those that make one.
pub fn attach(loaded: &Loaded, options: &LoadOptions) -> Result<Vec<String>> {
    const ORDER: [Name; 8] = [
        Name::Getpeername4,
        Name::Getpeername6,
        Name::Recvmsg4,
        Name::Recvmsg6,
        Name::Sendmsg4,
        Name::Sendmsg6,
        Name::Connect4,
        Name::Connect6,
    ];
    let path = &options.cgroup_root;
    let cgroup = File::open(path).map_err(Error::io("open", path))?;
    let pins = Pins::current(&options.bpf_root);
    ORDER
        .iter()
        .map(|name| attach_one(&loaded.programs, *name, &cgroup, path, &pins))
        .collect()
}

fn attach_one(
    programs: &Programs,
    name: Name,
    cgroup: &File,
    root: &Path,
    pins: &Pins,
) -> Result<String> {
    let symbol = name.symbol();
    let Some(attach_type) = name.cgroup_attach_type() else {
        return Err(Error::Missing {
            kind: "program",
            name: symbol,
        });
    };
    let program = programs.fd(name)?;
    let path = pins.link(symbol);
    let failed = |source| Error::Attach {
        program: symbol,
        device: root.display().to_string(),
        source,
    };
    if let Ok(link) = open_pin(&path) {
        if serves(
            &link,
            programs.id(name),
            cgroup,
            attach_type,
            program.as_fd(),
        ) {
            return Ok(format!("{symbol}: replaced"));
        }
        // Of another cgroup, or of one that is gone.
        pins::unlink(&path)?;
    }
    let link = create_on_cgroup(program, cgroup, attach_type).map_err(failed)?;
    pin(&link, &path).map_err(Error::io("pin", &path))?;
    Ok(format!("{symbol}: attached to {}", root.display()))
}

/// Gives the link the new program; `false` if it is not on this cgroup any more.
///
/// The cgroup is asked for its programs instead of comparing ids: where a cgroup's id shows depends on the kernel.
fn serves(
    link: &OwnedFd,
    program: u32,
    cgroup: &File,
    attach_type: u32,
    fd: std::os::fd::BorrowedFd<'_>,
) -> bool {
    let ours = link_info(link).is_ok_and(
        |info| matches!(info.target, Target::Cgroup { id, attach_type: found } if id != 0 && found == attach_type),
    );
    ours && replace(link, fd).is_ok()
        && query_cgroup(cgroup, attach_type).is_ok_and(|ids| ids.contains(&program))
}
