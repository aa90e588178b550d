//! What the value of a frontend names in other maps.

use proxy_common::flags::FrontendFlags;
use proxy_common::value::{Frontend, Slice};

use crate::tables::place_of;

/// The slices that a frontend names, each once.
pub(crate) fn named(frontend: &Frontend) -> impl Iterator<Item = Slice> + use<> {
    let [inside, outside, host] = frontend.slices;
    let outside = Some(outside).filter(|slice| *slice != inside);
    let host = Some(host).filter(|slice| *slice != inside && Some(*slice) != outside);
    [Some(inside), outside, host]
        .into_iter()
        .flatten()
        .filter(|slice| slice.count > 0)
}

/// The Maglev tables that a frontend names. Their lengths follow from the slices that they go with.
pub(crate) fn named_tables(frontend: &Frontend) -> impl Iterator<Item = Slice> + use<> {
    let locals = [
        FrontendFlags::LOCAL_INSIDE,
        FrontendFlags::LOCAL_OUTSIDE,
        FrontendFlags::LOCAL_HOST,
    ];
    let locals = locals.map(|flag| frontend.flags.has(flag));
    let (slices, tables) = (frontend.slices, frontend.tables);
    [false, true]
        .into_iter()
        .zip(tables)
        .filter_map(move |(local, offset)| {
            let mut of_set = locals.iter().zip(slices).filter(|(is, _)| **is == local);
            let (_, slice) = of_set.next()?;
            place_of(offset, slice.count as usize)
        })
}

/// The set of source ranges that a frontend names.
pub(crate) fn named_ranges(frontend: &Frontend) -> Option<u32> {
    let named = frontend.flags.has(FrontendFlags::RANGES);
    named.then_some(frontend.ranges)
}
