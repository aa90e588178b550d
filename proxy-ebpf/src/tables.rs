//! Maps as the path sees them: copies out, and flows that are changed in place.

use core::ptr::{NonNull, addr_of, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST, bpf_fib_lookup as FibLookup};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use proxy_common::addr::Addr;
use proxy_common::flags::feature;
use proxy_common::key::FlowKey;
use proxy_common::path::{Exists, FlowHandle, Found, Route};
use proxy_common::reason::{Hook, Reason, counter_index};
use proxy_common::value::{BackendState, Device, Flow};

use crate::{maps, settings};

/// An entry of FLOWS or EMBRYOS, where it lies in the map.
pub(crate) struct Handle<A>(NonNull<Flow<A>>);

impl<A> Handle<A> {
    /// `found` is what a map lookup returned.
    #[inline(always)] // the verifier follows the pointer from lookup to use
    pub(crate) fn new(found: Option<*mut Flow<A>>) -> Option<Self> {
        found.and_then(NonNull::new).map(Self)
    }
}

impl<A: Addr> FlowHandle<A> for Handle<A> {
    #[inline]
    fn load(&self) -> Flow<A> {
        // SAFETY: the pointer comes from a lookup in this run of the program; RCU keeps the memory. An element that is deleted
        // and taken again meanwhile may be read half and half: both halves are flows, and the packet is at worst misdelivered.
        unsafe { *self.0.as_ptr() }
    }

    #[inline]
    fn leads_to(&self, key: &FlowKey<A>) -> bool {
        // SAFETY: as in `load`.
        let flow = unsafe { self.0.as_ref() };
        flow.dst == key.src
            && flow.src == key.dst
            && flow.dport == key.sport
            && flow.sport == key.dport
    }

    #[inline]
    fn touch(&self, now: u32) {
        // SAFETY: as in `load`; the place is only ever read and written whole.
        let last_seen = unsafe { addr_of_mut!((*self.0.as_ptr()).last_seen) };
        // SAFETY: as above.
        if unsafe { read_volatile(last_seen) } != now {
            // SAFETY: as above.
            unsafe { write_volatile(last_seen, now) };
        }
    }

    #[inline]
    fn add_state(&self, bits: u16) {
        // SAFETY: as in `load`.
        let state = unsafe { addr_of_mut!((*self.0.as_ptr()).state) }.cast::<u8>();
        let mut index = 0;
        for byte in bits.to_le_bytes() {
            if byte != 0 {
                // Low byte: client; high byte: backend (flow_state). Only that one is touched.
                let place = state.wrapping_add(if cfg!(target_endian = "big") {
                    1 - index
                } else {
                    index
                });
                // SAFETY: one of the two bytes of `state`.
                unsafe { write_volatile(place, read_volatile(place) | byte) };
            }
            index += 1;
        }
    }
}

/// The flags of an insert that must not replace, or must.
#[inline]
pub(crate) fn insert_flags(replace: bool) -> u64 {
    u64::from(if replace { BPF_ANY } else { BPF_NOEXIST })
}

/// What the kernel's errno of an insert means.
#[inline]
pub(crate) fn inserted(result: Result<(), i32>) -> Result<(), Exists> {
    const EEXIST: i32 = -17;
    match result {
        Ok(()) => Ok(()),
        Err(EEXIST) => Err(Exists::Taken),
        Err(_) => Err(Exists::Full),
    }
}

/// See `Env::zero`.
#[inline(always)] // one instruction
pub(crate) fn zero() -> u32 {
    let zero: u64;
    // SAFETY: touches nothing but its own register.
    unsafe {
        core::arch::asm!("{zero} = 0", zero = out(reg) zero, options(pure, nomem, nostack, preserves_flags))
    };
    zero as u32
}

/// Seconds of the monotonic clock.
#[inline]
pub(crate) fn now() -> u32 {
    let nanoseconds = if settings::has(feature::COARSE_CLOCK) {
        // SAFETY: no arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    } else {
        // SAFETY: no arguments.
        unsafe { bpf_ktime_get_ns() }
    };
    (nanoseconds / 1_000_000_000) as u32
}

/// Counts `reason` at `hook`.
#[inline]
pub(crate) fn count(reason: Reason, hook: Hook) {
    if let Some(counter) = maps::COUNTERS.get_ptr_mut(counter_index(reason, hook)) {
        // SAFETY: this processor's own element; a program is not preempted by another on it that counts the same.
        unsafe { *counter += 1 };
    }
    #[cfg(feature = "trace")]
    trace(reason, hook);
}

/// One line of aya-log per outcome, but for packets that are not ours.
#[cfg(feature = "trace")]
#[inline(never)] // the message is put together on a stack frame of its own
fn trace(reason: Reason, hook: Hook) {
    if reason != Reason::NotOurs {
        aya_log_ebpf::info!((), "hook {} reason {}", hook as u32, reason as u32);
    }
}

/// `BACKEND_STATE`.
#[inline]
pub(crate) fn backend_state(id: u32) -> Option<BackendState> {
    maps::BACKEND_STATE.get(id).copied()
}

/// DEVICES.
#[inline]
pub(crate) fn device(ifindex: u32) -> Option<Device> {
    // SAFETY: not preallocated, so the element is freed after a grace period, and read once here.
    unsafe { maps::DEVICES.get(ifindex) }.copied()
}

/// The link-scope source of hairpin connections.
#[inline]
pub(crate) fn hairpin<A: Addr>() -> A {
    A::from_words(if A::IS_V6 {
        settings::hairpin6().words()
    } else {
        settings::hairpin4().words()
    })
}

/// A route lookup. `ctx` is the program's context.
#[inline]
pub(crate) fn route<A: Addr>(ctx: *mut core::ffi::c_void, ifindex: u32, src: A, dst: A) -> Route {
    let mut route = Route::default();
    route_into(ctx, ifindex, &src, &dst, &mut route);
    route
}

#[inline(never)] // its 64 bytes of parameters must not add to the caller's frame
fn route_into<A: Addr>(
    ctx: *mut core::ffi::c_void,
    ifindex: u32,
    src: &A,
    dst: &A,
    route: &mut Route,
) {
    const SUCCESS: i64 = 0;
    const NO_NEIGH: i64 = 7;
    const FRAG_NEEDED: i64 = 8;
    let zero = u64::from(zero());
    let mut place = [zero; 8];
    const _: () = assert!(size_of::<FibLookup>() == 64 && align_of::<FibLookup>() <= 8);
    // SAFETY: integers and unions of integers, for which all bits are values, in a place of the right size and alignment.
    let params = unsafe { &mut *(&raw mut place).cast::<FibLookup>() };
    params.family = if A::IS_V6 { 10 } else { 2 };
    params.ifindex = ifindex;
    if A::IS_V6 {
        params.__bindgen_anon_3.ipv6_src = src.words();
        params.__bindgen_anon_4.ipv6_dst = dst.words();
    } else {
        params.__bindgen_anon_3.ipv4_src = src.words()[0];
        params.__bindgen_anon_4.ipv4_dst = dst.words()[0];
    }
    // SAFETY: both pointers are valid for the call, and the length is the structure's.
    let result = unsafe { bpf_fib_lookup(ctx, &raw mut *params, size_of::<FibLookup>() as i32, 0) };
    route.ifindex = params.ifindex;
    // SAFETY: smac and dmac are the structure's last 12 bytes, 4-aligned: source first, but a frame has the destination first.
    let [s0, s1, d] = unsafe { *addr_of!(params.smac).cast::<[u32; 3]>() };
    route.macs = frame_order(s0, s1, d);
    route.found = match result {
        SUCCESS => Found::Neighbour,
        NO_NEIGH => Found::Device,
        FRAG_NEEDED => Found::TooBig,
        _ => Found::Nowhere,
    };
}

/// From source-destination order to destination-source order.
#[inline]
fn frame_order(a: u32, b: u32, c: u32) -> [u32; 3] {
    use proxy_common::be::{halves, join};
    let ((s0, s1), (s2, d0), (d1, d2)) = (halves(a), halves(b), halves(c));
    [join(d0, d1), join(d2, s0), join(s1, s2)]
}

/// Implements `Services` and `Tables` of one family over its maps, for a context with `route_ctx()`.
macro_rules! family {
    ($ctx:ty, $addr:ty, $frontends:ident, $backends:ident, $node_addrs:ident, $flows:ident, $embryos:ident, $fragments:ident) => {
        $crate::tables::services!($ctx, $addr, $frontends, $backends, $node_addrs);

        impl proxy_common::path::Tables<$addr> for $ctx {
            type Flow = $crate::tables::Handle<$addr>;

            #[inline]
            fn flow(&self, key: &proxy_common::key::FlowKey<$addr>) -> Option<Self::Flow> {
                $crate::tables::Handle::new($crate::maps::$flows.get_ptr_mut(key))
            }

            #[inline]
            fn flow_insert(
                &self,
                key: &proxy_common::key::FlowKey<$addr>,
                flow: &proxy_common::value::Flow<$addr>,
            ) -> Result<(), proxy_common::path::Exists> {
                $crate::tables::inserted($crate::maps::$flows.insert(
                    key,
                    flow,
                    $crate::tables::insert_flags(false),
                ))
            }

            #[inline]
            fn flow_remove(&self, key: &proxy_common::key::FlowKey<$addr>) {
                // An entry that is gone already is as good as removed.
                $crate::maps::$flows.remove(key).ok();
            }

            #[inline]
            fn embryo(&self, key: &proxy_common::key::FlowKey<$addr>) -> Option<Self::Flow> {
                $crate::tables::Handle::new($crate::maps::$embryos.get_ptr_mut(key))
            }

            #[inline]
            fn embryo_insert(
                &self,
                key: &proxy_common::key::FlowKey<$addr>,
                flow: &proxy_common::value::Flow<$addr>,
                replace: bool,
            ) -> Result<(), proxy_common::path::Exists> {
                let flags = $crate::tables::insert_flags(replace);
                $crate::tables::inserted($crate::maps::$embryos.insert(key, flow, flags))
            }

            #[inline]
            fn fragment(
                &self,
                key: &proxy_common::key::FragmentKey<$addr>,
            ) -> Option<proxy_common::value::Fragment<$addr>> {
                // SAFETY: read once, at once; see Handle::load for what a reused element means.
                unsafe { $crate::maps::$fragments.get(key) }.copied()
            }

            #[inline]
            fn fragment_insert(
                &self,
                key: &proxy_common::key::FragmentKey<$addr>,
                fragment: &proxy_common::value::Fragment<$addr>,
            ) {
                // If it fails the later parts are passed to the stack and counted there.
                $crate::maps::$fragments.insert(key, fragment, 0).ok();
            }

            #[inline]
            fn route(&self, ifindex: u32, src: $addr, dst: $addr) -> proxy_common::path::Route {
                $crate::tables::route(self.as_ptr(), ifindex, src, dst)
            }
        }
    };
}

/// Implements `Services` of one family.
macro_rules! services {
    ($ctx:ty, $addr:ty, $frontends:ident, $backends:ident, $node_addrs:ident) => {
        impl proxy_common::path::Services<$addr> for $ctx {
            #[inline]
            fn frontend(
                &self,
                key: &proxy_common::key::FrontendKey<$addr>,
            ) -> Option<proxy_common::value::Frontend> {
                // SAFETY: not preallocated: the agent replaces whole elements, and RCU keeps the one that is read.
                unsafe { $crate::maps::$frontends.get(key) }.copied()
            }

            #[inline]
            fn backend(&self, slot: u32) -> Option<proxy_common::value::Backend<$addr>> {
                $crate::maps::$backends.get(slot).copied()
            }

            #[inline]
            fn node_addr(&self, addr: &$addr) -> Option<proxy_common::flags::NodeAddrFlags> {
                // SAFETY: as in `frontend`.
                unsafe { $crate::maps::$node_addrs.get(addr) }.copied()
            }
        }
    };
}

/// Both families for a packet context.
macro_rules! both_families {
    ($ctx:ty) => {
        $crate::tables::family!(
            $ctx,
            proxy_common::addr::V4,
            FRONTENDS_V4,
            BACKENDS_V4,
            NODE_ADDRS_V4,
            FLOWS_V4,
            EMBRYOS_V4,
            FRAGMENTS_V4
        );
        $crate::tables::family!(
            $ctx,
            proxy_common::addr::V6,
            FRONTENDS_V6,
            BACKENDS_V6,
            NODE_ADDRS_V6,
            FLOWS_V6,
            EMBRYOS_V6,
            FRAGMENTS_V6
        );
    };
}

/// `Env` and `Interface` for a packet context.
macro_rules! environment {
    ($ctx:ty, $hook:expr, xdp: $xdp:literal) => {
        impl proxy_common::path::Env for $ctx {
            #[inline]
            fn zero(&self) -> u32 {
                $crate::tables::zero()
            }

            #[inline]
            fn now(&self) -> u32 {
                $crate::tables::now()
            }

            #[inline]
            fn backend_state(&self, id: u32) -> Option<proxy_common::value::BackendState> {
                $crate::tables::backend_state(id)
            }

            #[inline]
            fn count(&self, reason: proxy_common::reason::Reason) {
                $crate::tables::count(reason, $hook);
            }
        }

        impl proxy_common::path::Interface for $ctx {
            const XDP: bool = $xdp;

            #[inline]
            fn ifindex(&self) -> u32 {
                self.device_index()
            }

            #[inline]
            fn device(&self, ifindex: u32) -> Option<proxy_common::value::Device> {
                $crate::tables::device(ifindex)
            }

            #[inline]
            fn hash_seed(&self) -> u32 {
                $crate::settings::hash_seed()
            }

            #[inline]
            fn snat_ports(&self) -> (u16, u16) {
                (
                    $crate::settings::snat_port_min(),
                    $crate::settings::snat_port_max(),
                )
            }

            #[inline]
            fn masquerade_mark(&self) -> u32 {
                $crate::settings::masquerade_mark()
            }

            #[inline]
            fn hairpin<A: proxy_common::addr::Addr>(&self) -> A {
                $crate::tables::hairpin()
            }
        }
    };
}

pub(crate) use {both_families, environment, family, services};
