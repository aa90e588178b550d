//! Maps as the path sees them: copies out, and flows that are changed in place.

use core::ptr::{NonNull, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::bindings::bpf_fib_lookup as FibLookup;
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::maps::Array;
use aya_ebpf::maps::lpm_trie::Key;
use proxy_common::addr::Addr;
use proxy_common::flags::feature;
use proxy_common::key::{FlowKey, RangeKey};
use proxy_common::limits;
use proxy_common::path::{Exists, FlowHandle, Found, Route};
use proxy_common::reason::{Hook, Reason, counter_index};
use proxy_common::value::{BackendState, Device, Flow, FlowFilter};

use crate::{maps, settings};

/// An entry of FLOWS or EMBRYOS, where it lies in the map.
pub(crate) struct Handle<A>(NonNull<Flow<A>>);

impl<A> Handle<A> {
    /// `found` is what a map lookup returned.
    #[inline(always)] // the verifier follows the pointer from lookup to use
    pub(crate) fn new(found: Option<*mut Flow<A>>) -> Option<Self> {
        found.and_then(NonNull::new).map(Self)
    }

    /// `found` is in EMBRYOS.
    #[inline(always)] // as above
    pub(crate) fn found(found: Option<NonNull<Flow<A>>>) -> Option<Self> {
        found.map(Self)
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
        for (index, byte) in bits.to_le_bytes().into_iter().enumerate() {
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
        }
    }
}

/// Whether the byte at `place` is set.
#[inline]
pub(crate) fn noted(filter: &Array<FlowFilter>, place: u16) -> bool {
    filter.get(0).is_some_and(|filter| {
        // SAFETY: an element of an array stays; other processors set its bytes, one at a time.
        unsafe { read_volatile(&raw const filter[usize::from(place)]) != 0 }
    })
}

/// Sets the byte at `place`. Not twice: its line would have to come from the other processors again and again.
#[inline]
pub(crate) fn note_end(filter: &Array<FlowFilter>, place: u16) {
    if let Some(filter) = filter.get_ptr_mut(0) {
        // SAFETY: as in `noted`; a byte is written whole.
        unsafe {
            let byte = filter.cast::<u8>().add(usize::from(place));
            if read_volatile(byte) == 0 {
                write_volatile(byte, 1);
            }
        }
    }
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
        core::arch::asm!("{zero} = 0", zero = out(reg) zero, options(pure, nomem, nostack, preserves_flags));
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

/// A backend's open connections, by `BackendState::active`.
#[inline]
pub(crate) fn count_connection(id: u32, generation: u32, open: bool) {
    if let Some(state) = maps::BACKEND_STATE.get_ptr_mut(id) {
        // SAFETY: an array's element stays; the agent writes it whole words at a time, as this reads them.
        if unsafe { read_volatile(&raw const (*state).generation) } == generation {
            // SAFETY: as above. The agent keeps this field when it writes the others.
            add(
                unsafe { &raw mut (*state).active },
                if open { 1 } else { u32::MAX },
            );
        }
    }
}

/// TURNS.
#[inline]
pub(crate) fn turn(service: u32) -> u32 {
    maps::TURNS
        .get(service % limits::TURNS)
        .copied()
        .unwrap_or(0)
}

/// Moves the turn on.
#[inline]
pub(crate) fn next_turn(service: u32) {
    if let Some(turn) = maps::TURNS.get_ptr_mut(service % limits::TURNS) {
        add(turn, 1);
    }
}

/// Adds to a number that other processors add to as well. In assembly, since the target has no 32-bit atomics; without a
/// result, which kernels below 5.12 cannot give.
#[inline(always)] // the verifier follows the pointer from lookup to use
fn add(place: *mut u32, number: u32) {
    // SAFETY: an aligned element of a map, that programs touch by such additions only.
    unsafe {
        core::arch::asm!(
            "lock *(u32 *)({place} + 0) += {number}",
            place = in(reg) place,
            number = in(wreg) number,
            options(nostack, preserves_flags),
        );
    }
}

/// The key of a longest-prefix lookup as aya has it: the same bytes, but in its eyes not aligned.
#[inline]
pub(crate) fn trie_key<A: Addr, K>(key: &RangeKey<A>) -> &Key<K> {
    const { assert!(size_of::<RangeKey<A>>() == size_of::<Key<K>>()) };
    // SAFETY: the same size, made of integers, and the alignment asked for is lower.
    unsafe { &*(&raw const *key).cast() }
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
    const _: () = assert!(size_of::<FibLookup>() == 64 && align_of::<FibLookup>() <= 8);
    let zero = u64::from(zero());
    let mut place = [zero; 8];
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
    const { assert!(core::mem::offset_of!(FibLookup, smac) == 13 * 4) };
    // smac and dmac are the structure's last 12 bytes: source first, but a frame has the destination first.
    let macs = (&raw const place).cast::<u32>();
    // SAFETY: words 13 to 15 of 16.
    let (s0, s1, d) = unsafe {
        (
            macs.add(13).read(),
            macs.add(14).read(),
            macs.add(15).read(),
        )
    };
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
