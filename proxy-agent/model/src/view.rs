//! What the planner shows of itself: for the CLI, metrics and health. Never used for planning.

use std::net::{IpAddr, SocketAddr};

use proxy_common::key::FrontendKey;
use proxy_common::value::backend_state;

use crate::applied::Applied;
use crate::endpoint::Facts;
use crate::family::Family;
use crate::ids::BackendIds;
use crate::service::{Service, ServicePort};
use crate::unit::Unit;

/// One `ServicePort` and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView<'a> {
    /// Service id; 0 before it was planned for the first time.
    pub id: u32,
    /// Namespace of the Service.
    pub namespace: &'a str,
    /// Name of the Service.
    pub name: &'a str,
    /// Port name; may be empty.
    pub port_name: &'a str,
    /// IANA protocol number.
    pub proto: u8,
    /// Frontends that the Service asks for, in both families.
    pub frontends: Vec<FrontendView>,
    /// Backends that have an id, in both families.
    pub backends: Vec<BackendView>,
    /// sessionAffinity timeout; 0 is none.
    pub affinity_seconds: u32,
    /// internalTrafficPolicy is Local.
    pub internal_local: bool,
    /// externalTrafficPolicy is Local.
    pub external_local: bool,
    /// Waits for room in a full map; the maps hold an older state.
    pub starved: bool,
}

/// Where a frontend comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `spec.ports[].nodePort`.
    NodePort,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `status.loadBalancer.ingress[].ip`.
    LoadBalancer,
}

impl FrontendKind {
    /// The kind as Kubernetes writes it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::ExternalIp => "ExternalIP",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// A frontend of a `ServicePort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrontendView {
    /// The address; unspecified for a `NodePort`.
    pub addr: IpAddr,
    /// Service port, or node port.
    pub port: u16,
    /// Where it comes from.
    pub kind: FrontendKind,
    /// Whether the plans put it into the maps. It is not if another Service has it, or a map is full.
    pub served: bool,
}

/// A backend of a `ServicePort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendView {
    /// Address and port.
    pub addr: SocketAddr,
    /// Backend id.
    pub id: u32,
    /// Generation of the id.
    pub generation: u32,
    /// Runs on this node.
    pub local: bool,
    /// One of [`proxy_common::value::backend_state`].
    pub state: u16,
}

/// Counts of the planner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Services that are ours to serve.
    pub services: usize,
    /// Their ports.
    pub service_ports: usize,
    /// `EndpointSlices` that are ours to read.
    pub endpoint_slices: usize,
    /// Endpoints in them.
    pub endpoints: usize,
    /// Service changes so far (kube-proxy's `sync_proxy_rules_service_changes_total`).
    pub service_changes_total: u64,
    /// `EndpointSlice` changes so far (kube-proxy's `sync_proxy_rules_endpoint_changes_total`).
    pub endpoint_changes_total: u64,
    /// Service changes since the last plan.
    pub service_changes_pending: u64,
    /// `EndpointSlice` changes since the last plan.
    pub endpoint_changes_pending: u64,
    /// `ServicePorts` whose next plan has something to look at.
    pub pending: usize,
    /// `ServicePorts` that wait for room in a full map.
    pub starved: usize,
    /// Frontends that the kernel refused and the next plan tries again.
    pub refused: usize,
    /// Objects with a problem.
    pub bad_objects: usize,
    /// Backend ids in use.
    pub backend_ids: usize,
    /// IPv4.
    pub v4: FamilyStats,
    /// IPv6.
    pub v6: FamilyStats,
}

/// Counts of one address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyStats {
    /// Elements in FRONTENDS.
    pub frontends: usize,
    /// Slots of BACKENDS that are named by a frontend, or wait for their grace period.
    pub slots: usize,
    /// Backends that get new connections.
    pub backends: usize,
    /// Backends that only keep their UDP flows.
    pub draining: usize,
    /// `ServicePorts` with endpoints, but none on this node, under internalTrafficPolicy Local (SEMANTICS 7.7).
    pub no_local_internal: usize,
    /// `ServicePorts` with endpoints, but none on this node, under externalTrafficPolicy Local (SEMANTICS 7.7).
    pub no_local_external: usize,
}

/// The frontends of a port in family `A`.
pub(crate) fn frontends<A: Family>(
    service: &Service,
    port: &ServicePort,
    id: u32,
    applied: &Applied<A>,
) -> Vec<FrontendView> {
    let view = |(key, kind): (FrontendKey<A>, FrontendKind)| FrontendView {
        addr: key.addr.ip(),
        port: key.port.get(),
        kind,
        served: id != 0
            && applied
                .frontend(&key)
                .is_some_and(|frontend| frontend.service == id),
    };
    service.frontends::<A>(port).map(view).collect()
}

/// The backends of a port in family `A`.
pub(crate) fn backends<A: Family>(unit: Option<&Unit<A>>, ids: &BackendIds) -> Vec<BackendView> {
    let held = unit.into_iter().flat_map(|unit| &unit.held);
    held.map(|held| BackendView {
        addr: SocketAddr::new(held.addr.ip(), held.port.get()),
        id: held.id,
        generation: ids.generation(held.id),
        local: held.facts.has(Facts::LOCAL),
        state: if held.facts.selected() {
            backend_state::ACTIVE
        } else {
            backend_state::DRAINING
        },
    })
    .collect()
}

/// Keeps the counts of a family when a unit changes.
pub(crate) fn count<A: Family>(stats: &mut FamilyStats, old: &Unit<A>, new: &Unit<A>) {
    for (unit, is_new) in [(old, false), (new, true)] {
        let selected = unit
            .held
            .iter()
            .filter(|held| held.facts.selected())
            .count();
        let draining = unit.held.len().saturating_sub(selected);
        let counts = [
            (&mut stats.backends, selected),
            (&mut stats.draining, draining),
            (
                &mut stats.no_local_internal,
                usize::from(unit.no_local.internal),
            ),
            (
                &mut stats.no_local_external,
                usize::from(unit.no_local.external),
            ),
        ];
        for (count, number) in counts {
            *count = if is_new {
                count.saturating_add(number)
            } else {
                count.saturating_sub(number)
            };
        }
    }
}
