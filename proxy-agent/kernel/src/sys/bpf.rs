//! bpf(2): the call itself, pins, and what the kernel says about maps.

#![expect(unsafe_code, reason = "raw system calls")]

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const MAP_CREATE: u32 = 0;
const PROG_LOAD: u32 = 5;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const PROG_TEST_RUN: u32 = 10;
const OBJ_GET_INFO_BY_FD: u32 = 15;

/// Argument blocks of bpf(2): `repr(C)` prefixes of `union bpf_attr`, zero where unused.
///
/// # Safety
///
/// Every byte of the type is initialised (no implicit padding).
pub(super) unsafe trait Attr {}

/// Calls bpf(2).
///
/// # Safety
///
/// `attr` must be the argument block of `command`, and every pointer in it must be valid for what the command does with it.
pub(super) unsafe fn bpf<T: Attr>(command: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most size_of::<T>() bytes of attr; the caller vouches for its pointers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(i32::try_from(result).unwrap_or(i32::MAX))
    }
}

/// As [`bpf`], for commands that return a file descriptor.
///
/// # Safety
///
/// As [`bpf`]; `command` must return a new descriptor.
pub(super) unsafe fn bpf_fd<T: Attr>(command: u32, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: passed on to the caller.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor as the kernel's unsigned field.
pub(super) fn raw(fd: impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

/// A pointer as the kernel's 64-bit field.
pub(super) fn address<T: ?Sized>(pointer: *const T) -> u64 {
    pointer.cast::<u8>().expose_provenance() as u64
}

#[repr(C)]
#[derive(Default)]
struct ObjAttr {
    pathname: u64,
    fd: u32,
    flags: u32,
}
// SAFETY: integers without padding.
unsafe impl Attr for ObjAttr {}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// What a handle of a map can be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Looking only; the kernel refuses the rest.
    Read,
    /// Everything.
    Write,
}

/// Opens what is pinned at `path`.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    open_pinned_map(path, Access::Write)
}

/// Opens the map that is pinned at `path`.
pub(crate) fn open_pinned_map(path: &Path, access: Access) -> io::Result<OwnedFd> {
    const BPF_F_RDONLY: u32 = 1 << 3;
    let name = c_path(path)?;
    let mut attr = ObjAttr {
        pathname: address(name.as_ptr()),
        flags: match access {
            Access::Read => BPF_F_RDONLY,
            Access::Write => 0,
        },
        ..ObjAttr::default()
    };
    // SAFETY: OBJ_GET reads the string `name`, which lives until the end of this function.
    unsafe { bpf_fd(OBJ_GET, &mut attr) }
}

/// Pins `fd` at `path`; EEXIST if something is there.
pub(crate) fn pin(fd: impl AsFd, path: &Path) -> io::Result<()> {
    let name = c_path(path)?;
    let mut attr = ObjAttr {
        pathname: address(name.as_ptr()),
        fd: raw(fd),
        flags: 0,
    };
    // SAFETY: OBJ_PIN reads the string `name`, which lives until the end of this function.
    unsafe { bpf(OBJ_PIN, &mut attr) }.map(drop)
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}
// SAFETY: integers without padding.
unsafe impl Attr for InfoAttr {}

/// Prefixes of the kernel's info structs.
///
/// # Safety
///
/// Plain `repr(C)` integers: any bytes are a value, and there is no implicit padding.
pub(super) unsafe trait Info: Default {}

/// What the kernel says about the object behind `fd`. The caller must know which kind it is.
pub(super) fn info<T: Info>(fd: impl AsFd) -> io::Result<T> {
    let mut info = T::default();
    let len = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
    let mut attr = InfoAttr {
        fd: raw(fd),
        len,
        info: address(&raw mut info),
    };
    // SAFETY: the kernel writes at most `len` bytes to `info`, whose every byte pattern is valid.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// Shape of a map, as the kernel has it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}
// SAFETY: integers without padding.
unsafe impl Info for MapInfo {}

/// Shape of the map behind `fd`.
pub(crate) fn map_info(fd: impl AsFd) -> io::Result<MapInfo> {
    info(fd)
}

#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    kind: u32,
    id: u32,
}
// SAFETY: integers without padding.
unsafe impl Info for ProgInfo {}

/// Id of the program behind `fd`.
pub(crate) fn program_id(fd: impl AsFd) -> io::Result<u32> {
    info::<ProgInfo>(fd).map(|info| info.id)
}

#[repr(C)]
#[derive(Default)]
struct MapCreateAttr {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
}
// SAFETY: integers without padding.
unsafe impl Attr for MapCreateAttr {}

/// A nameless map, for probes and tests.
pub(crate) fn create_map(
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attr = MapCreateAttr {
        kind,
        key_size,
        value_size,
        max_entries,
        flags,
        inner_map_fd: 0,
    };
    // SAFETY: MAP_CREATE with these fields uses no pointers.
    unsafe { bpf_fd(MAP_CREATE, &mut attr) }
}

#[repr(C)]
#[derive(Default)]
struct ProgLoadAttr {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}
// SAFETY: integers without padding.
unsafe impl Attr for ProgLoadAttr {}

/// Loads a program of a few instructions, for probes and tests.
pub(crate) fn load_program(
    kind: u32,
    attach_type: u32,
    flags: u32,
    instructions: &[u64],
) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attr = ProgLoadAttr {
        kind,
        instruction_count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        instructions: address(instructions.as_ptr()),
        license: address(license.as_ptr()),
        flags,
        expected_attach_type: attach_type,
        ..ProgLoadAttr::default()
    };
    // SAFETY: PROG_LOAD reads `instruction_count` eight-byte instructions and the license string; both outlive the call.
    unsafe { bpf_fd(PROG_LOAD, &mut attr) }
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}
// SAFETY: integers without padding.
unsafe impl Attr for TestRunAttr {}

/// Runs a TC program once on the packet `data`, which stays as it is. What the program returned.
pub(crate) fn test_run(program: impl AsFd, data: &[u8]) -> io::Result<u32> {
    let mut attr = TestRunAttr {
        program: raw(program),
        size_in: u32::try_from(data.len()).unwrap_or(u32::MAX),
        data_in: address(data.as_ptr()),
        ..TestRunAttr::default()
    };
    // SAFETY: PROG_TEST_RUN reads `size_in` bytes of `data`; without `data_out` it writes to `attr` only.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }.map(|_zero| attr.returned)
}
