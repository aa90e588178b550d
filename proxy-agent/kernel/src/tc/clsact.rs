//! clsact filters with a priority and handle of ours, for kernels below 6.6. They live on without the agent.
//!
//! A directory `qdisc-<ifindex>` among the links says that the qdisc is ours too: bpffs holds nothing else that could say it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::netlink::socket::Requests;
use crate::netlink::tc::{self, Direction};
use crate::pins::Pins;

/// Name of the marker, without the ifindex.
pub(crate) const MARKER_PREFIX: &str = "qdisc-";

fn marker(pins: &Pins, ifindex: u32) -> PathBuf {
    pins.link(&format!("{MARKER_PREFIX}{ifindex}"))
}

/// Makes `program` run on one side of a device, in place of ours that may run there.
pub(crate) fn ensure(
    requests: &mut Requests,
    pins: &Pins,
    ifindex: u32,
    direction: Direction,
    program: impl AsFd,
    symbol: &str,
) -> io::Result<()> {
    if tc::add_clsact(requests, ifindex)? {
        match fs::create_dir(marker(pins, ifindex)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    tc::set_filter(requests, ifindex, direction, program, symbol)
}

/// Whether our filter with program `id` is there.
pub(crate) fn audit(
    requests: &mut Requests,
    ifindex: u32,
    direction: Direction,
    id: u32,
) -> io::Result<bool> {
    Ok(tc::filters(requests, ifindex, direction)?.ours == Some(id))
}

/// Removes our filters, and the qdisc if we made it and nobody else uses it. What it removed, one line each.
pub(crate) fn remove(
    requests: &mut Requests,
    pins: &Pins,
    ifindex: u32,
) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    let mut others = 0;
    for direction in Direction::ORDER.into_iter().rev() {
        let filters = tc::filters(requests, ifindex, direction)?;
        others += filters.others;
        if filters.ours.is_some() {
            tc::remove_filter(requests, ifindex, direction)?;
            removed.push(format!("clsact {direction:?} filter of device {ifindex}").to_lowercase());
        }
    }
    let marker = marker(pins, ifindex);
    if marker.exists() {
        if others == 0 {
            match tc::remove_clsact(requests, ifindex) {
                Ok(()) => removed.push(format!("clsact qdisc of device {ifindex}")),
                // The device is gone, and the qdisc with it.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ENODEV | libc::ENOENT | libc::EINVAL)
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        fs::remove_dir(&marker)?;
    }
    Ok(removed)
}
