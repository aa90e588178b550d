//! `SOURCE_RANGES`: sets of networks in one trie of longest prefixes per family.

use aya::Pod;
use proxy_common::addr::Addr;
use proxy_common::key::RangeKey;

use super::table::Table;
use crate::error::{Error, Result};

/// Bits of the set's number, in front of the address.
const SET_BITS: u32 = 32;
/// Being there is all that an element says.
const MEMBER: u32 = 1;

/// The table of one family.
pub(crate) type Ranges<A> = Table<RangeKey<A>, u32>;

fn keys<A: Addr>(set: u32, ranges: &[(A, u8)]) -> Vec<RangeKey<A>> {
    let key = |(addr, bits): &(A, u8)| RangeKey {
        prefix: SET_BITS + u32::from(*bits),
        set,
        addr: *addr,
    };
    ranges.iter().map(key).collect()
}

/// Adds networks to a set; `refused` hears of each that the kernel did not take.
pub(crate) fn add<A: Addr>(
    table: &Ranges<A>,
    set: u32,
    ranges: &[(A, u8)],
    mut refused: impl FnMut(std::io::Error),
) where
    RangeKey<A>: Pod,
{
    let keys = keys(set, ranges);
    table.update_all(&keys, &vec![MEMBER; keys.len()], |_key, error| {
        refused(error);
    });
}

/// Removes networks from a set; absent ones are fine.
pub(crate) fn remove<A: Addr>(
    table: &Ranges<A>,
    set: u32,
    ranges: &[(A, u8)],
    mut refused: impl FnMut(std::io::Error),
) where
    RangeKey<A>: Pod,
{
    table.delete_all(&keys(set, ranges), |_key, error| refused(error));
}

/// All elements: set, network, prefix length.
pub(crate) fn all<A: Addr>(table: &Ranges<A>) -> Result<Vec<(u32, A, u8)>>
where
    RangeKey<A>: Pod,
{
    let keys = table
        .keys()
        .map_err(Error::map(table.name(), "reading all elements"))?;
    let element = |key: RangeKey<A>| {
        let bits = u8::try_from(key.prefix.saturating_sub(SET_BITS)).unwrap_or(u8::MAX);
        (key.set, key.addr, bits)
    };
    Ok(keys.into_iter().map(element).collect())
}
