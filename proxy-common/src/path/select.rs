//! Which backend a new connection gets. O(1).
//!
//! Random and Maglev choices are the same for the same tuple while the set is the same: a retransmitted SYN, XDP and TC all
//! choose alike, and no record is needed until the backend has answered. Round robin and least connections need one
//! (`embryo::remember`), affinity has its own.

use crate::addr::Addr;
use crate::be::join;
use crate::flags::FrontendFlags;
use crate::key::FlowKey;
use crate::path::body::{Env, Services};
use crate::path::lookup::Terms;
use crate::value::{Backend, Slice};

/// A 32-bit hash of the tuple, keyed by `seed`. With session affinity only of the client's address.
#[inline]
pub fn hash<A: Addr>(key: &FlowKey<A>, terms: &Terms, seed: u32) -> u32 {
    let mut h = source(seed ^ terms.service, &key.src);
    if terms.affinity_seconds == 0 {
        let dst = key.dst.words();
        h = mix(h, dst[0]);
        if A::IS_V6 {
            h = mix(mix(mix(h, dst[1]), dst[2]), dst[3]);
        }
        h = mix(h, join(key.sport, key.dport));
    }
    finish(h)
}

#[inline]
fn source<A: Addr>(seed: u32, src: &A) -> u32 {
    let src = src.words();
    let h = mix(seed, src[0]);
    if A::IS_V6 {
        mix(mix(mix(h, src[1]), src[2]), src[3])
    } else {
        h
    }
}

/// Whether a choice by these terms cannot be made again without a record.
#[inline]
pub fn is_fleeting(terms: &Terms) -> bool {
    let fleeting = FrontendFlags::ROUND_ROBIN.0 | FrontendFlags::LEAST_CONNECTIONS.0;
    terms.affinity_seconds == 0 && terms.flags.0 & fleeting != 0
}

/// Chooses a backend for `client` by the Service's algorithm; `bits` are random, or a hash. `false`: there is none at its slot.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn choose<A: Addr, C: Services<A> + Env>(
    ctx: &C,
    terms: &Terms,
    client: &A,
    bits: u32,
    backend: &mut Backend<A>,
) -> bool {
    match ctx.backend(choose_slot(ctx, terms, client, bits)) {
        Some(chosen) if chosen.id != 0 => {
            *backend = chosen;
            true
        }
        _ => false,
    }
}

#[inline]
fn choose_slot<A: Addr, C: Services<A> + Env>(
    ctx: &C,
    terms: &Terms,
    client: &A,
    bits: u32,
) -> u32 {
    let slice = terms.slice;
    if ctx.dry() {
        return nth(slice, ctx.candidate());
    }
    if terms.flags.has(FrontendFlags::MAGLEV) {
        // Not by the seed of this node: every node chooses alike.
        let bits = finish(source(0, client));
        return maglev(ctx, terms, bits).unwrap_or_else(|| slot(slice, bits));
    }
    if terms.flags.has(FrontendFlags::ROUND_ROBIN) {
        return nth(slice, ctx.turn(terms.service));
    }
    let one = slot(slice, bits);
    if terms.flags.has(FrontendFlags::LEAST_CONNECTIONS) {
        let other = slot(slice, finish(bits.wrapping_add(0x9e37_79b9)));
        if active::<A, C>(ctx, other) < active::<A, C>(ctx, one) {
            return other;
        }
    }
    one
}

/// Scales 32 random bits to a slot of `slice`, without division.
#[inline]
pub fn slot(slice: Slice, bits: u32) -> u32 {
    slice
        .offset
        .wrapping_add(((u64::from(bits) * u64::from(slice.count)) >> 32) as u32)
}

/// Slot `number` of `slice`, counted round and round.
#[inline]
fn nth(slice: Slice, number: u32) -> u32 {
    let place = number.checked_rem(slice.count).unwrap_or(0);
    slice.offset.wrapping_add(place)
}

/// The slot that the set's table names; `None` while there is no table.
#[inline]
fn maglev<C: Env>(ctx: &C, terms: &Terms, bits: u32) -> Option<u32> {
    if terms.table == 0 {
        return None;
    }
    let [length, ..] = ctx.lut(terms.table)?.0;
    let entry = ((u64::from(bits) * u64::from(length)) >> 32) as u32;
    let [a, b, c, d] = ctx.lut(terms.table.wrapping_add(1 + entry / 4))?.0;
    let index = u32::from(match entry % 4 {
        0 => a,
        1 => b,
        2 => c,
        _ => d,
    });
    (index < terms.slice.count).then(|| terms.slice.offset.wrapping_add(index))
}

/// Open connections of the backend at `slot`.
#[inline]
fn active<A: Addr, C: Services<A> + Env>(ctx: &C, slot: u32) -> u32 {
    let id = ctx.backend(slot).map_or(0, |backend| backend.id);
    ctx.backend_state(id).map_or(0, |state| state.active)
}

/// One round of 32-bit `MurmurHash3`.
#[inline]
fn mix(h: u32, word: u32) -> u32 {
    let k = word
        .wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593);
    (h ^ k)
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xe654_6b64)
}

/// Its finaliser: every input bit reaches the high bits that [`slot`] uses.
#[inline]
pub fn finish(h: u32) -> u32 {
    let h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    let h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}
