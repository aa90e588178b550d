//! What one `ServicePort` should look like in the maps of one family: its frontends, its endpoints, its policies.
//!
//! Ids and slots are not known here: they depend on what the maps hold, which is `applied`'s business.

use proxy_common::flags::FrontendFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Frontend, Slice};

use crate::claims::Claims;
use crate::cluster::{Cluster, PortIndex};
use crate::endpoint::{Candidate, merge};
use crate::family::Family;
use crate::topology::{Selected, Wanted, select};
use crate::view::FrontendKind;

/// One `ServicePort` in one family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired<A> {
    pub(crate) frontends: Vec<(FrontendKey<A>, FrontendKind)>,
    /// In order of address and port; also those in neither set.
    pub(crate) candidates: Vec<Candidate<A>>,
    pub(crate) rules: Rules,
    pub(crate) no_local: NoLocal,
}

/// What a frontend's value needs beside its slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    internal_local: bool,
    external_local: bool,
    reject: bool,
    affinity_seconds: u32,
}

/// Policies that find no endpoint on this node, while there are others (SEMANTICS 7.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NoLocal {
    pub(crate) internal: bool,
    pub(crate) external: bool,
}

/// The backend sets of a `ServicePort`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) cluster: Slice,
    pub(crate) local: Slice,
}

/// What `port` should look like; nothing if it has gone, or another Service has all its frontends.
pub(crate) fn desired<A: Family>(
    cluster: &Cluster,
    claims: &Claims<A>,
    index: PortIndex,
) -> Desired<A> {
    let Some((entry, service, port)) = cluster.live(index) else {
        return Desired::default();
    };
    let owned = |key: &FrontendKey<A>, kind| {
        claims
            .winner(key)
            .is_some_and(|won| won.port == index && won.kind == kind)
    };
    let frontends: Vec<_> = service
        .frontends::<A>(port)
        .filter(|(key, kind)| owned(key, *kind))
        .collect();
    if frontends.is_empty() {
        return Desired::default();
    }
    let external = frontends
        .iter()
        .any(|(_, kind)| *kind != FrontendKind::ClusterIp);
    let internal = frontends
        .iter()
        .any(|(_, kind)| *kind == FrontendKind::ClusterIp);
    // SEMANTICS 4.1; but a set that only frontends of another Service would use takes no room.
    let wanted = Wanted {
        cluster: internal && !service.internal_local || external,
        local: internal && service.internal_local || external && service.external_local,
    };
    let slices = entry.slices.iter().map(|(_, known)| &known.slice);
    let mut candidates = merge(slices, &port.name, port.proto, cluster.zone());
    let Selected {
        has_endpoints,
        has_local,
    } = select(&mut candidates, wanted);
    let none_here = has_endpoints && !has_local;
    Desired {
        frontends,
        candidates,
        rules: Rules {
            internal_local: service.internal_local,
            external_local: service.external_local,
            reject: !has_endpoints,
            affinity_seconds: service.affinity_seconds,
        },
        no_local: NoLocal {
            internal: none_here && internal && service.internal_local,
            external: none_here && external && service.external_local,
        },
    }
}

impl Rules {
    /// The value of a frontend (SEMANTICS 4.3, 4.4, 7.1, 7.2). Masquerading is the packet path's business.
    pub(crate) const fn frontend(self, service: u32, kind: FrontendKind, sets: Sets) -> Frontend {
        let Sets { cluster, local } = sets;
        let Self {
            internal_local,
            external_local,
            reject,
            affinity_seconds,
        } = self;
        let (flags, slices) = match kind {
            FrontendKind::ClusterIp if internal_local => (FrontendFlags(0), [local; 3]),
            FrontendKind::ClusterIp => (FrontendFlags(0), [cluster; 3]),
            // Pods and processes of this node are not outside: they reach all endpoints (SEMANTICS 4.4 a, b).
            _ if external_local => (FrontendFlags::EXTERNAL, [cluster, local, cluster]),
            _ => (FrontendFlags::EXTERNAL, [cluster; 3]),
        };
        let flags = if matches!(kind, FrontendKind::NodePort) {
            flags.with(FrontendFlags::NODE_PORT)
        } else {
            flags
        };
        let flags = if reject {
            flags.with(FrontendFlags::REJECT)
        } else {
            flags
        };
        Frontend {
            service,
            flags,
            affinity_seconds,
            ranges: 0,
            slices,
            tables: [0; 2],
        }
    }
}
