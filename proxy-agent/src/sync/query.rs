//! Questions to the sync task. It alone knows the planner, and answers from it directly: nobody keeps a copy of the cluster.

use proxy_model::{Planner, Stats};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::gate::Gate;

/// A question, with the way back.
#[derive(Debug)]
pub enum Query {
    /// The names behind the service ids.
    Services(oneshot::Sender<Vec<ServiceName>>),
    /// How far the sync is.
    Status(oneshot::Sender<SyncStatus>),
}

/// A `ServicePort` by its id in the maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceName {
    /// Service id.
    pub id: u32,
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Port name; may be empty.
    pub port_name: String,
    /// IANA protocol number.
    pub proto: u8,
}

/// How far the sync is.
#[derive(Clone, Debug, Serialize)]
pub struct SyncStatus {
    /// The kernel has held the whole cluster.
    pub synced: bool,
    /// Kinds whose first list is not complete.
    pub waiting_for: Vec<&'static str>,
    /// Services that are ours to serve.
    pub services: usize,
    /// Their ports.
    pub service_ports: usize,
    /// `EndpointSlices` that are ours to read.
    pub endpoint_slices: usize,
    /// Endpoints in them.
    pub endpoints: usize,
    /// Objects with a problem.
    pub bad_objects: usize,
    /// Frontends that the kernel refused and the next plan tries again.
    pub refused: usize,
}

impl Query {
    /// Answers. Whoever asked may be gone by now.
    pub(super) fn answer(self, planner: &Planner, gate: &Gate) {
        match self {
            Self::Services(to) => drop(to.send(names(planner))),
            Self::Status(to) => drop(to.send(status(planner, gate))),
        }
    }
}

fn names(planner: &Planner) -> Vec<ServiceName> {
    let name = |view: proxy_model::ServiceView<'_>| ServiceName {
        id: view.id,
        namespace: view.namespace.to_owned(),
        name: view.name.to_owned(),
        port_name: view.port_name.to_owned(),
        proto: view.proto,
    };
    planner.services().map(name).collect()
}

fn status(planner: &Planner, gate: &Gate) -> SyncStatus {
    let Stats {
        services,
        service_ports,
        endpoint_slices,
        endpoints,
        bad_objects,
        refused,
        ..
    } = planner.stats();
    let waiting_for = gate.waiting().map(proxy_model::Kind::label).collect();
    SyncStatus {
        synced: gate.synced(),
        waiting_for,
        services,
        service_ports,
        endpoint_slices,
        endpoints,
        bad_objects,
        refused,
    }
}
