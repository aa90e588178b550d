//! `EndpointSlices` as the planner keeps them, and the endpoints of one `ServicePort` merged out of them.

use proxy_common::addr::{V4, V6};
use proxy_common::be::Be16;
use proxy_common::value::backend_sets;

use crate::family::Family;
use crate::service::Proto;

/// A slice of one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EndpointSlice {
    /// In order of name and protocol.
    pub(crate) ports: Box<[SlicePort]>,
    pub(crate) endpoints: Endpoints,
    /// The distinct zone hints of the endpoints.
    pub(crate) zones: Box<[Zones]>,
}

/// The zones that should use an endpoint.
pub(crate) type Zones = Box<[Box<str>]>;

/// A port that every endpoint of a slice has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SlicePort {
    pub(crate) name: Box<str>,
    pub(crate) proto: Proto,
    pub(crate) port: u16,
}

impl SlicePort {
    /// What the port is found by.
    pub(crate) fn name_and_proto(&self) -> (&str, Proto) {
        (&self.name, self.proto)
    }
}

/// Endpoints of one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Endpoints {
    V4(Box<[Endpoint<V4>]>),
    V6(Box<[Endpoint<V6>]>),
}

impl Endpoints {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::V4(endpoints) => endpoints.len(),
            Self::V6(endpoints) => endpoints.len(),
        }
    }
}

/// One endpoint: 8 bytes for IPv4, there are a million of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint<A> {
    pub(crate) addr: A,
    pub(crate) facts: Facts,
    /// Index into the slice's zones, plus one; 0 is no hint.
    pub(crate) zones: u16,
}

/// What is known of an endpoint, and what was decided about it, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Facts(u16);

impl Facts {
    pub(crate) const READY: Self = Self(1);
    pub(crate) const SERVING: Self = Self(1 << 1);
    pub(crate) const TERMINATING: Self = Self(1 << 2);
    /// Runs on this node (SEMANTICS 1.9).
    pub(crate) const LOCAL: Self = Self(1 << 3);
    /// Has a node hint.
    pub(crate) const NODE_HINT: Self = Self(1 << 4);
    /// Has a node hint with this node's name.
    pub(crate) const FOR_NODE: Self = Self(1 << 5);
    /// Has a zone hint.
    pub(crate) const ZONE_HINT: Self = Self(1 << 6);
    /// Has a zone hint with this node's zone.
    pub(crate) const FOR_ZONE: Self = Self(1 << 7);
    /// In clusterEndpoints (SEMANTICS 5.3).
    pub(crate) const IN_CLUSTER: Self = Self(1 << 8);
    /// In localEndpoints (SEMANTICS 5.4).
    pub(crate) const IN_LOCAL: Self = Self(1 << 9);
    /// Its state in the maps, left by an earlier run, is not what the sets ask for.
    pub(crate) const STATE_OFF: Self = Self(1 << 10);

    /// Whether all of `facts` hold.
    pub(crate) const fn has(self, facts: Self) -> bool {
        self.0 & facts.0 == facts.0
    }

    /// These facts and, if `holds`, those.
    pub(crate) const fn with(self, facts: Self, holds: bool) -> Self {
        if holds { Self(self.0 | facts.0) } else { self }
    }

    /// Only those of `facts`.
    pub(crate) const fn only(self, facts: Self) -> Self {
        Self(self.0 & facts.0)
    }

    /// In one of the two sets.
    pub(crate) const fn selected(self) -> bool {
        self.0 & (Self::IN_CLUSTER.0 | Self::IN_LOCAL.0) != 0
    }

    /// The two sets as `BACKEND_STATE` has them.
    pub(crate) const fn sets(self) -> u16 {
        let cluster = if self.has(Self::IN_CLUSTER) {
            backend_sets::CLUSTER
        } else {
            0
        };
        let local = if self.has(Self::IN_LOCAL) {
            backend_sets::LOCAL
        } else {
            0
        };
        cluster | local
    }

    /// Ready, or still serving while it terminates: reason enough not to reject (SEMANTICS 5.5).
    pub(crate) const fn usable(self) -> bool {
        self.has(Self::READY) || self.has(Self(Self::SERVING.0 | Self::TERMINATING.0))
    }
}

/// An endpoint of a `ServicePort`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate<A> {
    pub(crate) addr: A,
    pub(crate) port: Be16,
    pub(crate) facts: Facts,
}

/// The endpoints of port `name`/`proto`, each address and port once, in order (SEMANTICS 1.12, 6.1).
pub(crate) fn merge<'a, A: Family>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    name: &str,
    proto: Proto,
    zone: &str,
) -> Vec<Candidate<A>> {
    let mut merged = Vec::new();
    for slice in slices {
        let endpoints = A::endpoints(&slice.endpoints);
        let first = slice
            .ports
            .partition_point(|port| port.name_and_proto() < (name, proto));
        let ports = slice.ports.get(first..).unwrap_or_default().iter();
        for port in ports.take_while(|port| port.name_and_proto() == (name, proto)) {
            merged.reserve(endpoints.len());
            merged.extend(endpoints.iter().map(|endpoint| {
                let hints = usize::from(endpoint.zones)
                    .checked_sub(1)
                    .and_then(|index| slice.zones.get(index));
                let here = hints.is_some_and(|zones| zones.iter().any(|name| **name == *zone));
                let facts = endpoint
                    .facts
                    .with(Facts::ZONE_HINT, hints.is_some())
                    .with(Facts::FOR_ZONE, here);
                Candidate {
                    addr: endpoint.addr,
                    port: Be16::new(port.port),
                    facts,
                }
            }));
        }
    }
    // Stable: among equals the one that was seen last stays last.
    merged.sort_by_key(|candidate| (candidate.addr, candidate.port));
    merged.dedup_by(|later, kept| {
        let same = (later.addr, later.port) == (kept.addr, kept.port);
        // A running endpoint wins over a terminating one that has its address (SEMANTICS 6.2).
        if same && !later.facts.has(Facts::TERMINATING) {
            kept.facts = later.facts;
        }
        same
    });
    merged
}
