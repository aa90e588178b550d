//! A packet as the kernel keeps it.

use core::cell::Cell;
use std::vec::Vec;

use crate::be::Be16;
use crate::explain::FACTS;

/// A packet with what the kernel knows of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skb {
    /// The packet, link-layer header first where there is one.
    pub bytes: Vec<u8>,
    /// `EtherType`.
    pub protocol: Be16,
    /// The device it came in by, or leaves by.
    pub ifindex: u32,
    /// Payload bytes of each segment that will be made of it; 0 if it is sent as it is.
    pub gso_size: u32,
    /// Mark.
    pub mark: u32,
    /// What programs keep with the packet; see [`crate::explain`].
    pub cb: Cell<[u32; FACTS]>,
}

impl Skb {
    /// An Ethernet frame at device `ifindex`.
    pub fn new(bytes: Vec<u8>, ifindex: u32) -> Self {
        let protocol = match bytes.get(12..14) {
            Some(&[a, b]) => Be16::from_raw(u16::from_ne_bytes([a, b])),
            _ => Be16::default(),
        };
        Self::l3(bytes, protocol, ifindex)
    }

    /// A packet without link-layer header at device `ifindex`.
    pub fn l3(bytes: Vec<u8>, protocol: Be16, ifindex: u32) -> Self {
        Self {
            bytes,
            protocol,
            ifindex,
            gso_size: 0,
            mark: 0,
            cb: Cell::default(),
        }
    }
}
