//! Plans as data: what to do to the kernel maps, in which order, and what they hold.

use std::sync::Arc;

use proxy_common::addr::{V4, V6};
use proxy_common::flags::AddrFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend};

/// One operation on the maps. Executed in order; it is safe to stop after any prefix, also inside a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// Writes generations, states and sets of backends by their ids, the indices of `BACKEND_STATE`; the executor keeps `active`
    /// while the generation stays.
    WriteStates(Vec<(u32, BackendState)>),
    /// Writes a run of `BACKENDS_V4`.
    WriteBackends4 {
        /// First slot.
        offset: u32,
        /// Slot contents.
        backends: Vec<Backend<V4>>,
    },
    /// Writes a run of `BACKENDS_V6`.
    WriteBackends6 {
        /// First slot.
        offset: u32,
        /// Slot contents.
        backends: Vec<Backend<V6>>,
    },
    /// Inserts or replaces elements of `FRONTENDS_V4`.
    UpsertFrontends4(Vec<(FrontendKey<V4>, Frontend)>),
    /// Inserts or replaces elements of `FRONTENDS_V6`.
    UpsertFrontends6(Vec<(FrontendKey<V6>, Frontend)>),
    /// Deletes elements of `FRONTENDS_V4`; an absent one is fine.
    DeleteFrontends4(Vec<FrontendKey<V4>>),
    /// Deletes elements of `FRONTENDS_V6`; an absent one is fine.
    DeleteFrontends6(Vec<FrontendKey<V6>>),
    /// Sets what addresses are to Services in `ADDRS_V4`: VIRTUAL, `REJECT_UNKNOWN`, ECHO; none of them is nothing. The executor
    /// keeps the node's own bits. Comes after the frontends of a new address, and before those of one that goes.
    SetAddrs4(Vec<(V4, AddrFlags)>),
    /// The same in `ADDRS_V6`.
    SetAddrs6(Vec<(V6, AddrFlags)>),
    /// Adds a set to `SOURCE_RANGES_V4`: networks and their prefix lengths. Its number is new, so nobody reads it yet.
    AddRanges4 {
        /// The set.
        set: u32,
        /// Networks and prefix lengths.
        ranges: Vec<(V4, u8)>,
    },
    /// The same in `SOURCE_RANGES_V6`.
    AddRanges6 {
        /// The set.
        set: u32,
        /// Networks and prefix lengths.
        ranges: Vec<(V6, u8)>,
    },
    /// Removes a set that no frontend names any more from `SOURCE_RANGES_V4`.
    RemoveRanges4 {
        /// The set.
        set: u32,
        /// Networks and prefix lengths.
        ranges: Vec<(V4, u8)>,
    },
    /// The same in `SOURCE_RANGES_V6`.
    RemoveRanges6 {
        /// The set.
        set: u32,
        /// Networks and prefix lengths.
        ranges: Vec<(V6, u8)>,
    },
    /// Writes a Maglev table into free words of LUT: its length, then its entries; see [`proxy_common::value::LutWord`].
    WriteTable {
        /// First word.
        offset: u32,
        /// Indices into the set's slice.
        entries: Arc<[u16]>,
    },
    /// Replaces CIDRS of IPv4: the local pods' range (element 0), and the `ServiceCIDR`s whose unknown addresses are dropped.
    SetCidrs4 {
        /// The local pods' range, where they are known by it.
        local: Option<(V4, u8)>,
        /// `ServiceCIDR`s.
        services: Vec<(V4, u8)>,
    },
    /// The same for IPv6.
    SetCidrs6 {
        /// The local pods' range, where they are known by it.
        local: Option<(V6, u8)>,
        /// `ServiceCIDR`s.
        services: Vec<(V6, u8)>,
    },
}

/// Names one element of FRONTENDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendRef {
    /// In `FRONTENDS_V4`.
    V4(FrontendKey<V4>),
    /// In `FRONTENDS_V6`.
    V6(FrontendKey<V6>),
}

/// What the maps hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// All of `FRONTENDS_V4`.
    pub frontends4: Vec<(FrontendKey<V4>, Frontend)>,
    /// All of `FRONTENDS_V6`.
    pub frontends6: Vec<(FrontendKey<V6>, Frontend)>,
    /// The slots of `BACKENDS_V4` that are not all zeroes.
    pub backends4: Vec<(u32, Backend<V4>)>,
    /// The slots of `BACKENDS_V6` that are not all zeroes.
    pub backends6: Vec<(u32, Backend<V6>)>,
    /// The elements of `BACKEND_STATE` that are not all zeroes, by backend id.
    pub states: Vec<(u32, BackendState)>,
    /// What `ADDRS_V4` says of Services' addresses; those without any of the planner's bits are left out.
    pub addrs4: Vec<(V4, AddrFlags)>,
    /// The same of `ADDRS_V6`.
    pub addrs6: Vec<(V6, AddrFlags)>,
    /// All of `SOURCE_RANGES_V4`: set, network, prefix length.
    pub ranges4: Vec<(u32, V4, u8)>,
    /// All of `SOURCE_RANGES_V6`.
    pub ranges6: Vec<(u32, V6, u8)>,
    /// The Maglev tables that frontends name: where in LUT each stands, and its entries, however many its first word says.
    pub tables: Vec<(u32, Arc<[u16]>)>,
}
