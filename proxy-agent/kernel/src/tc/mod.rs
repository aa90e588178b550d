//! TC programs on devices: TCX links, or clsact filters below 6.6.
//!
//! Never touches a program that is not ours.

pub(crate) mod clsact;
pub(crate) mod tcx;

use crate::netlink::tc::Direction;
use crate::programs::Name;

/// The program for one side of a device.
pub(crate) fn program(direction: Direction, l3: bool) -> Name {
    match (direction, l3) {
        (Direction::Ingress, false) => Name::TcIngress,
        (Direction::Egress, false) => Name::TcEgress,
        (Direction::Ingress, true) => Name::TcIngressL3,
        (Direction::Egress, true) => Name::TcEgressL3,
    }
}

/// Name of a link's pin, without the ifindex.
pub(crate) fn pin_prefix(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "tc-ingress-",
        Direction::Egress => "tc-egress-",
    }
}
