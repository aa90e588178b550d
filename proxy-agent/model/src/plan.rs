//! Plans as data: what to do to the kernel maps, in which order, and what they hold.

use proxy_common::addr::{V4, V6};
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend};

/// One operation on the maps. Executed in order; it is safe to stop after any prefix, also inside a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// Writes a backend's generation and state; the executor keeps `active`.
    WriteState {
        /// Backend id, the index of `BACKEND_STATE`.
        id: u32,
        /// The new value.
        state: BackendState,
    },
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
}
