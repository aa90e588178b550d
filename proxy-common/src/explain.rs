//! What `explain` asks the programs, and how they answer, with [`crate::flags::feature::DRY_RUN`].
//!
//! A packet is run through `tc_ingress` (or `tc_ingress_l3`) with the wanted backend's number in `skb->mark`, taken modulo the size
//! of the set. What was found stands in `skb->cb` afterwards, by [`Fact`]; the packet is translated as it would be, and the mark
//! holds nothing but what the program set.
//!
//! A socket call is put to the program `explain_socket` as [`Question::bytes`] in place of a packet, mark and cb as above; what it
//! leaves in the packet is read by [`answer`]. Numbers are the machine's, addresses and ports in network byte order:
//!
//! | bytes | question | answer |
//! |---|---|---|
//! | 0 to 11 | zero, for MAC addresses | |
//! | 12 | [`TYPE`] | |
//! | 14 | port | |
//! | 16 to 31 | address, IPv4 in its mapped form | |
//! | 32 to 47 | address that the socket is bound to | |
//! | 48 | IANA protocol number, three bytes of zero | |
//! | 52 | zero | 0: goes on as it is; 1: goes on to the address below; 2: fails |
//! | 56 | zero | errno, if it fails |
//! | 60 to 75 | zero | address, IPv4 in its mapped form |
//! | 76 | zero | port, two bytes of zero |

use crate::addr::{Addr as _, V6};
use crate::be::{Be16, halves};
use crate::path::hook::socket::{Errno, Outcome};

/// Index of `skb->cb`. A word that the run has nothing to tell for keeps what it held.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    /// The number of the last [`crate::reason::Reason`], plus one.
    Reason = 0,
    /// Service id of the frontend that matched.
    Service = 1,
    /// Number of backends to choose from.
    Backends = 2,
    /// [`crate::value::Class`] of the connection, plus one.
    Class = 3,
    /// Where the frontend was found: [`EXACT`] or [`NODE_PORT`].
    Frontend = 4,
}

/// Words of `skb->cb`.
pub const FACTS: usize = 5;
/// Under the very address that was asked for.
pub const EXACT: u32 = 1;
/// Under the unspecified address, as a `NodePort`.
pub const NODE_PORT: u32 = 2;

/// Bytes of a question.
pub const SIZE: usize = 80;
/// An `EtherType` for experiments (IEEE 802), so that the kernel looks for no IP header.
pub const TYPE: Be16 = Be16::new(0x88b5);
/// Offset of type and port.
pub const PORT: u32 = 12;
/// Offset of the address.
pub const DST: u32 = 16;
/// Offset of the bound address.
pub const BOUND: u32 = 32;
/// Offset of the protocol.
pub const PROTO: u32 = 48;
/// Offset of the answer, seven words.
pub const ANSWER: u32 = 52;

/// A socket call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// The address that the process speaks to, IPv4 in its mapped form.
    pub dst: V6,
    /// Its port.
    pub port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    /// The address that the socket is bound to, IPv4 in its mapped form; `::` if to none, in either family.
    pub bound: V6,
}

impl Question {
    /// As `explain_socket` reads it.
    pub fn bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let ports = [TYPE, self.port].map(|half| half.raw().to_ne_bytes());
        let dst = self.dst.words().map(u32::to_ne_bytes);
        let bound = self.bound.words().map(u32::to_ne_bytes);
        let fields = [
            ports.as_flattened(),
            dst.as_flattened(),
            bound.as_flattened(),
            &[self.proto],
        ];
        let places = bytes.iter_mut().skip(PORT as usize);
        for (place, byte) in places.zip(fields.into_iter().flatten()) {
            *place = *byte;
        }
        bytes
    }
}

/// What `explain_socket` left in the packet; `None` if it is no answer.
pub fn answer(packet: &[u8]) -> Option<Outcome<V6>> {
    let mut words = [0; 7];
    let bytes = packet.get(ANSWER as usize..SIZE)?;
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let [outcome, errno, a, b, c, d, port] = words;
    match outcome {
        0 => Some(Outcome::Pass),
        1 => Some(Outcome::To(V6([a, b, c, d]), halves(port).0)),
        2 => Errno::from_number(errno).map(Outcome::Fail),
        _ => None,
    }
}
