//! What one `ServicePort` should look like in the maps of one family: its frontends, its endpoints, its policies.
//!
//! Ids and slots are not known here: they depend on what the maps hold, which is `applied`'s business.

use proxy_common::key::FrontendKey;
use proxy_common::value::Slice;

use crate::claims::Claims;
use crate::cluster::{Cluster, PortIndex};
use crate::endpoint::{Candidate, merge};
use crate::family::{Family, Range, is_of};
use crate::policy::Profile;
use crate::rules::{Masquerade, Rules, admitted};
use crate::topology::{Selected, Wanted, select};
use crate::view::FrontendKind;

/// One `ServicePort` in one family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired<A> {
    pub(crate) frontends: Vec<Wish<A>>,
    /// In order of address and port; also those in neither set.
    pub(crate) candidates: Vec<Candidate<A>>,
    pub(crate) rules: Rules,
    /// Who may connect to the load balancer's addresses; `None` is everybody.
    pub(crate) ranges: Option<Vec<Range<A>>>,
    pub(crate) no_local: NoLocal,
}

/// A frontend that the port has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<A> {
    pub(crate) key: FrontendKey<A>,
    pub(crate) kind: FrontendKind,
    /// Source ranges hold for it.
    pub(crate) ranged: bool,
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
    let ranged = service.source_ranges.iter().any(|(ip, _)| is_of::<A>(*ip));
    let frontends: Vec<_> = service
        .frontends::<A>(port)
        .filter(|(key, kind)| owned(key, *kind))
        .map(|(key, kind)| Wish {
            key,
            kind,
            ranged: ranged && service.is_load_balancer_ip(key.addr.ip()),
        })
        .collect();
    if frontends.is_empty() {
        return Desired::default();
    }
    let external = frontends
        .iter()
        .any(|wish| wish.kind != FrontendKind::ClusterIp);
    let internal = frontends
        .iter()
        .any(|wish| wish.kind == FrontendKind::ClusterIp);
    // SEMANTICS 4.1; but a set that only frontends of another Service would use takes no room.
    let wanted = Wanted {
        cluster: internal && !service.internal_local || external,
        local: internal && service.internal_local || external && service.external_local,
    };
    let slices = entry.slices.iter().map(|(_, known)| &known.slice);
    let mut candidates = merge(slices, &port.name, port.proto, &cluster.node.zone);
    let Selected {
        has_endpoints,
        has_local,
    } = select(&mut candidates, wanted);
    let none_here = has_endpoints && !has_local;
    // SEMANTICS 4.7: iptables mode has no firewall for what is rejected anyway.
    let firewall = has_endpoints || cluster.policy.profile == Profile::Nftables;
    let admitted = (firewall && frontends.iter().any(|wish| wish.ranged))
        .then(|| admitted(service, cluster.node.primary(&cluster.policy)));
    Desired {
        frontends,
        candidates,
        rules: Rules {
            internal_local: service.internal_local,
            external_local: service.external_local,
            reject: !has_endpoints,
            everywhere: !has_endpoints && cluster.policy.profile == Profile::Iptables,
            affinity_seconds: service.affinity_seconds,
            host_denied: admitted.as_ref().is_some_and(|admitted| !admitted.node),
            algorithm: service.algorithm.unwrap_or(cluster.policy.algorithm),
            masquerade: Masquerade::new(
                &cluster.policy,
                cluster.node.detects::<A>(&cluster.policy),
            ),
        },
        ranges: admitted.map(|admitted| admitted.ranges),
        no_local: NoLocal {
            internal: none_here && internal && service.internal_local,
            external: none_here && external && service.external_local,
        },
    }
}
