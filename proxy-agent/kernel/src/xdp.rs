//! XDP programs on devices: in the driver or not at all. Generic XDP is slower than TC, which is there anyway.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::options::XdpDevices;
use crate::pins::Pins;
use crate::programs::{Name, Programs};
use crate::sys::links::Target;
use crate::tc::tcx::Link;

/// Name of a link's pin, without the ifindex.
pub(crate) const PIN_PREFIX: &str = "xdp-";

/// Whether a device should run XDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    No,
    /// If its driver takes it.
    Try,
    /// The operator named it: a refusal is an error.
    Must,
}

/// Decides about a device. `physical`: it sits on a bus.
pub(crate) fn choose(
    option: &XdpDevices,
    name: &str,
    node_facing: bool,
    l3: bool,
    physical: bool,
) -> Choice {
    match option {
        XdpDevices::Named(names) if names.iter().any(|named| named == name) => Choice::Must,
        XdpDevices::Auto if node_facing && !l3 && physical => Choice::Try,
        XdpDevices::None | XdpDevices::Named(_) | XdpDevices::Auto => Choice::No,
    }
}

/// Whether the device sits on a bus. sysfs shows the network namespace it was mounted in, which need not be ours: only for
/// kernels whose netlink does not say.
pub(crate) fn on_a_bus(name: &str) -> bool {
    Path::new("/sys/class/net")
        .join(name)
        .join("device")
        .exists()
}

/// Where the link of a device is pinned.
pub(crate) fn pin_path(pins: &Pins, ifindex: u32) -> PathBuf {
    pins.link(&format!("{PIN_PREFIX}{ifindex}"))
}

/// Attaches in the driver, or replaces what an earlier run attached.
pub(crate) fn ensure(programs: &Programs, pins: &Pins, ifindex: u32, device: &str) -> Result<Link> {
    let program = programs.fd(Name::XdpIngress)?;
    Link::ensure(program, Target::Xdp { ifindex }, &pin_path(pins, ifindex)).map_err(|source| {
        Error::XdpUnsupported {
            device: device.to_owned(),
            source,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choose_takes_named_devices_and_physical_node_devices() {
        let check = |option: &str, node_facing, l3, physical, expected| {
            assert_eq!(
                choose(&option.parse().unwrap(), "eth0", node_facing, l3, physical),
                expected,
                "{option}"
            );
        };
        check("none", true, false, true, Choice::No);
        check("auto", true, false, true, Choice::Try);
        check("auto", true, false, false, Choice::No);
        check("auto", false, false, true, Choice::No);
        check("auto", true, true, true, Choice::No);
        check("eth1,eth0", false, false, false, Choice::Must);
        check("eth1", true, false, true, Choice::No);
    }
}
