//! The table EMBRYOS: sets of [`WAYS`] entries, of which a look-up that misses reads one cache line and an insert writes two or three.
//!
//! A key can be in one set only, by its hash ([`Place`]). Inside a set the oldest entry makes room, whatever other sets have free: with 8 ways a
//! connection that waits while as many new ones come as half of the table holds is lost with a probability of 5 %, a quarter 0.1 %, an eighth
//! 1 in 100,000 (Poisson; 4 ways: 14 %, 1.9 %, 0.2 %). An LRU of the whole table would lose none of them, but has to find its victim: that cost 280 ns
//! of each new connection (docs/decisions/0009-a-table-of-sets.md).
//!
//! ```text
//! set: lock, order, 8 tags │ 8 × { key, flow }
//!      one cache line      │ 48 bytes each for IPv4, 96 for IPv6
//! ```

#![expect(
    clippy::cast_possible_truncation,
    reason = "bits are cut out of wider words on purpose"
)]

use crate::addr::Addr;
use crate::be::Be16;
use crate::flags::{FlowFlags, flow_state};
use crate::key::FlowKey;
use crate::limits;
use crate::reason::Reason;
use crate::value::Flow;

/// Seconds without a packet after which nobody waits for an answer any more (`nf_conntrack`'s `SYN_SENT` is 120, unreplied UDP 30).
pub const STALE_SECONDS: u32 = 60;
/// Entries of a set.
pub const WAYS: usize = 8;

/// The lock of a set. The kernel finds it in a map's BTF by this name.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct bpf_spin_lock {
    /// The kernel's.
    pub val: u32,
}

/// What a set knows of its entries. No two of them have the same tag.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// See [`Order`]; zero at first.
    pub order: Order,
    /// Of each entry some bits of its key's hash; 0 is free.
    pub tags: [u32; WAYS],
}

impl Header {
    /// The entry that a key with this tag gets: that with the same tag, so that no two have the same, else the next.
    #[inline]
    #[must_use]
    pub fn room<O: Opaque>(&self, tag: u32) -> u32 {
        match find::<O>(&self.tags, tag) {
            0 => self.order.next(),
            found => found & 7,
        }
    }

    /// Entry `way` is the youngest.
    #[inline]
    pub fn take(&mut self, way: u32, tag: u32) {
        self.tags[way as usize & (WAYS - 1)] = tag;
        self.order = self.order.last(way);
    }

    /// Entry `way` is free, and used next.
    #[inline]
    pub fn free(&mut self, way: u32) {
        self.tags[way as usize & (WAYS - 1)] = 0;
        self.order = self.order.first(way);
    }
}

/// An entry of EMBRYOS. Means nothing while its tag is 0.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Embryo<A> {
    /// The tuple of the answer.
    pub key: FlowKey<A>,
    /// What becomes of the answer.
    pub flow: Flow<A>,
}

/// Element of EMBRYOS. The kernel's arrays begin at the 16th byte of a cache line, and the entries with the next line.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EmbryoSet<A> {
    /// Held by who changes the set.
    pub lock: bpf_spin_lock,
    /// Read without the lock.
    pub header: Header,
    pad: [u32; 2],
    /// The entries.
    pub ways: [Embryo<A>; WAYS],
    pad_end: [u32; 4],
}

/// In which order a set's entries are used again: a permutation of their numbers, four bits each. First those that are free, then the oldest, last
/// the youngest. All zeros is the order of the numbers.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Order(u32);

impl Order {
    const NUMBERS: u32 = 0x7654_3210;
    const ONES: u32 = 0x1111_1111;

    /// The entry to use next.
    #[inline]
    #[must_use]
    pub const fn next(self) -> u32 {
        (self.0 ^ Self::NUMBERS) & 7
    }

    /// The bits of the entries before `way`.
    #[inline]
    const fn before(order: u32, way: u32) -> u32 {
        let others = order ^ way.wrapping_mul(Self::ONES);
        // The lowest group of four bits that is zero: there is one, so that carries only spoil what lies above it.
        let zero = others.wrapping_sub(Self::ONES) & !others & (Self::ONES << 3);
        ((zero & zero.wrapping_neg()) >> 3).wrapping_sub(1)
    }

    /// With `way` as the last to be used again.
    #[inline]
    #[must_use]
    pub const fn last(self, way: u32) -> Self {
        let order = self.0 ^ Self::NUMBERS;
        let before = Self::before(order, way);
        Self((order & before | (order >> 4) & !before | way << 28) ^ Self::NUMBERS)
    }

    /// With `way` as the first to be used again.
    #[inline]
    #[must_use]
    pub const fn first(self, way: u32) -> Self {
        let order = self.0 ^ Self::NUMBERS;
        let before = Self::before(order, way);
        Self(((order & before) << 4 | way | order & !(before << 4 | 15)) ^ Self::NUMBERS)
    }
}

/// What becomes of a claim of `new`, where `old` has the key. 0: it replaces `old`, for which nothing came for `patience` seconds, and no
/// answer; 1: `old` stays; 2: `old` stays, and is the same connection. Without branches, as [`find`].
#[inline]
#[must_use]
pub fn refuses<O: Opaque, A: Addr>(old: &Flow<A>, new: &Flow<A>, patience: u32) -> u32 {
    let mut differs = unlike::<O, A>(&old.src, &new.src);
    differs |= unlike::<O, A>(&old.dst, &new.dst);
    differs |= both(old.sport, old.dport) ^ both(new.sport, new.dport);
    // By whatever device it came.
    differs |= u32::from((old.flags.0 ^ new.flags.0) & !FlowFlags::DEVICE.0);
    let same = O::is_zero(differs);
    O::barrier();
    let idle = new.last_seen.wrapping_sub(old.last_seen);
    let waits = idle.wrapping_sub(STALE_SECONDS) >> 31;
    let early = idle.wrapping_sub(patience) >> 31;
    let replied = u32::from(old.state & flow_state::REPLIED) / u32::from(flow_state::REPLIED);
    (waits & (early | replied | same)) << same
}

/// What a claim came to, by the number of [`refuses`].
#[inline]
#[must_use]
pub const fn claimed(number: u32) -> Reason {
    match number {
        0 => Reason::NewFlow,
        1 => Reason::TupleTaken,
        _ => Reason::Retransmitted,
    }
}

/// Two ports in one word, to compare or to hash them.
#[inline]
fn both(one: Be16, other: Be16) -> u32 {
    u32::from(one.raw()) | u32::from(other.raw()) << 16
}

/// What the compiler is kept from. As defined here, nothing; see proxy-ebpf.
pub trait Opaque {
    /// 1 if `number` is 0, else 0. Not by a branch, or the verifier would walk all that follows once for each outcome.
    #[inline]
    #[must_use]
    fn is_zero(number: u32) -> u32 {
        u32::from(number == 0)
    }

    /// Reading ahead of this line: there are few registers, and little stack.
    #[inline]
    fn barrier() {}
}

/// Zero if they are alike.
#[inline]
fn unlike<O: Opaque, A: Addr>(one: &A, other: &A) -> u32 {
    let mut differs = 0;
    let mut index = 0;
    while index < 4 {
        differs |= one.words()[index] ^ other.words()[index];
        if A::IS_V6 {
            O::barrier();
        }
        index += 1;
    }
    differs
}

/// Where a key belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its set.
    pub set: u32,
    /// Its tag there, not 0.
    pub tag: u32,
}

/// What the words of a key are multiplied by, but for the secret.
const FACTORS: [u64; 10] = factors();

const fn factors() -> [u64; 10] {
    let mut factors = [0; 10];
    let mut index = 0;
    let mut state: u64 = 0;
    while index < factors.len() {
        // SplitMix64.
        state = state.wrapping_add(GOLDEN);
        let mut factor = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        factor = (factor ^ (factor >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        factors[index] = factor ^ (factor >> 31);
        index += 1;
    }
    factors
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Place {
    /// The place of `key` in a table whose last set is `mask`, a power of two less one.
    ///
    /// A sum of products of words with secret numbers: whoever does not know the seed cannot choose keys of one set. All products can be
    /// computed at once.
    #[inline]
    pub fn of<A: Addr>(key: &FlowKey<A>, seed: u32, mask: u32) -> Self {
        let secret = u64::from(seed).wrapping_mul(GOLDEN);
        let factor = |index: usize| FACTORS[index] ^ secret;
        let (src, dst) = (key.src.words(), key.dst.words());
        let mut sum = u64::from(src[0]).wrapping_mul(factor(0));
        sum = sum.wrapping_add(u64::from(dst[0]).wrapping_mul(factor(1)));
        if A::IS_V6 {
            let mut index = 1;
            while index < 4 {
                sum = sum.wrapping_add(u64::from(src[index]).wrapping_mul(factor(2 * index)));
                sum = sum.wrapping_add(u64::from(dst[index]).wrapping_mul(factor(2 * index + 1)));
                index += 1;
            }
        }
        let ports = u64::from(both(key.sport, key.dport));
        sum = sum.wrapping_add(ports.wrapping_mul(factor(8)));
        sum = sum.wrapping_add(u64::from(key.proto).wrapping_mul(factor(9)));
        // Ports in a row would lie in a row of sets.
        let hash = (sum ^ (sum >> 32)).wrapping_mul(FACTORS[0] | 1);
        Self {
            set: (hash >> 32) as u32 & mask,
            tag: hash as u32 | 1,
        }
    }
}

/// Number of the sets of a table for `entries` entries: a power of two.
#[must_use]
pub const fn sets(entries: u32) -> u32 {
    entries.div_ceil(WAYS as u32).next_power_of_two()
}

/// Entries of a table of `sets` sets.
#[must_use]
pub const fn entries(sets: u32) -> u32 {
    sets.saturating_mul(WAYS as u32)
}

/// The last of the sets that are used in a table that has room for `sets`: a power of two, less one.
#[must_use]
pub const fn mask(sets: u32) -> u32 {
    match sets.checked_ilog2() {
        Some(bits) => (1 << bits) - 1,
        None => 0,
    }
}

/// [`sets`] of the default table.
pub const SETS: u32 = sets(limits::EMBRYOS);

/// Which of `tags` is `tag`: its number and 8, or 0. At most one is. Without a branch for each, which the verifier would walk one by one.
#[inline]
#[must_use]
pub fn find<O: Opaque>(tags: &[u32; WAYS], tag: u32) -> u32 {
    let mut found = 0;
    let mut index = 0;
    while index < WAYS {
        if index == WAYS / 2 {
            O::barrier();
        }
        found |= O::is_zero(tags[index] ^ tag).wrapping_mul((WAYS + index) as u32);
        index += 1;
    }
    found
}

/// Whether two tuples are the same, as 1 or 0, and without a branch.
#[inline]
#[must_use]
pub fn same<O: Opaque, A: Addr>(one: &FlowKey<A>, other: &FlowKey<A>) -> u32 {
    let mut differs = unlike::<O, A>(&one.src, &other.src);
    differs |= unlike::<O, A>(&one.dst, &other.dst);
    differs |= both(one.sport, one.dport) ^ both(other.sport, other.dport);
    differs |= u32::from(one.proto ^ other.proto);
    O::is_zero(differs)
}
