//! `SETTINGS`: read-only data that the agent fills in before loading. One read per field, so that a program reads only what it needs.

use core::ptr::{addr_of, read_volatile};

use proxy_common::value::Settings;

#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings {
    host_netns_cookie: 0,
    hash_seed: 0,
    features: 0,
    masquerade_mark: 0,
    hairpin4: proxy_common::addr::V4(0),
    hairpin6: proxy_common::addr::V6([0; 4]),
    snat_port_min: 0,
    snat_port_max: 0,
    detect: 0,
    embryo_mask: 0,
    reserved: 0,
};

macro_rules! setting {
    ($($field:ident: $type:ty)*) => {$(
        #[inline(always)] // one load; a call would cost more than it does
        pub(crate) fn $field() -> $type {
            // SAFETY: a static of ours, never written while programs run. Volatile since the loader writes what the compiler cannot see.
            unsafe { read_volatile(addr_of!(SETTINGS.$field)) }
        }
    )*};
}

setting! {
    host_netns_cookie: u64
    hash_seed: u32
    features: u32
    masquerade_mark: u32
    hairpin4: proxy_common::addr::V4
    hairpin6: proxy_common::addr::V6
    snat_port_min: u16
    snat_port_max: u16
    detect: u32
    embryo_mask: u32
}

/// Whether the kernel has all of `features` (`proxy_common::flags::feature`).
#[inline(always)] // lets the verifier see the constant and skip calls that the kernel does not know
pub(crate) fn has(feature: u32) -> bool {
    features() & feature == feature
}
