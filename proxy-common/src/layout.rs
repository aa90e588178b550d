//! The byte layout both sides rely on, checked at compile time. Raise [`LAYOUT_VERSION`] with any change here.

use crate::addr::{V4, V6};
use crate::key::{FlowKey, FragmentKey, FrontendKey};
use crate::value::{
    Backend, BackendState, Device, Flow, Fragment, Frontend, Settings, Socket, SocketPeer,
};

/// Part of the pin path: programs and agent with another number never share maps.
pub const LAYOUT_VERSION: u32 = 1;

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
    Frontend = 40 align 4;
    Backend<V4> = 16 align 4;
    Backend<V6> = 28 align 4;
    BackendState = 16 align 4;
    Flow<V4> = 32 align 4;
    Flow<V6> = 56 align 4;
    Device = 28 align 4;
    SocketPeer = 44 align 4;
    Socket = 180 align 4;
    Settings = 48 align 8;
}
