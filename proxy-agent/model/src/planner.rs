//! The planner: the only door of this crate. Takes changes, keeps errors, makes plans; never performs them.

mod steps;

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::addr::{V4, V6};
use proxy_common::limits;
use proxy_common::value::backend_state;

use crate::applied::{Applied, NoRoom, Step};
use crate::change::Change;
use crate::cluster::{Cluster, EntryIndex, PortIndex};
use crate::desired::desired;
use crate::draft::{Draft, assemble};
use crate::error::{ObjectError, ObjectErrorKind};
use crate::errors::Finder;
use crate::ids::{BackendIds, ServiceIds};
use crate::plan::{Dump, FrontendRef, MapOp};
use crate::policy::Policy;
use crate::recover::{Reader, Recovered, Spare};
use crate::unit::Turns;
use crate::view::{self, ServiceView, Stats};

/// Milliseconds until frontends that the kernel refused are worth another try.
const RETRY_MS: u64 = 1_000;

/// What the planner needs to know of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannerConfig {
    /// The Node object's name; endpoints with this `nodeName` are local.
    pub node_name: String,
    /// Capacity of FRONTENDS, per family.
    pub frontends: u32,
    /// Capacity of BACKENDS, per family, and of `BACKEND_STATE`.
    pub backends: u32,
    /// What the operator chose for all Services.
    pub policy: Policy,
}

impl PlannerConfig {
    /// The default capacities.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            frontends: limits::FRONTENDS,
            backends: limits::BACKENDS,
            policy: Policy::default(),
        }
    }
}

/// Turns cluster objects into map operations.
#[derive(Clone, Debug)]
pub struct Planner {
    cluster: Cluster,
    v4: Applied<V4>,
    v6: Applied<V6>,
    ids: BackendIds,
    service_ids: ServiceIds,
    /// What an earlier run left; until the first plan.
    recovery: Recovery,
    /// Ports that the maps have no room for, and which maps.
    starved: BTreeMap<PortIndex, Vec<NoRoom>>,
    /// The last plan made room that the kernel has by now.
    room: bool,
    now_ms: u64,
}

/// What an earlier run left, and nobody took yet.
#[derive(Clone, Debug)]
struct Recovery {
    v4: Recovered<V4>,
    v6: Recovered<V6>,
    services: BTreeSet<u32>,
    strays: Vec<u32>,
}

impl Recovery {
    const fn nothing() -> Self {
        let v4 = Recovered {
            units: BTreeMap::new(),
            spare: Spare::new(),
        };
        let v6 = Recovered {
            units: BTreeMap::new(),
            spare: Spare::new(),
        };
        Self {
            v4,
            v6,
            services: BTreeSet::new(),
            strays: Vec::new(),
        }
    }
}

impl Planner {
    /// A planner that knows no objects, over empty maps.
    pub fn new(config: PlannerConfig) -> Self {
        let PlannerConfig {
            node_name,
            frontends,
            backends,
            policy: _,
        } = config;
        Self {
            cluster: Cluster::new(&node_name),
            v4: Applied::new(frontends, backends),
            v6: Applied::new(frontends, backends),
            ids: BackendIds::new(backends),
            service_ids: ServiceIds::new(),
            recovery: Recovery::nothing(),
            starved: BTreeMap::new(),
            room: false,
            now_ms: 0,
        }
    }

    /// Takes over the maps of an earlier run; call it once, before the first plan. Ids, slices and generations are kept; what no
    /// object wants is removed by the first plan.
    pub fn recover(&mut self, dump: Dump) {
        let Dump {
            frontends4,
            frontends6,
            backends4,
            backends6,
            states,
            ..
        } = dump;
        let generations4 = backends4.iter().map(|(_, slot)| (slot.id, slot.generation));
        let generations6 = backends6.iter().map(|(_, slot)| (slot.id, slot.generation));
        self.ids
            .recover_generations(generations4.chain(generations6));
        let usable: BTreeMap<_, _> = states
            .into_iter()
            .filter(|(id, _)| self.ids.contains(*id))
            .collect();
        for (id, state) in &usable {
            self.ids.recover(*id, *state);
        }
        let mut taken = BTreeSet::new();
        let v4 = self
            .v4
            .recover(frontends4, Reader::new(backends4, &usable, &mut taken));
        let v6 = self
            .v6
            .recover(frontends6, Reader::new(backends6, &usable, &mut taken));
        let services = v4
            .units
            .keys()
            .chain(v6.units.keys())
            .copied()
            .collect::<BTreeSet<u32>>();
        let services = services
            .into_iter()
            .filter(|id| self.service_ids.recover(*id))
            .collect();
        let strays = usable
            .into_iter()
            .filter(|(id, state)| state.state != backend_state::GONE && !taken.contains(id));
        let strays = strays.map(|(id, _)| id).collect();
        self.recovery = Recovery {
            v4,
            v6,
            services,
            strays,
        };
        self.v4.look_at_all(&mut self.cluster.claims4);
        self.v6.look_at_all(&mut self.cluster.claims6);
    }

    /// Takes one change. Work is proportional to it.
    pub fn apply(&mut self, change: Change) {
        self.cluster.apply(change);
    }

    /// The problems that were not reported yet: each once, until it changes.
    pub fn take_errors(&mut self) -> Vec<ObjectError> {
        self.cluster.errors.take()
    }

    /// What to do so that the maps follow the objects. `now_ms` is any clock that does not go back.
    ///
    /// The planner takes the plan as done; call [`Self::failed`] for what was not, before the next plan.
    pub fn plan(&mut self, now_ms: u64) -> Vec<MapOp> {
        self.now_ms = now_ms;
        let freed = [
            std::mem::take(&mut self.room),
            self.v4.begin(now_ms),
            self.v6.begin(now_ms),
            self.ids.expire(now_ms),
        ];
        if freed.contains(&true) {
            self.starved
                .keys()
                .for_each(|port| self.cluster.mark(*port));
        }
        let (mut draft4, mut draft6, mut turns) =
            (Draft::default(), Draft::default(), Turns::default());
        let (mut room_changed, mut gone) = (BTreeSet::new(), Vec::new());
        let dirty = self.cluster.take_dirty();
        self.recover_ids(&dirty);
        for port in dirty {
            let id = self.service_id(port);
            let missing = self.update(port, id, &mut draft4, &mut draft6, &mut turns);
            self.note_room(port, &missing, &mut room_changed);
            if self.cluster.live(port).is_none() {
                self.cluster.remove_port(port);
                gone.push(id);
            }
        }
        self.end_recovery(&mut turns);
        self.sweep(&mut draft4, &mut draft6);
        self.report_room(room_changed);
        // Only now: an id that changes hands within a plan would make old frontends look like the new owner's.
        for id in gone {
            self.service_ids.release(id);
        }
        turns
            .retire
            .iter()
            .for_each(|id| self.ids.release(*id, now_ms));
        self.cluster.counts.planned();
        assemble(draft4, draft6, &turns, &self.ids)
    }

    /// The frontends that the kernel refused to store or delete: the next plan tries again.
    pub fn failed(&mut self, failed: &[FrontendRef]) {
        for frontend in failed {
            let winner = match frontend {
                FrontendRef::V4(key) => {
                    self.v4.failed(*key, &mut self.cluster.claims4, self.now_ms);
                    self.cluster.claims4.winner(key)
                }
                FrontendRef::V6(key) => {
                    self.v6.failed(*key, &mut self.cluster.claims6, self.now_ms);
                    self.cluster.claims6.winner(key)
                }
            };
            if let Some(winner) = winner {
                self.cluster.mark(winner.port);
            }
        }
    }

    /// When to plan again even without a change: something waits for room that comes back then, or was refused.
    pub fn retry_at(&self) -> Option<u64> {
        let refused = self.v4.refused() > 0 || self.v6.refused() > 0;
        let refused = refused.then(|| self.now_ms.saturating_add(RETRY_MS));
        let room = [
            self.v4.next_due(),
            self.v6.next_due(),
            self.ids.next_due(),
            self.room.then_some(self.now_ms),
        ];
        let room = room
            .into_iter()
            .flatten()
            .min()
            .filter(|_| !self.starved.is_empty());
        refused.into_iter().chain(room).min()
    }

    /// All `ServicePorts`, by Service name.
    pub fn services(&self) -> impl Iterator<Item = ServiceView<'_>> {
        let ports = self.cluster.served().flat_map(|(entry, served)| {
            let ports = served.service.ports.iter().zip(&served.ports);
            ports.map(move |(port, index)| (entry, &served.service, port, *index))
        });
        ports.map(|(entry, service, port, index)| self.view(&entry.name, service, port, index))
    }

    fn view<'a>(
        &'a self,
        full_name: &'a str,
        service: &'a crate::service::Service,
        port: &'a crate::service::ServicePort,
        index: PortIndex,
    ) -> ServiceView<'a> {
        let id = self.cluster.port(index).map_or(0, |port| port.id);
        let (namespace, name) = full_name.split_once('/').unwrap_or(("", full_name));
        let mut frontends = view::frontends(service, port, id, &self.v4);
        frontends.extend(view::frontends(service, port, id, &self.v6));
        let mut backends = view::backends(self.v4.unit(index), &self.ids);
        backends.extend(view::backends(self.v6.unit(index), &self.ids));
        ServiceView {
            id,
            namespace,
            name,
            port_name: &port.name,
            proto: port.proto.0,
            frontends,
            backends,
            affinity_seconds: service.affinity_seconds,
            internal_local: service.internal_local,
            external_local: service.external_local,
            starved: self.starved.contains_key(&index),
        }
    }

    /// The current counts.
    pub fn stats(&self) -> Stats {
        let counts = self.cluster.counts;
        Stats {
            services: counts.services,
            service_ports: self.cluster.port_count(),
            endpoint_slices: self.cluster.slice_count(),
            endpoints: counts.endpoints,
            service_changes_total: counts.service_changes,
            endpoint_changes_total: counts.endpoint_changes,
            service_changes_pending: counts
                .service_changes
                .saturating_sub(counts.planned_service_changes),
            endpoint_changes_pending: counts
                .endpoint_changes
                .saturating_sub(counts.planned_endpoint_changes),
            pending: self.cluster.dirty_count(),
            starved: self.starved.len(),
            refused: self.v4.refused().saturating_add(self.v6.refused()),
            bad_objects: self.cluster.errors.objects(),
            backend_ids: self.ids.used() as usize,
            v4: self.v4.stats(),
            v6: self.v6.stats(),
        }
    }
}
