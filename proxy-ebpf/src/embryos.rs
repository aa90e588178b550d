//! EMBRYOS, see `proxy_common::embryos`: look-ups without the lock, changes with it.
//!
//! Functions of their own: the lock is taken and given back inside one, and nothing may be called in between.

use core::arch::asm;
use core::ptr::{NonNull, read_volatile, write_volatile};

use aya_ebpf::bindings;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::{bpf_spin_lock, bpf_spin_unlock};
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::embryos::{self, Embryo, EmbryoSet, Opaque, Place, SETS, find, refuses, same};
use proxy_common::key::FlowKey;
use proxy_common::value::Flow;

use crate::{maps, settings};

/// Assembly, into which the compiler does not look.
struct Asm;

impl Opaque for Asm {
    #[inline(always)] // two instructions
    fn is_zero(number: u32) -> u32 {
        let mut place = u64::from(number);
        // SAFETY: touches nothing but its own register.
        unsafe {
            asm!(
                "{place} += -1",
                "{place} >>= 63",
                place = inout(reg) place,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        place as u32
    }

    #[inline(always)] // none
    fn barrier() {
        // SAFETY: does nothing, though it may touch memory for all that the compiler knows.
        unsafe { asm!("", options(nostack, preserves_flags)) };
    }
}

// The helpers' own struct is this one.
const _: () = assert!(
    size_of::<bindings::bpf_spin_lock>() == size_of::<embryos::bpf_spin_lock>()
        && align_of::<bindings::bpf_spin_lock>() == align_of::<embryos::bpf_spin_lock>()
);

/// The map of a family.
pub(crate) type Sets<A> = Array<EmbryoSet<A>, { SETS as usize }>;

/// Families that have such a map.
pub(crate) trait Family: Addr {
    /// Set `index`.
    fn set(index: u32) -> Option<NonNull<EmbryoSet<Self>>>;
}

impl Family for V4 {
    #[inline(always)] // the verifier follows the pointer from lookup to use
    fn set(index: u32) -> Option<NonNull<EmbryoSet<Self>>> {
        maps::EMBRYOS_V4.get_ptr_mut(index).and_then(NonNull::new)
    }
}

impl Family for V6 {
    #[inline(always)] // as above
    fn set(index: u32) -> Option<NonNull<EmbryoSet<Self>>> {
        maps::EMBRYOS_V6.get_ptr_mut(index).and_then(NonNull::new)
    }
}

/// The place of a key: its set in the upper half, its tag in the lower.
#[inline(never)] // else the whole key would be kept on the caller's stack
pub(crate) fn place<A: Family>(key: &FlowKey<A>) -> u64 {
    hash(key)
}

#[inline(always)] // two users
fn hash<A: Family>(key: &FlowKey<A>) -> u64 {
    let Place { set, tag } = Place::of(key, settings::hash_seed(), settings::embryo_mask());
    u64::from(set) << 32 | u64::from(tag)
}

/// Takes the lock of a set.
#[inline(always)] // the verifier wants to see which lock
fn lock<A>(set: NonNull<EmbryoSet<A>>) {
    // SAFETY: a lock of that map.
    unsafe { bpf_spin_lock((&raw mut (*set.as_ptr()).lock).cast()) };
}

/// Gives it back.
#[inline(always)] // as above
fn unlock<A>(set: NonNull<EmbryoSet<A>>) {
    // SAFETY: as in `lock`.
    unsafe { bpf_spin_unlock((&raw mut (*set.as_ptr()).lock).cast()) };
}

/// Entry `way` of a set.
#[inline(always)] // as above
fn way<A>(set: NonNull<EmbryoSet<A>>, way: u32) -> *mut Embryo<A> {
    // SAFETY: an element of an array stays, and there are as many ways as three bits can tell.
    unsafe {
        (&raw mut (*set.as_ptr()).ways)
            .cast::<Embryo<A>>()
            .add((way & 7) as usize)
    }
}

/// The same, and has the lines fetched that a claim will probably write, while the program goes on.
#[inline(never)] // as above
pub(crate) fn fetch<A: Family>(key: &FlowKey<A>) -> u64 {
    let place = hash(key);
    if let Some(set) = A::set((place >> 32) as u32) {
        // SAFETY: as in `look_up`; what is read is not used.
        unsafe {
            let order = read_volatile(&raw const (*set.as_ptr()).header.order);
            let embryo = way(set, order.next());
            read_volatile(&raw const (*embryo).key.src);
            read_volatile(&raw const (*embryo).flow.service);
        }
    }
    place
}

/// The entry under `key`, where it lies.
#[inline(never)] // one copy in a program, and its own stack frame
pub(crate) fn look_up<A: Family>(place: u64, key: &FlowKey<A>) -> Option<NonNull<Flow<A>>> {
    let set = A::set((place >> 32) as u32)?;
    // SAFETY: an element of an array stays. What is written meanwhile may be read half and half, see `Handle::load`: who rewrites an entry
    // takes its tag away first and gives it the new one last.
    let found = find::<Asm>(unsafe { &(*set.as_ptr()).header.tags }, place as u32);
    if found == 0 {
        return None;
    }
    let embryo = way(set, found);
    // SAFETY: as above.
    if same::<Asm, A>(unsafe { &(*embryo).key }, key) == 0 {
        return None;
    }
    // SAFETY: as above.
    NonNull::new(unsafe { &raw mut (*embryo).flow })
}

/// Adds `flow` under `key`, for which the oldest of its set makes room; see `refuses` for what it returns.
#[inline(never)] // the lock is taken and given back here
pub(crate) fn claim<A: Family>(place: u64, key: &FlowKey<A>, flow: &Flow<A>, patience: u32) -> u32 {
    let Some(set) = A::set((place >> 32) as u32) else {
        return 1;
    };
    let (at, tag) = (set.as_ptr(), place as u32);
    let mut refused = 0;
    lock(set);
    // SAFETY: an element of an array stays, and nobody else writes while this holds the lock but `Handle`, whole fields of `flow`.
    unsafe {
        let mut number = find::<Asm>(&(*at).header.tags, tag);
        if number == 0 {
            number = (*at).header.order.next();
        } else {
            // If only the tag is the same, that entry makes room: so no two have the same.
            let known = way(set, number);
            refused = same::<Asm, A>(&(*known).key, key).wrapping_neg();
            Asm::barrier();
            refused &= refuses::<Asm, A>(&(*known).flow, flow, patience);
        }
        if refused == 0 {
            let embryo = way(set, number);
            write_volatile(&raw mut (*at).header.tags[number as usize & 7], 0);
            Asm::barrier();
            (*embryo).key = *key;
            (*embryo).flow = *flow;
            Asm::barrier();
            (*at).header.take(number & 7, tag);
        }
    }
    unlock(set);
    refused
}

/// Removes what is under `key`: its room is used next.
#[inline(never)] // the lock is taken and given back here
pub(crate) fn remove<A: Family>(place: u64, key: &FlowKey<A>) {
    let Some(set) = A::set((place >> 32) as u32) else {
        return;
    };
    let at = set.as_ptr();
    lock(set);
    // SAFETY: as in `claim`.
    unsafe {
        let found = find::<Asm>(&(*at).header.tags, place as u32);
        if found != 0 && same::<Asm, A>(&(*way(set, found)).key, key) != 0 {
            (*at).header.free(found & 7);
        }
    }
    unlock(set);
}
