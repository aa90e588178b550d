//! Everything of kube-shunt that touches the kernel: bpf(2), netlink, cgroups, nft.
//!
//! Place in the flow: proxy-model plans [`proxy_model::MapOp`]s, this crate executes them ([`maps`]), keeps programs on
//! devices and cgroups ([`devices`], [`tc`], [`xdp`], [`sockets`]), ages flows ([`aging`]) and removes every trace ([`cleanup`]).
//! It decides nothing about Services. Pure decisions (classification, expiry, reuse of maps) are functions without I/O.

pub mod aging;
pub mod cleanup;
pub mod devices;
pub mod error;
pub mod explain;
pub mod features;
pub mod host;
pub mod load;
pub mod maps;
pub mod masquerade;
mod netlink;
pub mod object;
pub mod options;
mod pins;
pub mod programs;
mod room;
pub mod schema;
pub mod settings;
pub mod sockets;
pub mod stale;
mod sys;
pub mod tc;
pub mod trace;
pub mod xdp;

pub use error::Error;
pub use load::Loaded;
pub use maps::Maps;
pub use options::{
    Capacities, Cidr, DeviceOverrides, LoadOptions, LocalDetector, NamePattern, NodePortAddresses,
    XdpDevices, node_addr_flags,
};
pub use sys::heap;
