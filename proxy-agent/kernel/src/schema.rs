//! The maps of the object: names, types and sizes this build expects, and whether a pinned map can be kept. No I/O.

use std::fmt;

use proxy_common::addr::{V4, V6};
use proxy_common::embryos::{self, EmbryoSet};
use proxy_common::key::{AffinityKey, FlowKey, FragmentKey, FrontendKey, RangeKey};
use proxy_common::limits;
use proxy_common::reason::COUNTERS;
use proxy_common::value::{
    Affinity, Backend, BackendState, Cidr, Device, Flow, FlowFilter, Fragment, Frontend, LutWord,
    Socket, SocketPeer,
};

use crate::options::Capacities;
use crate::sys::bpf::MapInfo;

/// `BPF_MAP_TYPE_*`, as far as we use them.
pub(crate) mod kind {
    pub(crate) const HASH: u32 = 1;
    pub(crate) const ARRAY: u32 = 2;
    pub(crate) const PERCPU_ARRAY: u32 = 6;
    pub(crate) const LRU_HASH: u32 = 9;
    pub(crate) const LPM_TRIE: u32 = 11;
    pub(crate) const SK_STORAGE: u32 = 24;
}

/// Which capacity sizes a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Size {
    Frontends,
    Backends,
    Flows,
    /// In sets.
    Embryos,
    /// One element, for all flows.
    FlowFilter,
    /// Each frontend can have an address of its own, and then there are the node's.
    Addrs,
    Affinity,
    SourceRanges,
    Lut,
    Fixed(u32),
}

/// One map of the object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MapSpec {
    pub(crate) name: &'static str,
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) size: Size,
}

impl MapSpec {
    const fn of<K, V>(name: &'static str, kind: u32, size: Size) -> Self {
        // Sizes are asserted in proxy-common's layout.rs and fit easily.
        #[expect(clippy::cast_possible_truncation, reason = "sizes of small structs")]
        Self {
            name,
            kind,
            key_size: size_of::<K>() as u32,
            value_size: size_of::<V>() as u32,
            size,
        }
    }

    /// Entries the map should have.
    pub(crate) fn max_entries(&self, capacities: &Capacities) -> u32 {
        match self.size {
            Size::Frontends => capacities.frontends,
            Size::Backends => capacities.backends,
            Size::Flows => capacities.flows,
            Size::Embryos => embryos::sets(capacities.embryos),
            Size::FlowFilter => 1,
            Size::Addrs => capacities.frontends.saturating_add(limits::NODE_ADDRS),
            Size::Affinity => capacities.affinity,
            Size::SourceRanges => capacities.source_ranges,
            Size::Lut => capacities.lut,
            Size::Fixed(entries) => entries,
        }
    }

    /// Whether its contents are state that the others refer to: without it, the rest means nothing.
    pub(crate) fn is_core(&self) -> bool {
        matches!(
            self.size,
            Size::Frontends | Size::Backends | Size::FlowFilter
        )
    }
}

pub(crate) const FRONTENDS_V4: MapSpec =
    MapSpec::of::<FrontendKey<V4>, Frontend>("FRONTENDS_V4", kind::HASH, Size::Frontends);
pub(crate) const FRONTENDS_V6: MapSpec =
    MapSpec::of::<FrontendKey<V6>, Frontend>("FRONTENDS_V6", kind::HASH, Size::Frontends);
pub(crate) const BACKENDS_V4: MapSpec =
    MapSpec::of::<u32, Backend<V4>>("BACKENDS_V4", kind::ARRAY, Size::Backends);
pub(crate) const BACKENDS_V6: MapSpec =
    MapSpec::of::<u32, Backend<V6>>("BACKENDS_V6", kind::ARRAY, Size::Backends);
pub(crate) const BACKEND_STATE: MapSpec =
    MapSpec::of::<u32, BackendState>("BACKEND_STATE", kind::ARRAY, Size::Backends);
pub(crate) const FLOWS_V4: MapSpec =
    MapSpec::of::<FlowKey<V4>, Flow<V4>>("FLOWS_V4", kind::HASH, Size::Flows);
pub(crate) const FLOWS_V6: MapSpec =
    MapSpec::of::<FlowKey<V6>, Flow<V6>>("FLOWS_V6", kind::HASH, Size::Flows);
pub(crate) const EMBRYOS_V4: MapSpec =
    MapSpec::of::<u32, EmbryoSet<V4>>("EMBRYOS_V4", kind::ARRAY, Size::Embryos);
pub(crate) const EMBRYOS_V6: MapSpec =
    MapSpec::of::<u32, EmbryoSet<V6>>("EMBRYOS_V6", kind::ARRAY, Size::Embryos);
pub(crate) const FLOW_FILTER_V4: MapSpec =
    MapSpec::of::<u32, FlowFilter>("FLOW_FILTER_V4", kind::ARRAY, Size::FlowFilter);
pub(crate) const FLOW_FILTER_V6: MapSpec =
    MapSpec::of::<u32, FlowFilter>("FLOW_FILTER_V6", kind::ARRAY, Size::FlowFilter);
pub(crate) const FRAGMENTS_V4: MapSpec = MapSpec::of::<FragmentKey<V4>, Fragment<V4>>(
    "FRAGMENTS_V4",
    kind::LRU_HASH,
    Size::Fixed(limits::FRAGMENTS),
);
pub(crate) const FRAGMENTS_V6: MapSpec = MapSpec::of::<FragmentKey<V6>, Fragment<V6>>(
    "FRAGMENTS_V6",
    kind::LRU_HASH,
    Size::Fixed(limits::FRAGMENTS),
);
pub(crate) const ADDRS_V4: MapSpec = MapSpec::of::<V4, u32>("ADDRS_V4", kind::HASH, Size::Addrs);
pub(crate) const ADDRS_V6: MapSpec = MapSpec::of::<V6, u32>("ADDRS_V6", kind::HASH, Size::Addrs);
pub(crate) const SOURCE_RANGES_V4: MapSpec =
    MapSpec::of::<RangeKey<V4>, u32>("SOURCE_RANGES_V4", kind::LPM_TRIE, Size::SourceRanges);
pub(crate) const SOURCE_RANGES_V6: MapSpec =
    MapSpec::of::<RangeKey<V6>, u32>("SOURCE_RANGES_V6", kind::LPM_TRIE, Size::SourceRanges);
pub(crate) const AFFINITY_V4: MapSpec =
    MapSpec::of::<AffinityKey<V4>, Affinity<V4>>("AFFINITY_V4", kind::LRU_HASH, Size::Affinity);
pub(crate) const AFFINITY_V6: MapSpec =
    MapSpec::of::<AffinityKey<V6>, Affinity<V6>>("AFFINITY_V6", kind::LRU_HASH, Size::Affinity);
pub(crate) const CIDRS_V4: MapSpec =
    MapSpec::of::<u32, Cidr<V4>>("CIDRS_V4", kind::ARRAY, Size::Fixed(limits::CIDRS));
pub(crate) const CIDRS_V6: MapSpec =
    MapSpec::of::<u32, Cidr<V6>>("CIDRS_V6", kind::ARRAY, Size::Fixed(limits::CIDRS));
pub(crate) const LUT: MapSpec = MapSpec::of::<u32, LutWord>("LUT", kind::ARRAY, Size::Lut);
pub(crate) const TURNS: MapSpec =
    MapSpec::of::<u32, u32>("TURNS", kind::ARRAY, Size::Fixed(limits::TURNS));
pub(crate) const DEVICES: MapSpec =
    MapSpec::of::<u32, Device>("DEVICES", kind::HASH, Size::Fixed(limits::DEVICES));
pub(crate) const COUNTERS_MAP: MapSpec =
    MapSpec::of::<u32, u64>("COUNTERS", kind::PERCPU_ARRAY, Size::Fixed(COUNTERS));
pub(crate) const CONNECTED: MapSpec =
    MapSpec::of::<u64, SocketPeer>("CONNECTED", kind::LRU_HASH, Size::Fixed(limits::CONNECTED));
pub(crate) const SOCKETS: MapSpec =
    MapSpec::of::<u32, Socket>("SOCKETS", kind::SK_STORAGE, Size::Fixed(0));

/// All maps.
pub(crate) const MAPS: &[MapSpec] = &[
    FRONTENDS_V4,
    FRONTENDS_V6,
    BACKENDS_V4,
    BACKENDS_V6,
    BACKEND_STATE,
    FLOWS_V4,
    FLOWS_V6,
    EMBRYOS_V4,
    EMBRYOS_V6,
    FLOW_FILTER_V4,
    FLOW_FILTER_V6,
    FRAGMENTS_V4,
    FRAGMENTS_V6,
    ADDRS_V4,
    ADDRS_V6,
    SOURCE_RANGES_V4,
    SOURCE_RANGES_V6,
    AFFINITY_V4,
    AFFINITY_V6,
    CIDRS_V4,
    CIDRS_V6,
    LUT,
    TURNS,
    DEVICES,
    COUNTERS_MAP,
    CONNECTED,
    SOCKETS,
];

/// The shape of a map that decides whether it can be shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) flags: u32,
}

impl From<MapInfo> for Shape {
    fn from(info: MapInfo) -> Self {
        Self {
            kind: info.kind,
            key_size: info.key_size,
            value_size: info.value_size,
            flags: info.flags,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            key_size,
            value_size,
            flags,
        } = self;
        write!(
            f,
            "type {kind}, key {key_size} bytes, value {value_size} bytes, flags {flags:#x}"
        )
    }
}

/// What to do about one map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reuse {
    /// There is none: make it.
    Create,
    /// Keep it with its size.
    Keep { max_entries: u32 },
    /// Make a larger one and copy the contents.
    Grow { from: u32 },
}

/// Decides about all maps together: `found` and `wanted` in the order of [`MAPS`].
///
/// `Err` says why none can be kept: the maps refer to each other, so a changed shape of one makes all of them worthless.
pub(crate) fn decide(
    found: &[Option<MapInfo>],
    wanted: &[(MapSpec, Shape, u32)],
) -> Result<Vec<Reuse>, String> {
    let mut decisions = Vec::with_capacity(wanted.len());
    let any = found.iter().any(Option::is_some);
    for (found, (spec, shape, max_entries)) in found.iter().zip(wanted) {
        decisions.push(match found {
            None if any && spec.is_core() => return Err(format!("map {} is missing", spec.name)),
            None => Reuse::Create,
            Some(info) if Shape::from(*info) != *shape => {
                return Err(format!(
                    "map {} is of {}, this build uses {shape}",
                    spec.name,
                    Shape::from(*info)
                ));
            }
            Some(info) if info.max_entries < *max_entries => Reuse::Grow {
                from: info.max_entries,
            },
            Some(info) => Reuse::Keep {
                max_entries: info.max_entries,
            },
        });
    }
    Ok(decisions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Vec<(MapSpec, Shape, u32)> {
        MAPS.iter()
            .map(|spec| {
                let MapSpec {
                    kind,
                    key_size,
                    value_size,
                    ..
                } = *spec;
                (
                    *spec,
                    Shape {
                        kind,
                        key_size,
                        value_size,
                        flags: 1,
                    },
                    100,
                )
            })
            .collect()
    }

    fn found() -> Vec<Option<MapInfo>> {
        MAPS.iter()
            .map(|spec| {
                let MapSpec {
                    kind,
                    key_size,
                    value_size,
                    ..
                } = *spec;
                Some(MapInfo {
                    kind,
                    id: 7,
                    key_size,
                    value_size,
                    max_entries: 100,
                    flags: 1,
                })
            })
            .collect()
    }

    fn index(name: &str) -> usize {
        MAPS.iter().position(|spec| spec.name == name).unwrap()
    }

    #[test]
    fn names_are_unique() {
        for (at, spec) in MAPS.iter().enumerate() {
            assert_eq!(index(spec.name), at);
        }
    }

    #[test]
    fn decide_nothing_pinned_creates_all() {
        let none = vec![None; MAPS.len()];
        assert_eq!(
            decide(&none, &wanted()),
            Ok(vec![Reuse::Create; MAPS.len()])
        );
    }

    #[test]
    fn decide_equal_maps_are_kept() {
        assert_eq!(
            decide(&found(), &wanted()),
            Ok(vec![Reuse::Keep { max_entries: 100 }; MAPS.len()])
        );
    }

    #[test]
    fn decide_larger_map_keeps_its_size_and_smaller_grows() {
        let mut found = found();
        found[index("FLOWS_V4")].as_mut().unwrap().max_entries = 200;
        found[index("FLOWS_V6")].as_mut().unwrap().max_entries = 50;
        let decisions = decide(&found, &wanted()).unwrap();
        assert_eq!(
            decisions[index("FLOWS_V4")],
            Reuse::Keep { max_entries: 200 }
        );
        assert_eq!(decisions[index("FLOWS_V6")], Reuse::Grow { from: 50 });
    }

    #[test]
    fn decide_other_shape_keeps_nothing_and_says_why() {
        for change in [
            |info: &mut MapInfo| info.kind = 99,
            |info: &mut MapInfo| info.key_size = 99,
            |info: &mut MapInfo| info.value_size = 99,
            |info: &mut MapInfo| info.flags = 99,
        ] {
            let mut found = found();
            change(found[index("DEVICES")].as_mut().unwrap());
            assert!(decide(&found, &wanted()).unwrap_err().contains("DEVICES"));
        }
    }

    #[test]
    fn decide_missing_core_map_keeps_nothing_but_a_missing_other_is_made() {
        let mut found = found();
        found[index("EMBRYOS_V4")] = None;
        assert_eq!(
            decide(&found, &wanted()).unwrap()[index("EMBRYOS_V4")],
            Reuse::Create
        );
        found[index("BACKENDS_V4")] = None;
        assert!(
            decide(&found, &wanted())
                .unwrap_err()
                .contains("BACKENDS_V4")
        );
    }
}
