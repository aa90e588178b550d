//! TCX links: pinned, replaced in place, found again after a restart.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::netlink::tc::Direction;
use crate::pins::{self, Pins};
use crate::sys::bpf::{open_pin, pin};
use crate::sys::links::{FIRST, Target, attach_type, create_on_device, link_info, replace};

/// One link of ours.
#[derive(Debug)]
pub(crate) struct Link {
    fd: OwnedFd,
    pin: PathBuf,
    target: Target,
}

impl Link {
    /// Makes `program` run: in the link an earlier run pinned if it still serves this target, else in a new one.
    pub(crate) fn ensure(program: impl AsFd, target: Target, pin_path: &Path) -> io::Result<Self> {
        let program = program.as_fd();
        if let Ok(fd) = open_pin(pin_path) {
            // Without the comparison a device that took over the index of a vanished one would stay uncovered.
            if link_info(&fd).is_ok_and(|info| info.target == target)
                && replace(&fd, program).is_ok()
            {
                return Ok(Self {
                    fd,
                    pin: pin_path.to_path_buf(),
                    target,
                });
            }
            pins::unlink(pin_path).map_err(io::Error::other)?;
        }
        let fd = match target {
            Target::Tcx {
                ifindex,
                attach_type,
            } => create_on_device(program, ifindex, attach_type, FIRST)?,
            Target::Xdp { ifindex } => create_on_device(
                program,
                ifindex,
                attach_type::XDP,
                crate::sys::links::XDP_DRIVER,
            )?,
            Target::Cgroup { .. } | Target::Other => return Err(io::ErrorKind::Unsupported.into()),
        };
        pin(&fd, pin_path)?;
        Ok(Self {
            fd,
            pin: pin_path.to_path_buf(),
            target,
        })
    }

    /// Whether the link still runs program `id` on its target. A pin that somebody removed is put back.
    pub(crate) fn audit(&self, id: u32) -> bool {
        let serves = link_info(&self.fd)
            .is_ok_and(|info| info.target == self.target && info.program_id == id);
        if serves
            && !self.pin.exists()
            && let Err(error) = pin(&self.fd, &self.pin)
        {
            tracing::warn!(%error, pin = %self.pin.display(), "a link's pin is gone and cannot be put back");
        }
        serves
    }

    /// Detaches: without the pin, the last handle was ours.
    pub(crate) fn remove(self) {
        if let Err(error) = pins::unlink(&self.pin) {
            tracing::warn!(%error, "a link's pin could not be removed");
        }
    }
}

/// Where the TCX link of one side of a device is pinned.
pub(crate) fn pin_path(pins: &Pins, direction: Direction, ifindex: u32) -> PathBuf {
    pins.link(&format!("{}{ifindex}", super::pin_prefix(direction)))
}

/// The TCX target of one side of a device.
pub(crate) fn target(direction: Direction, ifindex: u32) -> Target {
    let attach_type = match direction {
        Direction::Ingress => attach_type::TCX_INGRESS,
        Direction::Egress => attach_type::TCX_EGRESS,
    };
    Target::Tcx {
        ifindex,
        attach_type,
    }
}
