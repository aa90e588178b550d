//! Packets as a network card's driver brings them: frames born in XDP on a device, by `BPF_PROG_TEST_RUN` with live frames (Linux 5.18,
//! b530e9e1063e), and a sink at their end that counts them. The programs are ours and tiny: instructions by hand.

use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::bpf::{self, Hook};
use crate::place::Place;

/// Bytes of a frame.
const FRAME: usize = 60;
/// Frames that the kernel handles at a time, as drivers do.
const BATCH: u32 = 64;
/// Flags of linux/bpf.h: `BPF_F_XDP_HAS_FRAGS`, `BPF_F_TEST_XDP_LIVE_FRAMES`.
const HAS_FRAGS: u32 = 1 << 5;
const LIVE_FRAMES: u32 = 1 << 1;
/// `BPF_XDP`.
const ATTACH_XDP: u32 = 37;
/// Low half of the source address and identification together; so the header's checksum is the same for every flow.
const BALANCE: u16 = 0x7fff;

/// What of the frames differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flows {
    /// Nothing: all are of one flow.
    One,
    /// Source address and port: each begins a flow, 2^30 of them.
    New,
}

/// The frames: UDP over IPv4, 18 bytes of payload.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Of the device that they come in by.
    pub to_mac: [u8; 6],
    /// The client's. With [`Flows::New`] the address's low half and the port are replaced.
    pub from: SocketAddrV4,
    /// Whom they are for.
    pub to: SocketAddrV4,
    /// First byte of the payload.
    pub payload: u8,
}

/// A source of frames at one device.
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    frame: [u8; FRAME],
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
        let with = |flags, attach| Self::load(device, frame, flows, next.as_ref(), [flags, attach]);
        with(HAS_FRAGS, ATTACH_XDP)
            .or_else(|_| with(0, ATTACH_XDP))
            .or_else(|_| with(0, 0))
    }

    fn load(
        device: u32,
        frame: [u8; FRAME],
        flows: Flows,
        next: Option<&OwnedFd>,
        [flags, attach]: [u32; 2],
    ) -> Result<Self> {
        let counter = bpf::map(bpf::ARRAY, 8)?;
        let programs = bpf::map(bpf::PROG_ARRAY, 4)?;
        let code = generate(
            &frame,
            flows,
            fd(&counter)?,
            next.map(|_| fd(&programs)).transpose()?,
        );
        let program = bpf::load(bpf::XDP, &code, flags, attach)?;
        if let Some(next) = next {
            bpf::update(&programs, fd(next)?).context("call the next XDP program")?;
        }
        Ok(Self {
            program,
            frame,
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

/// Drops every IPv4 packet at a device and counts it; neighbours are still found.
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
        let code = count(fd(&counter)?, hook, verdict);
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

impl Template {
    fn frame(&self, flows: Flows) -> Result<[u8; FRAME]> {
        let mut source = *self.from.ip();
        let mut identification = 0;
        if flows == Flows::New {
            let [a, b, ..] = source.octets();
            source = [a, b, 0, 0].into();
            identification = BALANCE;
        }
        let mut frame = Vec::with_capacity(FRAME);
        frame.extend(self.to_mac);
        // Locally administered, nobody's.
        frame.extend([0x02, 0x18, 0, 0, 0xee, 0x01, 0x08, 0x00]);
        let total = u16::try_from(FRAME - 14)?;
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend(u16::to_be_bytes(identification));
        frame.extend([0x40, 0, 64, 17, 0, 0]);
        frame.extend(source.octets());
        frame.extend(self.to.ip().octets());
        let sum = checksum(frame.get(14..34).context("a header")?);
        frame
            .get_mut(24..26)
            .context("a header")?
            .copy_from_slice(&sum.to_be_bytes());
        frame.extend(self.from.port().to_be_bytes());
        frame.extend(self.to.port().to_be_bytes());
        frame.extend((total - 20).to_be_bytes());
        // No UDP checksum.
        frame.extend([0, 0, self.payload]);
        frame.resize(FRAME, 0);
        frame
            .try_into()
            .map_err(|_| anyhow::anyhow!("a frame of another length"))
    }
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// An instruction: operation, destination and source register, offset, immediate.
fn op(code: u8, to: u8, from: u8, offset: i16, value: u32) -> u64 {
    u64::from(code)
        | u64::from(to | from << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(value) << 32
}

const CALL: u8 = 0x85;
const MOV: u8 = 0xb7;
const MOV_REG: u8 = 0xbf;
const ADD: u8 = 0x07;
const SUB_REG: u8 = 0x1f;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const LOAD_32: u8 = 0x61;
const LOAD_16: u8 = 0x69;
const LOAD_64: u8 = 0x79;
const STORE_16: u8 = 0x6b;
const STORE_64: u8 = 0x7b;
const STORE_32_VALUE: u8 = 0x62;
const TO_BIG_ENDIAN: u8 = 0xdc;
const IF_GREATER_REG: u8 = 0x2d;
const JUMP: u8 = 0x05;
const IF_EQUAL: u8 = 0x15;
const LOAD_MAP: u8 = 0x18;
const EXIT: u8 = 0x95;
/// Helpers of linux/bpf.h.
const MAP_LOOKUP: u32 = 1;
const TAIL_CALL: u32 = 12;

/// The address of a map into register `to`.
fn map_into(to: u8, map: u32) -> [u64; 2] {
    // BPF_PSEUDO_MAP_FD
    [op(LOAD_MAP, to, 1, 0, map), 0]
}

/// r0: the counter's address. Element 0 of an array is always there, but the verifier wants to see it checked by the caller.
fn find_counter(map: u32) -> Vec<u64> {
    let mut code = vec![
        op(STORE_32_VALUE, 10, 0, -4, 0),
        op(MOV_REG, 2, 10, 0, 0),
        op(ADD, 2, 0, 0, (-4_i32).cast_unsigned()),
    ];
    code.extend(map_into(1, map));
    code.push(op(CALL, 0, 0, 0, MAP_LOOKUP));
    code
}

/// The sink.
fn count(counter: u32, hook: Hook, verdict: u32) -> Vec<u64> {
    const IPV4: u32 = 0x0800_u16.to_be() as u32;
    let (mut code, pass) = match hook {
        // XDP_PASS
        Hook::Xdp => (
            vec![
                op(LOAD_32, 7, 1, 0, 0),
                op(LOAD_32, 8, 1, 4, 0),
                op(MOV_REG, 1, 7, 0, 0),
                op(ADD, 1, 0, 0, 14),
                op(IF_GREATER_REG, 1, 8, 2, 0),
                op(LOAD_16, 1, 7, 12, 0),
                op(IF_EQUAL, 1, 0, 2, IPV4),
            ],
            2,
        ),
        // TC_ACT_UNSPEC; __sk_buff has the protocol at 16.
        Hook::TcxIngress | Hook::TcxEgress => (
            vec![op(LOAD_32, 1, 1, 16, 0), op(IF_EQUAL, 1, 0, 2, IPV4)],
            u32::MAX,
        ),
    };
    code.extend([op(MOV, 0, 0, 0, pass), op(EXIT, 0, 0, 0, 0)]);
    code.extend(find_counter(counter));
    code.extend([
        op(IF_EQUAL, 0, 0, 3, 0),
        op(LOAD_64, 1, 0, 0, 0),
        op(ADD, 1, 0, 0, 1),
        op(STORE_64, 0, 1, 0, 0),
        op(MOV, 0, 0, 0, verdict),
        op(EXIT, 0, 0, 0, 0),
    ]);
    code
}

/// The source: writes the whole frame anew, since pages come back as packets left them.
fn generate(frame: &[u8; FRAME], flows: Flows, counter: u32, next: Option<u32>) -> Vec<u64> {
    let pass = [op(MOV, 0, 0, 0, 2), op(EXIT, 0, 0, 0, 0)];
    let mut code = vec![
        op(MOV_REG, 6, 1, 0, 0),
        op(LOAD_32, 7, 6, 0, 0),
        op(LOAD_32, 8, 6, 4, 0),
        op(MOV_REG, 1, 7, 0, 0),
        op(ADD, 1, 0, 0, 60),
        // The verifier wants to know that the frame is as long as it is.
        op(IF_GREATER_REG, 1, 8, 1, 0),
        op(JUMP, 0, 0, 2, 0),
    ];
    code.extend(pass);
    for (offset, word) in (0..).step_by(4).zip(frame.chunks_exact(4)) {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        code.push(op(STORE_32_VALUE, 7, 0, offset, word));
    }
    if flows == Flows::New {
        code.extend(find_counter(counter));
        code.push(op(IF_EQUAL, 0, 0, 17, 0));
        code.extend([
            op(LOAD_64, 1, 0, 0, 0),
            op(MOV_REG, 2, 1, 0, 0),
            op(ADD, 2, 0, 0, 1),
            op(STORE_64, 0, 2, 0, 0),
            // Source port: 1024 and more.
            op(MOV_REG, 2, 1, 0, 0),
            op(AND, 2, 0, 0, 0x7fff),
            op(ADD, 2, 0, 0, 1024),
            op(TO_BIG_ENDIAN, 2, 0, 0, 16),
            op(STORE_16, 7, 2, 34, 0),
            // Low half of the source address, and the rest of BALANCE as identification.
            op(SHIFT_RIGHT, 1, 0, 0, 15),
            op(AND, 1, 0, 0, BALANCE.into()),
            op(MOV, 3, 0, 0, BALANCE.into()),
            op(SUB_REG, 3, 1, 0, 0),
            op(TO_BIG_ENDIAN, 1, 0, 0, 16),
            op(STORE_16, 7, 1, 28, 0),
            op(TO_BIG_ENDIAN, 3, 0, 0, 16),
            op(STORE_16, 7, 3, 18, 0),
        ]);
    }
    if let Some(programs) = next {
        code.push(op(MOV_REG, 1, 6, 0, 0));
        code.extend(map_into(2, programs));
        code.extend([op(MOV, 3, 0, 0, 0), op(CALL, 0, 0, 0, TAIL_CALL)]);
    }
    code.extend(pass);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template {
            to_mac: [2, 0, 0, 0, 0, 1],
            from: SocketAddrV4::new([198, 18, 3, 4].into(), 5_000),
            to: SocketAddrV4::new([172, 18, 0, 3].into(), 30_080),
            payload: b'e',
        }
    }

    #[test]
    fn headers_have_a_right_checksum() {
        for flows in [Flows::One, Flows::New] {
            let mut frame = template().frame(flows).unwrap();
            assert_eq!(checksum(&frame[14..34]), 0);
            frame[20] ^= 1;
            assert_ne!(checksum(&frame[14..34]), 0);
        }
    }

    #[test]
    fn a_flow_changes_address_and_identification_by_the_same_amount() {
        let mut frame = template().frame(Flows::New).unwrap();
        let flow = 0x1234_u16;
        frame[28..30].copy_from_slice(&flow.to_be_bytes());
        frame[18..20].copy_from_slice(&(BALANCE - flow).to_be_bytes());
        assert_eq!(checksum(&frame[14..34]), 0);
    }
}
