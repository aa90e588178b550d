//! Which backend a new connection gets. O(1), and the same for the same tuple while the set is the same: a retransmitted
//! SYN, XDP and TC all choose alike, and no record is needed until the backend has answered.

use crate::addr::Addr;
use crate::be::join;
use crate::key::FlowKey;
use crate::value::{Frontend, Slice};

/// A 32-bit hash of the tuple, keyed by `seed`. With session affinity only of the client's address.
#[inline]
pub fn hash<A: Addr>(key: &FlowKey<A>, frontend: &Frontend, seed: u32) -> u32 {
    let src = key.src.words();
    let mut h = mix(seed ^ frontend.service, src[0]);
    if A::IS_V6 {
        h = mix(mix(mix(h, src[1]), src[2]), src[3]);
    }
    if frontend.affinity_seconds == 0 {
        let dst = key.dst.words();
        h = mix(h, dst[0]);
        if A::IS_V6 {
            h = mix(mix(mix(h, dst[1]), dst[2]), dst[3]);
        }
        h = mix(h, join(key.sport, key.dport));
    }
    finish(h)
}

/// Scales 32 random bits to a slot of `slice`, without division.
#[inline]
pub fn slot(slice: Slice, bits: u32) -> u32 {
    slice
        .offset
        .wrapping_add(((u64::from(bits) * u64::from(slice.count)) >> 32) as u32)
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
