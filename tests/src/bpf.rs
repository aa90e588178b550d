//! The few bpf(2) calls that tests need: one look into a pinned map, and tiny programs that stand for those of others.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::place::Place;

/// Commands of linux/bpf.h.
mod command {
    pub(super) const PROG_LOAD: libc::c_long = 5;
    pub(super) const OBJ_PIN: libc::c_long = 6;
    pub(super) const OBJ_GET: libc::c_long = 7;
    pub(super) const TEST_RUN: libc::c_long = 10;
    pub(super) const LINK_CREATE: libc::c_long = 28;
    pub(super) const ENABLE_STATS: libc::c_long = 32;
}

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
        // BPF_PROG_TYPE_XDP. Below Linux 5.18 there are no frames in parts, and the flag is refused.
        Self::load(6, 2, HAS_FRAGS).or_else(|_| Self::load(6, 2, 0))
    }

    /// Leaves packets at TC to the next program (`TC_ACT_UNSPEC`, `TCX_NEXT`).
    pub fn tc() -> Result<Self> {
        // BPF_PROG_TYPE_SCHED_CLS
        Self::load(3, -1, 0)
    }

    fn load(kind: u32, verdict: i32, flags: u32) -> Result<Self> {
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
        }

        // r0 = verdict; exit
        let code: [u64; 2] = [0xb7 | u64::from(verdict.cast_unsigned()) << 32, 0x95];
        let mut attributes = ProgLoad {
            kind,
            instructions: 2,
            code: code.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log: [0; 2],
            kernel_version: 0,
            flags,
            name: *b"foreign\0\0\0\0\0\0\0\0\0",
        };
        let program = descriptor(command::PROG_LOAD, &mut attributes).context("load a program")?;
        Ok(Self {
            program,
            links: Vec::new(),
        })
    }

    /// Attaches the program to `device` at `place`.
    pub fn attach(&mut self, place: &Place, device: &str, hook: Hook) -> Result<()> {
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
        let program = u32::try_from(self.program.as_raw_fd())?;
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
        self.links
            .push(link.with_context(|| format!("attach to {device} in {}", place.name))?);
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
        call(command::TEST_RUN, &mut attributes).context("test run")?;
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
