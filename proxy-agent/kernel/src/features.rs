//! What the running kernel can do, found by trying.

use std::os::fd::AsFd as _;

use proxy_common::flags::feature;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::schema::kind;
use crate::sys::bpf::{create_map, load_program};
use crate::sys::elements::update_batch;
use crate::sys::links::{attach_type, query_device};

/// Result of [`probe`].
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Features {
    /// Kernel release, for reports only.
    pub release: String,
    /// `bpf_set_retval` in cgroup hooks: errno of our choice.
    pub set_retval: bool,
    /// `bpf_ktime_get_coarse_ns`.
    pub coarse_clock: bool,
    /// `bpf_get_netns_cookie` in cgroup hooks.
    pub netns_cookie: bool,
    /// TCX links (6.6); clsact filters otherwise.
    pub tcx: bool,
    /// XDP programs that take packets in several buffers, as large MTUs need (5.18).
    pub xdp_frags: bool,
    /// `BPF_MAP_UPDATE_BATCH` and its siblings on hash maps.
    pub batch: bool,
}

impl Features {
    /// As [`proxy_common::flags::feature`] bits.
    pub fn bits(&self) -> u32 {
        let Self {
            release: _,
            set_retval,
            coarse_clock,
            netns_cookie,
            tcx: _,
            xdp_frags: _,
            batch: _,
        } = self;
        [
            (*set_retval, feature::SET_RETVAL),
            (*coarse_clock, feature::COARSE_CLOCK),
            (*netns_cookie, feature::NETNS_COOKIE),
        ]
        .iter()
        .fold(0, |bits, (has, bit)| if *has { bits | bit } else { bits })
    }
}

const PROG_TYPE_XDP: u32 = 6;
const PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const XDP_HAS_FRAGS: u32 = 1 << 5;
/// The loopback device has this index in every network namespace.
const LOOPBACK: u32 = 1;

/// Tries each feature in the calling thread's network namespace.
pub fn probe() -> Result<Features> {
    // Root in a container may lack the rights: without this question everything would look unsupported.
    match create_map(kind::HASH, 4, 4, 4, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Err(Error::NotRoot),
        Ok(_) | Err(_) => {}
    }
    Ok(Features {
        release: crate::host::release(),
        set_retval: helper_in_cgroup_hook(187),
        coarse_clock: helper_in_cgroup_hook(160),
        netns_cookie: helper_in_cgroup_hook(122),
        tcx: query_device(LOOPBACK, attach_type::TCX_INGRESS).is_ok(),
        xdp_frags: load_program(
            PROG_TYPE_XDP,
            attach_type::XDP,
            XDP_HAS_FRAGS,
            &[instruction::return_value(2), instruction::EXIT],
        )
        .is_ok(),
        batch: batch(),
    })
}

/// eBPF instructions as the kernel reads them: opcode, registers, offset, immediate.
mod instruction {
    /// `r0 = value`.
    pub(super) const fn return_value(value: u8) -> u64 {
        u64::from_ne_bytes([0xb7, 0, 0, 0, value, 0, 0, 0])
    }

    /// `r1 = 0`: the first argument, for helpers that take a plain number.
    pub(super) const ZERO_ARGUMENT: u64 = u64::from_ne_bytes([0xb7, 1, 0, 0, 0, 0, 0, 0]);

    /// Calls helper `number`.
    pub(super) const fn call(number: u8) -> u64 {
        u64::from_ne_bytes([0x85, 0, 0, 0, number, 0, 0, 0])
    }

    /// Returns r0.
    pub(super) const EXIT: u64 = u64::from_ne_bytes([0x95, 0, 0, 0, 0, 0, 0, 0]);
}

/// Whether a cgroup connect4 program may call the helper. All that we ask for accept a null or zero first argument.
fn helper_in_cgroup_hook(number: u8) -> bool {
    let program = [
        instruction::ZERO_ARGUMENT,
        instruction::call(number),
        instruction::return_value(1),
        instruction::EXIT,
    ];
    load_program(
        PROG_TYPE_CGROUP_SOCK_ADDR,
        attach_type::INET4_CONNECT,
        0,
        &program,
    )
    .is_ok()
}

fn batch() -> bool {
    let Ok(map) = create_map(kind::HASH, 4, 4, 4, 0) else {
        return false;
    };
    let (done, result) = update_batch(map.as_fd(), &[1u32, 2], &[1u32, 2]);
    done == 2 && result.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_name_what_is_there() {
        let mut features = Features {
            release: String::new(),
            set_retval: false,
            coarse_clock: false,
            netns_cookie: false,
            tcx: true,
            xdp_frags: true,
            batch: true,
        };
        assert_eq!(features.bits(), 0);
        features.set_retval = true;
        features.netns_cookie = true;
        assert_eq!(features.bits(), feature::SET_RETVAL | feature::NETNS_COOKIE);
    }
}
