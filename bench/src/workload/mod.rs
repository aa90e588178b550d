//! What is measured. Each module is one subset of the command line.

pub mod connections;
pub mod established;
pub mod packets;
pub mod program;
pub mod programming;
pub mod scale;
mod usage;

use integration::topology::Family;

/// How names of figures of a family begin: IPv4 is the usual one.
const fn prefix(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => "IPv6 ",
    }
}
