//! Puts every struct that agent and programs share into the object's BTF, where the agent's view of them is checked against it.
//! Map definitions alone do not: they carry sizes, not types.

use proxy_common::addr::{V4, V6};
use proxy_common::key::{AffinityKey, FragmentKey, FrontendKey, RangeKey};
use proxy_common::value::{
    Affinity, Backend, BackendState, Cidr, Device, Flow, Fragment, Frontend, LutWord,
};

/// Takes four bytes of `.rodata`; programs do not know it.
#[repr(C)]
struct Shared {
    frontend_key4: [FrontendKey<V4>; 0],
    frontend_key6: [FrontendKey<V6>; 0],
    fragment_key4: [FragmentKey<V4>; 0],
    fragment_key6: [FragmentKey<V6>; 0],
    affinity_key4: [AffinityKey<V4>; 0],
    affinity_key6: [AffinityKey<V6>; 0],
    range_key4: [RangeKey<V4>; 0],
    range_key6: [RangeKey<V6>; 0],
    affinity4: [Affinity<V4>; 0],
    affinity6: [Affinity<V6>; 0],
    cidr4: [Cidr<V4>; 0],
    cidr6: [Cidr<V6>; 0],
    lut_word: [LutWord; 0],
    frontend: [Frontend; 0],
    backend4: [Backend<V4>; 0],
    backend6: [Backend<V6>; 0],
    backend_state: [BackendState; 0],
    flow4: [Flow<V4>; 0],
    flow6: [Flow<V6>; 0],
    fragment4: [Fragment<V4>; 0],
    fragment6: [Fragment<V6>; 0],
    device: [Device; 0],
    not_empty: u32,
}

#[unsafe(no_mangle)]
static SHARED: Shared = Shared {
    frontend_key4: [],
    frontend_key6: [],
    fragment_key4: [],
    fragment_key6: [],
    affinity_key4: [],
    affinity_key6: [],
    range_key4: [],
    range_key6: [],
    affinity4: [],
    affinity6: [],
    cidr4: [],
    cidr6: [],
    lut_word: [],
    frontend: [],
    backend4: [],
    backend6: [],
    backend_state: [],
    flow4: [],
    flow6: [],
    fragment4: [],
    fragment6: [],
    device: [],
    not_empty: 0,
};
