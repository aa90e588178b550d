//! The byte layout both sides rely on, checked at compile time. Raise [`LAYOUT_VERSION`] with any change here.

use crate::addr::{V4, V6};
use crate::embryos::{EmbryoSet, bpf_spin_lock};
use crate::key::{AffinityKey, FlowKey, FragmentKey, FrontendKey, RangeKey};
use crate::value::{
    Affinity, Backend, BackendState, Cidr, Device, Flow, FlowFilter, Fragment, Frontend, LutWord,
    Settings, Socket, SocketPeer,
};

/// Part of the pin path: programs and agent with another number never share maps.
pub const LAYOUT_VERSION: u32 = 4;

macro_rules! layout {
    ($($type:ty = $size:literal align $align:literal;)*) => {$(
        const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align);
    )*};
}

layout! {
    FrontendKey<V4> = 8 align 4;
    FrontendKey<V6> = 20 align 4;
    FlowKey<V4> = 16 align 4;
    FlowKey<V6> = 40 align 4;
    FragmentKey<V4> = 16 align 4;
    FragmentKey<V6> = 40 align 4;
    Fragment<V4> = 12 align 4;
    Fragment<V6> = 36 align 4;
    Frontend = 48 align 4;
    AffinityKey<V4> = 8 align 4;
    AffinityKey<V6> = 20 align 4;
    Affinity<V4> = 20 align 4;
    Affinity<V6> = 32 align 4;
    RangeKey<V4> = 12 align 4;
    RangeKey<V6> = 24 align 4;
    Cidr<V4> = 12 align 4;
    Cidr<V6> = 36 align 4;
    LutWord = 8 align 2;
    Backend<V4> = 16 align 4;
    Backend<V6> = 28 align 4;
    BackendState = 16 align 4;
    Flow<V4> = 32 align 4;
    Flow<V6> = 56 align 4;
    FlowFilter = 65_536 align 1;
    Device = 28 align 4;
    SocketPeer = 44 align 4;
    Socket = 180 align 4;
    bpf_spin_lock = 4 align 4;
    EmbryoSet<V4> = 448 align 4;
    EmbryoSet<V6> = 832 align 4;
    Settings = 56 align 8;
}

// With the kernel's 16 bytes before a map's first element: the header in one cache line of 64 bytes, the entries from the next on, and every
// set like the first.
const _: () = assert!(
    core::mem::offset_of!(EmbryoSet<V4>, ways) == 48
        && core::mem::offset_of!(EmbryoSet<V6>, ways) == 48
);
const _: () = assert!(
    size_of::<EmbryoSet<V4>>().is_multiple_of(64) && size_of::<EmbryoSet<V6>>().is_multiple_of(64)
);
