//! Maglev tables (Eisenbud et al., NSDI 2016, section 3.4): a lookup table that changes little when a backend comes or goes.
//!
//! A table is a pure function of the addresses of the set, so that every node, and every run of an agent, has the same one. An
//! agent goes on with those tables of an earlier run that are what it would build.

use std::sync::Arc;

/// Lengths of tables: primes, as few as possible, so that the length seldom changes with the number of backends. The last one is
/// the largest that the path can read.
const SIZES: [u16; 4] = [1_021, 4_093, 16_381, 65_521];
/// Entries per backend: the shares of two backends then differ by about a percent.
const SHARE: usize = 100;
/// With fewer entries per backend than this a table is not worth its name.
const LEAST_SHARE: usize = 10;
/// Entries in a word of LUT.
const WORD: u32 = 4;

/// The addresses of a set, as words in network byte order, in the order of the slice.
pub(crate) type Members = Arc<[[u32; 4]]>;

/// How long the table of `count` backends is. None for one backend, which needs no table, and for too many.
pub(crate) fn size(count: usize) -> Option<u16> {
    let fits = |share: usize| {
        let least = count.saturating_mul(share);
        SIZES.into_iter().find(|size| usize::from(*size) >= least)
    };
    let largest = || fits(LEAST_SHARE).and(SIZES.last().copied());
    (count > 1).then(|| fits(SHARE).or_else(largest)).flatten()
}

/// Words of LUT for a table: one for its length, then its entries.
pub(crate) fn words(size: u16) -> u32 {
    u32::from(size).div_ceil(WORD).saturating_add(1)
}

/// The table: for each entry the index of a member. Members take turns; each takes the next free entry of its own permutation.
pub(crate) fn build(members: &[[u32; 4]], size: u16) -> Vec<u16> {
    let length = u64::from(size);
    let mut turns: Vec<(u16, u64, u64)> = Vec::with_capacity(members.len());
    let (mut last, mut twin) = (None, 0u64);
    for (index, member) in (0..u16::MAX).zip(members) {
        // One address with two ports is two members, each with a permutation of its own.
        twin = if last == Some(member) {
            twin.saturating_add(1)
        } else {
            0
        };
        last = Some(member);
        let (one, two) = (hash(*member, twin, 1), hash(*member, twin, 2));
        let skip = (two % length.saturating_sub(1).max(1)).saturating_add(1);
        turns.push((index, one % length.max(1), skip));
    }
    let mut entries = vec![u16::MAX; usize::from(size)];
    let mut free = if turns.is_empty() { 0 } else { entries.len() };
    while free > 0 {
        for (index, at, skip) in &mut turns {
            // The length is a prime, so a permutation meets every entry: this ends while one is free.
            while free > 0 {
                let here = usize::try_from(*at).ok().and_then(|at| entries.get_mut(at));
                // Both are less than the length; a division would be most of the work.
                let next = at.saturating_add(*skip);
                *at = next.checked_sub(length).unwrap_or(next);
                if let Some(entry) = here.filter(|entry| **entry == u16::MAX) {
                    *entry = *index;
                    free = free.saturating_sub(1);
                    break;
                }
            }
        }
    }
    entries
}

/// FNV-1a over the bytes as they lie in a packet, then the finalizer of splitmix64, which makes every bit count.
fn hash(member: [u32; 4], twin: u64, seed: u64) -> u64 {
    let bytes = member.into_iter().flat_map(u32::to_ne_bytes);
    let more = [twin, seed].into_iter().flat_map(u64::to_le_bytes);
    let hash = bytes
        .chain(more)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(count: u32) -> Vec<[u32; 4]> {
        let member = |number: u32| [(0x0a00_0000 + number).to_be(), 0, 0, 0];
        (0..count).map(member).collect()
    }

    #[test]
    fn sizes_are_primes_with_a_hundred_entries_per_backend_while_they_can() {
        for prime in SIZES {
            assert!((2..256).all(|divisor| prime % divisor != 0), "{prime}");
        }
        assert_eq!((size(0), size(1), size(2)), (None, None, Some(1_021)));
        assert_eq!(
            (size(10), size(11), size(655)),
            (Some(1_021), Some(4_093), Some(65_521))
        );
        assert_eq!((size(6_552), size(6_553)), (Some(65_521), None));
        assert_eq!((words(1_021), words(65_521)), (257, 16_382));
    }

    #[test]
    fn table_is_what_it_was() {
        let table = build(&members(3), 13);
        assert_eq!(table, [2, 1, 0, 2, 1, 2, 0, 1, 1, 2, 0, 0, 0]);
        assert!(build(&[], 13).iter().all(|entry| *entry == u16::MAX));
    }

    #[test]
    fn one_address_with_two_ports_has_two_shares() {
        let table = build(&[[1, 0, 0, 0], [1, 0, 0, 0]], 1_021);
        let first = table.iter().filter(|entry| **entry == 0).count();
        assert!((510..=511).contains(&first), "{first}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn shares_are_equal_and_a_lost_backend_disturbs_few(count in 2u32..160, lost in any::<prop::sample::Index>()) {
            let (size, lost) = (size(count as usize).unwrap(), lost.index(count as usize));
            let before = members(count);
            let table = build(&before, size);
            let share = usize::from(size) / count as usize;
            for member in (0u16..).take(count as usize) {
                let entries = table.iter().filter(|entry| **entry == member).count();
                prop_assert!(entries == share || entries == share + 1);
            }
            let mut after = before.clone();
            let gone = after.remove(lost);
            let without = build(&after, size);
            let owners = table.iter().map(|entry| before[usize::from(*entry)]);
            let moved = owners
                .zip(without.iter().map(|entry| after.get(usize::from(*entry)).copied()))
                .filter(|(old, new)| *old != gone && Some(*old) != *new)
                .count();
            // Of the entries whose backend stays; a modulo would move nearly all of them.
            prop_assert!(moved * 100 < usize::from(size) * 25, "{moved} of {size} moved");
        }
    }
}
