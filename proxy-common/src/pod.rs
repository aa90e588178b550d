//! `aya::Pod` for the shared structs. The only `unsafe` in this crate.

#![expect(
    unsafe_code,
    reason = "aya::Pod is an unsafe trait; the orphan rule wants the impls here"
)]

use crate::addr::{V4, V6};
use crate::embryos::EmbryoSet;
use crate::key::{AffinityKey, FlowKey, FragmentKey, FrontendKey, RangeKey};
use crate::value::{
    Affinity, Backend, BackendState, Cidr, Device, Flow, Fragment, Frontend, LutWord, Settings,
    Socket, SocketPeer,
};

macro_rules! pod {
    ($($type:ty)*) => {$(
        // SAFETY: repr(C) of integers and of such structs, without implicit padding (asserted in layout.rs).
        unsafe impl aya::Pod for $type {}
    )*};
}

pod! {
    V4 V6 FrontendKey<V4> FrontendKey<V6> FlowKey<V4> FlowKey<V6>
    Frontend Backend<V4> Backend<V6> BackendState Flow<V4> Flow<V6>
    FragmentKey<V4> FragmentKey<V6> Fragment<V4> Fragment<V6> Device Socket SocketPeer Settings
    AffinityKey<V4> AffinityKey<V6> Affinity<V4> Affinity<V6> RangeKey<V4> RangeKey<V6> Cidr<V4> Cidr<V6> LutWord
    EmbryoSet<V4> EmbryoSet<V6>
}
