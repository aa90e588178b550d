//! BPF links: made, replaced, asked about.

#![expect(unsafe_code, reason = "raw system calls")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::bpf::{Attr, Info, address, bpf, bpf_fd, info, raw};

const PROG_QUERY: u32 = 16;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;
const LINK_DETACH: u32 = 34;

/// `enum bpf_attach_type`, as far as we attach.
pub(crate) mod attach_type {
    pub(crate) const INET4_CONNECT: u32 = 10;
    pub(crate) const INET6_CONNECT: u32 = 11;
    pub(crate) const UDP4_SENDMSG: u32 = 14;
    pub(crate) const UDP6_SENDMSG: u32 = 15;
    pub(crate) const UDP4_RECVMSG: u32 = 19;
    pub(crate) const UDP6_RECVMSG: u32 = 20;
    pub(crate) const INET4_GETPEERNAME: u32 = 29;
    pub(crate) const INET6_GETPEERNAME: u32 = 30;
    pub(crate) const XDP: u32 = 37;
    pub(crate) const TCX_INGRESS: u32 = 46;
    pub(crate) const TCX_EGRESS: u32 = 47;
}

/// Insert in front of the others (`BPF_F_BEFORE` without a reference).
pub(crate) const FIRST: u32 = 1 << 3;
/// XDP in the driver (`XDP_FLAGS_DRV_MODE`).
pub(crate) const XDP_DRIVER: u32 = 1 << 2;

const LINK_TYPE_CGROUP: u32 = 3;
const LINK_TYPE_XDP: u32 = 6;
const LINK_TYPE_TCX: u32 = 11;

#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    expected_revision: u64,
}
// SAFETY: integers without padding.
unsafe impl Attr for CreateAttr {}

/// Attaches `program` to a device (by index) or a cgroup (by descriptor number).
fn create(program: impl AsFd, target: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = CreateAttr {
        program: raw(program),
        target,
        attach_type,
        flags,
        ..CreateAttr::default()
    };
    // SAFETY: LINK_CREATE for these attach types uses no pointers.
    unsafe { bpf_fd(LINK_CREATE, &mut attr) }
}

/// Attaches to the device `ifindex` of the calling thread's network namespace.
pub(crate) fn create_on_device(
    program: impl AsFd,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    create(program, ifindex, attach_type, flags)
}

/// Attaches to a cgroup. Links are always "multi"; flags other than 0 are refused before 7.3.
pub(crate) fn create_on_cgroup(
    program: impl AsFd,
    cgroup: impl AsFd,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    create(program, raw(cgroup), attach_type, 0)
}

#[repr(C)]
struct UpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}
// SAFETY: integers without padding.
unsafe impl Attr for UpdateAttr {}

/// Replaces the program of a link, atomically.
pub(crate) fn replace(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let mut attr = UpdateAttr {
        link: raw(link),
        program: raw(program),
        flags: 0,
        old_program: 0,
    };
    // SAFETY: LINK_UPDATE uses no pointers.
    unsafe { bpf(LINK_UPDATE, &mut attr) }.map(drop)
}

#[repr(C)]
struct DetachAttr {
    link: u32,
}
// SAFETY: an integer.
unsafe impl Attr for DetachAttr {}

/// Detaches a link whoever else holds it.
pub(crate) fn detach(link: impl AsFd) -> io::Result<()> {
    let mut attr = DetachAttr { link: raw(link) };
    // SAFETY: LINK_DETACH uses no pointers.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(drop)
}

#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    first: [u32; 2],
    second: [u32; 2],
}
// SAFETY: integers without padding.
unsafe impl Info for RawLinkInfo {}

/// What a link is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A TCX link; ifindex 0 once the device is gone or the link was detached.
    Tcx { ifindex: u32, attach_type: u32 },
    /// An XDP link; likewise.
    Xdp { ifindex: u32 },
    /// A cgroup link; id 0 once the cgroup is gone or the link was detached.
    Cgroup { id: u64, attach_type: u32 },
    /// A link of a kind that we do not make.
    Other,
}

/// A link as the kernel sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkInfo {
    pub(crate) program_id: u32,
    pub(crate) target: Target,
}

/// What the kernel says about the link behind `fd`.
pub(crate) fn link_info(fd: impl AsFd) -> io::Result<LinkInfo> {
    let RawLinkInfo {
        kind,
        id: _,
        program,
        pad: _,
        first,
        second,
    } = info::<RawLinkInfo>(fd)?;
    let target = match kind {
        LINK_TYPE_TCX => Target::Tcx {
            ifindex: first[0],
            attach_type: first[1],
        },
        LINK_TYPE_XDP => Target::Xdp { ifindex: first[0] },
        LINK_TYPE_CGROUP => Target::Cgroup {
            id: join(first),
            attach_type: second[0],
        },
        _ => Target::Other,
    };
    Ok(LinkInfo {
        program_id: program,
        target,
    })
}

/// Two halves of a u64 as they lie in memory.
fn join([first, second]: [u32; 2]) -> u64 {
    let mut bytes = [0; 8];
    for (to, word) in bytes.chunks_exact_mut(4).zip([first, second]) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    u64::from_ne_bytes(bytes)
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    count: u32,
    pad: u32,
    attach_flags_array: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}
// SAFETY: integers without padding.
unsafe impl Attr for QueryAttr {}

/// Ids of the programs attached to a device, in order of execution.
pub(crate) fn query_device(ifindex: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    query(ifindex, attach_type)
}

/// Ids of the programs attached to a cgroup.
pub(crate) fn query_cgroup(cgroup: impl AsFd, attach_type: u32) -> io::Result<Vec<u32>> {
    query(raw(cgroup), attach_type)
}

fn query(target: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    const MOST: usize = 64;
    let mut ids = vec![0u32; MOST];
    let mut attr = QueryAttr {
        target,
        attach_type,
        program_ids: address(ids.as_mut_ptr()),
        count: u32::try_from(MOST).unwrap_or(0),
        ..QueryAttr::default()
    };
    // SAFETY: the kernel writes at most `count` ids, which `ids` has room for.
    match unsafe { bpf(PROG_QUERY, &mut attr) } {
        Ok(_) => {}
        // No multi-program entry on the device yet.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => attr.count = 0,
        Err(error) => return Err(error),
    }
    ids.truncate(attr.count as usize);
    Ok(ids)
}
