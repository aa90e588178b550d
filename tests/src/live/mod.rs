//! Packets as a network card's driver brings them: frames born in XDP on a device, by `BPF_PROG_TEST_RUN` with live frames (Linux 5.18,
//! b530e9e1063e), and a sink at their end that counts them. The programs are ours and tiny: instructions by hand.

mod code;
mod frame;

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::bpf::{self, Hook};
use crate::place::Place;
pub use frame::Template;

/// Frames that the kernel handles at a time, as drivers do.
const BATCH: u32 = 64;
/// Flags of linux/bpf.h: `BPF_F_XDP_HAS_FRAGS`, `BPF_F_TEST_XDP_LIVE_FRAMES`.
const HAS_FRAGS: u32 = 1 << 5;
const LIVE_FRAMES: u32 = 1 << 1;
/// `BPF_XDP`.
const ATTACH_XDP: u32 = 37;
/// What of the frames differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flows {
    /// Nothing: all are of one flow.
    One,
    /// Source address and port: each begins a flow, 2^30 of them.
    New,
}

/// A source of frames at one device.
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    frame: Vec<u8>,
    device: u32,
    _maps: [OwnedFd; 2],
}

impl Generator {
    /// Frames of `template` that come in by `device` at `place`: to the stack, or with `next` to the device's own XDP program first.
    /// A veth needs an XDP program for them in either case.
    pub fn new(
        place: &Place,
        device: &str,
        template: &Template,
        flows: Flows,
        next: bool,
    ) -> Result<Self> {
        let frame = template.frame(flows)?;
        let next = next.then(|| bpf::xdp_of(place, device)).transpose()?;
        let device = place.enter(|| nix::net::if_::if_nametoindex(device))??;
        // A program and the one that it calls must agree on whether frames may be in parts, and on what they are for.
        let with =
            |flags, attach| Self::load(device, &frame, flows, next.as_ref(), [flags, attach]);
        with(HAS_FRAGS, ATTACH_XDP)
            .or_else(|_| with(0, ATTACH_XDP))
            .or_else(|_| with(0, 0))
    }

    fn load(
        device: u32,
        frame: &[u8],
        flows: Flows,
        next: Option<&OwnedFd>,
        [flags, attach]: [u32; 2],
    ) -> Result<Self> {
        let counter = bpf::map(bpf::ARRAY, 8)?;
        let programs = bpf::map(bpf::PROG_ARRAY, 4)?;
        let code = code::generate(
            frame,
            flows,
            fd(&counter)?,
            next.map(|_| fd(&programs)).transpose()?,
        )?;
        let program = bpf::load(bpf::XDP, &code, flags, attach)?;
        if let Some(next) = next {
            bpf::update(&programs, fd(next)?).context("call the next XDP program")?;
        }
        Ok(Self {
            program,
            frame: frame.to_vec(),
            device,
            _maps: [counter, programs],
        })
    }

    /// Sends `count` frames, and returns how long that took without the kernel's preparations, which take tens of milliseconds. Call it
    /// inside the namespace; the calling thread's processor does all the work.
    pub fn send(&self, count: u32) -> Result<Duration> {
        #[repr(C)]
        struct TestRun {
            program: u32,
            returned: u32,
            sizes: [u32; 2],
            data: [u64; 2],
            repeat: u32,
            duration: u32,
            context_sizes: [u32; 2],
            contexts: [u64; 2],
            flags: u32,
            cpu: u32,
            batch: u32,
            pad: u32,
        }

        let length = u32::try_from(self.frame.len())?;
        // xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let context: [u32; 6] = [0, length, 0, self.device, 0, 0];
        let mut attributes = TestRun {
            program: fd(&self.program)?,
            returned: 0,
            sizes: [length, 0],
            data: [self.frame.as_ptr() as u64, 0],
            repeat: count,
            duration: 0,
            context_sizes: [u32::try_from(size_of_val(&context))?, 0],
            contexts: [context.as_ptr() as u64, 0],
            flags: LIVE_FRAMES,
            cpu: 0,
            batch: BATCH,
            pad: 0,
        };
        bpf::call(bpf::TEST_RUN, &mut attributes).context("send live frames")?;
        // Of one frame, in whole nanoseconds.
        Ok(Duration::from_nanos(attributes.duration.into()) * count)
    }
}

/// Drops every UDP datagram at a device and counts it; neighbours are still found.
#[derive(Debug)]
pub struct Sink {
    counter: OwnedFd,
    _link: OwnedFd,
}

impl Sink {
    /// At `device` in `place`.
    pub fn attach(place: &Place, device: &str, hook: Hook) -> Result<Self> {
        // XDP_DROP, TC_ACT_SHOT
        let (kind, verdict, flags) = match hook {
            Hook::Xdp => (bpf::XDP, 1, HAS_FRAGS),
            Hook::TcxIngress | Hook::TcxEgress => (bpf::SCHED_CLS, 2, 0),
        };
        let counter = bpf::map(bpf::ARRAY, 8)?;
        let code = code::count(fd(&counter)?, hook, verdict);
        let program = bpf::load(kind, &code, flags, 0)?;
        let link = bpf::link(&program, place, device, hook)?;
        Ok(Self {
            counter,
            _link: link,
        })
    }

    /// Packets so far.
    pub fn count(&self) -> Result<u64> {
        bpf::lookup(&self.counter)
    }
}

fn fd(of: &OwnedFd) -> Result<u32> {
    Ok(u32::try_from(of.as_raw_fd())?)
}
