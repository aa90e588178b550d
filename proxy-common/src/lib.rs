//! What agent and eBPF programs share: the words they speak (keys, values, flags, reasons), and the packet path.
//!
//! `no_std`, no allocation, no dependencies. Two bodies run the path: the kernel's in proxy-ebpf, and memory's in `sim`.

#![no_std]
#![deny(unsafe_code)]

#[cfg(any(feature = "sim", test))]
extern crate std;

pub mod addr;
pub mod be;
pub mod embryos;
pub mod expiry;
pub mod explain;
pub mod flags;
pub mod key;
pub mod layout;
pub mod limits;
pub mod path;
#[cfg(feature = "user")]
mod pod;
pub mod reason;
#[cfg(feature = "sim")]
pub mod sim;
pub mod value;
