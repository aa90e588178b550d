//! The packet path: what happens to a packet or a socket call, written once and run by two bodies.
//!
//! ```text
//! packet ─▶ parse ─▶ flow known? ─yes─▶ (re-validate) ─▶ rewrite ─▶ route ─▶ Verdict
//!                        └─no──▶ lookup ─▶ select ─▶ embryo (SNAT) ─▶ rewrite ─▶ route ─▶ Verdict
//! ```
//!
//! The kernel body is proxy-ebpf, the memory body is [`crate::sim`]. Nothing here may allocate, panic, loop without a
//! constant bound, read a clock or keep a pointer into a packet: it would not pass the verifier, or not in both bodies.

#![expect(
    clippy::cast_possible_truncation,
    reason = "fields are cut out of wider words on purpose"
)]

pub mod affinity;
pub mod body;
pub mod connect;
pub mod crc32c;
pub mod csum;
pub mod echo;
pub mod embryo;
pub mod filter;
pub mod hook;
pub mod icmp;
pub mod lookup;
pub mod parse;
pub mod rewrite;
pub mod select;
pub mod send;
pub mod step;

pub use body::{
    Action, Covers, Env, Exists, FlowHandle, Found, GSO_BY_FRAGS, Interface, Packet, Route,
    Services, SocketHandle, SocketTables, Tables, Verdict,
};
