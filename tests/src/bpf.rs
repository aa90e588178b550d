//! The few bpf(2) calls that tests need: one look into a pinned map, and tiny programs that stand for those of others.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::place::Place;

/// Commands of linux/bpf.h.
mod command {
    pub(super) const MAP_CREATE: libc::c_long = 0;
    pub(super) const MAP_LOOKUP: libc::c_long = 1;
    pub(super) const MAP_UPDATE: libc::c_long = 2;
    pub(super) const PROG_LOAD: libc::c_long = 5;
    pub(super) const OBJ_PIN: libc::c_long = 6;
    pub(super) const OBJ_GET: libc::c_long = 7;
    pub(crate) const TEST_RUN: libc::c_long = 10;
    pub(super) const PROG_BY_ID: libc::c_long = 13;
    pub(super) const INFO: libc::c_long = 15;
    pub(super) const LINK_CREATE: libc::c_long = 28;
    pub(super) const ENABLE_STATS: libc::c_long = 32;
}

pub(crate) use command::TEST_RUN;

/// Kinds of maps and programs of linux/bpf.h.
pub(crate) const ARRAY: u32 = 2;
pub(crate) const PROG_ARRAY: u32 = 3;
pub(crate) const SCHED_CLS: u32 = 3;
pub(crate) const XDP: u32 = 6;

/// `BPF_F_XDP_HAS_FRAGS`.
const HAS_FRAGS: u32 = 1 << 5;

/// Where a foreign program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// XDP, in native mode if the driver has it.
    Xdp,
    /// TCX (Linux 6.6 and later).
    TcxIngress,
    /// TCX (Linux 6.6 and later).
    TcxEgress,
}

/// A program of somebody else's that lets every packet pass. Detached when dropped, unless pinned.
#[derive(Debug)]
pub struct Foreign {
    program: OwnedFd,
    links: Vec<OwnedFd>,
}

impl Foreign {
    /// Passes frames at XDP (`XDP_PASS`).
    pub fn xdp() -> Result<Self> {
        // Below Linux 5.18 there are no frames in parts, and the flag is refused.
        Self::load(XDP, 2, HAS_FRAGS).or_else(|_| Self::load(XDP, 2, 0))
    }

    /// Leaves packets at TC to the next program (`TC_ACT_UNSPEC`, `TCX_NEXT`).
    pub fn tc() -> Result<Self> {
        Self::load(SCHED_CLS, -1, 0)
    }

    fn load(kind: u32, verdict: i32, flags: u32) -> Result<Self> {
        // r0 = verdict; exit
        let code = [0xb7 | u64::from(verdict.cast_unsigned()) << 32, 0x95];
        Ok(Self {
            program: load(kind, &code, flags, 0)?,
            links: Vec::new(),
        })
    }

    /// Attaches the program to `device` at `place`.
    pub fn attach(&mut self, place: &Place, device: &str, hook: Hook) -> Result<()> {
        self.links.push(link(&self.program, place, device, hook)?);
        Ok(())
    }

    /// Pins the program, for `tc` to find.
    pub fn pin(&self, path: &Path) -> Result<()> {
        let name = CString::new(path.as_os_str().as_encoded_bytes())?;
        let fd = u32::try_from(self.program.as_raw_fd())?;
        let mut attributes = Object {
            name: name.as_ptr() as u64,
            fd,
            flags: 0,
        };
        call(command::OBJ_PIN, &mut attributes)
            .with_context(|| format!("pin {}", path.display()))?;
        Ok(())
    }

    /// Nanoseconds of one of `repeat` test runs: what a run costs that does nothing.
    pub fn time(&self, packet: &[u8], repeat: u32) -> Result<f64> {
        #[repr(C)]
        struct TestRun {
            program: u32,
            returned: u32,
            size_in: u32,
            size_out: u32,
            data: [u64; 2],
            repeat: u32,
            duration: u32,
            context: [u64; 3],
        }

        let mut attributes = TestRun {
            program: u32::try_from(self.program.as_raw_fd())?,
            returned: 0,
            size_in: u32::try_from(packet.len())?,
            size_out: 0,
            data: [packet.as_ptr() as u64, 0],
            repeat,
            duration: 0,
            context: [0; 3],
        };
        call(TEST_RUN, &mut attributes).context("test run")?;
        Ok(f64::from(attributes.duration))
    }

    /// How often it ran; only counted while a [`Statistics`] lives.
    pub fn runs(&self) -> Result<u64> {
        let text =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.program.as_raw_fd()))?;
        let count = text.lines().find_map(|line| line.strip_prefix("run_cnt:"));
        Ok(count
            .with_context(|| format!("no run count in {text}"))?
            .trim()
            .parse()?)
    }
}

/// Makes the kernel count runs of programs.
#[derive(Debug)]
pub struct Statistics(#[expect(dead_code, reason = "counting ends when it is closed")] OwnedFd);

impl Statistics {
    /// From now on.
    pub fn enable() -> Result<Self> {
        // BPF_STATS_RUN_TIME
        let mut kind = 0_u32;
        Ok(Self(
            descriptor(command::ENABLE_STATS, &mut kind).context("count runs of programs")?,
        ))
    }
}

/// The attributes of commands about pinned objects.
#[repr(C)]
struct Object {
    name: u64,
    fd: u32,
    flags: u32,
}

/// Opens a pinned object.
pub(crate) fn open(path: &Path) -> Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut attributes = Object {
        name: name.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    descriptor(command::OBJ_GET, &mut attributes)
        .with_context(|| format!("open {}", path.display()))
}

/// Loads a program; `attach`: its expected attach type, 0 for none.
pub(crate) fn load(kind: u32, code: &[u64], flags: u32, attach: u32) -> Result<OwnedFd> {
    #[repr(C)]
    struct ProgLoad {
        kind: u32,
        instructions: u32,
        code: u64,
        license: u64,
        log: [u64; 2],
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        device: u32,
        attach: u32,
    }

    let mut attributes = ProgLoad {
        kind,
        instructions: u32::try_from(code.len())?,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        kernel_version: 0,
        flags,
        name: *b"foreign\0\0\0\0\0\0\0\0\0",
        device: 0,
        attach,
    };
    descriptor(command::PROG_LOAD, &mut attributes).context("load a program")
}

/// The XDP program of `device` at `place`.
pub(crate) fn xdp_of(place: &Place, device: &str) -> Result<OwnedFd> {
    let told = place.run("ip", &["-json", "link", "show", "dev", device])?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let id = told[0]["xdp"]["prog"]["id"]
        .as_u64()
        .with_context(|| format!("{device} in {} has no XDP program", place.name))?;
    // id, then the next id of an iteration, then flags
    let mut attributes = [u32::try_from(id)?, 0, 0];
    descriptor(command::PROG_BY_ID, &mut attributes).context("open a program")
}

/// What a program has cost since it was loaded; only counted while a [`Statistics`] lives.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RunTime {
    /// Runs.
    pub runs: u64,
    /// Nanoseconds of all of them.
    pub ns: u64,
}

/// The cost of each program that is pinned by a link below `dir`, by the program's name.
pub fn run_times(dir: &Path) -> Result<BTreeMap<String, RunTime>> {
    let mut programs = BTreeSet::new();
    for link in pins(dir)? {
        // A file that is no link is none of ours.
        if let Ok(program) = program_of(&open(&link)?) {
            programs.insert(program);
        }
    }
    let mut times = BTreeMap::<String, RunTime>::new();
    for program in aya::programs::loaded_programs() {
        let program = program?;
        if programs.contains(&program.id()) {
            let name = program.name_as_str().unwrap_or("unnamed");
            let time = times.entry(name.to_owned()).or_default();
            time.runs += program.run_count();
            time.ns += u64::try_from(program.run_time().as_nanos())?;
        }
    }
    Ok(times)
}

/// Files called `links/...` below `dir`.
fn pins(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(pins(&path)?);
        } else if path
            .parent()
            .is_some_and(|parent| parent.ends_with("links"))
        {
            files.push(path);
        }
    }
    Ok(files)
}

/// The id of a link's program.
fn program_of(link: &OwnedFd) -> Result<u32> {
    #[repr(C)]
    struct Info {
        fd: u32,
        length: u32,
        address: u64,
    }

    // The head of bpf_link_info: type, id, prog_id.
    let mut info = [0_u32; 3];
    let mut attributes = Info {
        fd: u32::try_from(link.as_raw_fd())?,
        length: u32::try_from(size_of_val(&info))?,
        address: (&raw mut info) as u64,
    };
    call(command::INFO, &mut attributes)?;
    Ok(info[2])
}

/// Attaches `program` to `device` at `place`, until the link is closed.
pub(crate) fn link(program: &OwnedFd, place: &Place, device: &str, hook: Hook) -> Result<OwnedFd> {
    #[repr(C)]
    struct LinkCreate {
        program: u32,
        device: u32,
        attach_type: u32,
        flags: u32,
        relative: [u64; 2],
    }

    let attach_type = match hook {
        Hook::Xdp => 37,
        Hook::TcxIngress => 46,
        Hook::TcxEgress => 47,
    };
    let program = u32::try_from(program.as_raw_fd())?;
    let link = place.enter(|| {
        let device = nix::net::if_::if_nametoindex(device)?;
        let mut attributes = LinkCreate {
            program,
            device,
            attach_type,
            flags: 0,
            relative: [0; 2],
        };
        descriptor(command::LINK_CREATE, &mut attributes)
    })?;
    link.with_context(|| format!("attach to {device} in {}", place.name))
}

/// An array of one element of `size` bytes.
pub(crate) fn map(kind: u32, size: u32) -> Result<OwnedFd> {
    // type, key, value, entries, flags
    let mut attributes: [u32; 5] = [kind, 4, size, 1, 0];
    descriptor(command::MAP_CREATE, &mut attributes).context("make a map")
}

/// The attributes of commands about one element.
#[repr(C)]
struct Element {
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
}

/// The 64 bits of an array of one element.
pub(crate) fn lookup(map: &OwnedFd) -> Result<u64> {
    let (key, mut value) = (0_u32, 0_u64);
    let mut attributes = Element {
        map: u64::try_from(map.as_raw_fd())?,
        key: (&raw const key) as u64,
        value: (&raw mut value) as u64,
        flags: 0,
    };
    call(command::MAP_LOOKUP, &mut attributes).context("read a map")?;
    Ok(value)
}

/// Sets the 32 bits of an array of one element.
pub(crate) fn update(map: &OwnedFd, value: u32) -> Result<()> {
    let key = 0_u32;
    let mut attributes = Element {
        map: u64::try_from(map.as_raw_fd())?,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    call(command::MAP_UPDATE, &mut attributes)?;
    Ok(())
}

/// A call that makes a descriptor.
fn descriptor<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bpf(2).
pub(crate) fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: `attributes` is the leading part of union bpf_attr that `command` reads; its pointers live as long as the callers' locals.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    i32::try_from(result)
        .ok()
        .filter(|&result| result >= 0)
        .ok_or_else(io::Error::last_os_error)
}
