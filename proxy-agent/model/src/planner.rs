//! The planner: the only door of this crate. Takes changes, keeps errors, makes plans; never performs them.

mod shown;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proxy_common::addr::{V4, V6};
use proxy_common::limits;
use proxy_common::value::backend_state;

use crate::applied::{Applied, NoRoom, Step};
use crate::change::Change;
use crate::cluster::{Cluster, EntryIndex, HealthCheck, PortIndex, Trigger};
use crate::desired::desired;
use crate::draft::{Draft, assemble};
use crate::error::{ObjectError, ObjectErrorKind};
use crate::errors::Finder;
use crate::ids::{BackendIds, LateIds};
use crate::plan::{Dump, FrontendRef, MapOp};
use crate::policy::Policy;
use crate::recover::{Reader, Recovered, Spare};
use crate::tables::{Placed, Table, TableJob, Tables};
use crate::unit::Turns;
use steps::Changed;

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
    service_ids: LateIds,
    tables: Tables,
    /// What an earlier run left; until the first plan.
    recovery: Recovery,
    /// Ports that the maps have no room for, and which maps.
    starved: BTreeMap<PortIndex, Vec<NoRoom>>,
    /// Ports that have to do without a Maglev table.
    tableless: BTreeSet<PortIndex>,
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
            policy,
        } = config;
        let profile = policy.profile;
        Self {
            cluster: Cluster::new(&node_name, policy),
            v4: Applied::new(frontends, backends, profile),
            v6: Applied::new(frontends, backends, profile),
            ids: BackendIds::new(backends),
            service_ids: LateIds::new(),
            tables: Tables::new(),
            recovery: Recovery::nothing(),
            starved: BTreeMap::new(),
            tableless: BTreeSet::new(),
            room: false,
            now_ms: 0,
        }
    }

    /// The maps have these capacities, not those that were expected; call it before [`Self::recover`] and the first plan.
    pub fn room(&mut self, frontends: u32, backends: u32) {
        let profile = self.cluster.policy.profile;
        self.v4 = Applied::new(frontends, backends, profile);
        self.v6 = Applied::new(frontends, backends, profile);
        self.ids = BackendIds::new(backends);
    }

    /// Takes over the maps of an earlier run; call it once, before the first plan. Objects may be known already. Ids, slices and generations are kept; what no
    /// object wants is removed by the first plan.
    pub fn recover(&mut self, dump: Dump) {
        let Dump {
            frontends4,
            frontends6,
            backends4,
            backends6,
            states,
            addrs4,
            addrs6,
            ranges4,
            ranges6,
            tables,
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
        self.v4.recover_addrs(addrs4, ranges4);
        self.v6.recover_addrs(addrs6, ranges6);
        let tables4 = self.v4.recovered_tables();
        self.tables
            .recover(tables, tables4.chain(self.v6.recovered_tables()));
        self.v4.adopt_tables(&v4.units, &mut self.tables);
        self.v6.adopt_tables(&v6.units, &mut self.tables);
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

    /// When the changes of endpoints began that plans were made of since the last call (SEMANTICS 6.4). Of those that began before
    /// the agent did, it cannot say how long they took.
    pub fn take_triggers(&mut self) -> Vec<Trigger> {
        self.cluster.take_triggers()
    }

    /// The health checks of Services, as of the last plan (SEMANTICS 11.1).
    pub fn health_checks(&self) -> impl Iterator<Item = &HealthCheck> {
        self.cluster.health_checks()
    }

    /// What to do so that the maps follow the objects. `now_ms` is any clock that does not go back.
    ///
    /// The planner takes the plan as done; call [`Self::failed`] for what was not, before the next plan.
    pub fn plan(&mut self, now_ms: u64) -> Vec<MapOp> {
        self.now_ms = now_ms;
        let (mut draft4, mut draft6, mut turns) =
            (Draft::default(), Draft::default(), Turns::default());
        let freed = [
            std::mem::take(&mut self.room),
            self.v4.begin(now_ms, &mut draft4),
            self.v6.begin(now_ms, &mut draft6),
            self.ids.expire(now_ms),
        ];
        if freed.contains(&true) {
            self.starved
                .keys()
                .for_each(|port| self.cluster.mark(*port));
        }
        let Placed { writes, users } = self.tables.place(now_ms);
        for port in users {
            self.cluster.mark(port);
        }
        let (mut changed, mut gone) = (Changed::default(), Vec::new());
        let dirty = self.cluster.take_dirty();
        self.recover_ids(&dirty);
        for port in dirty {
            let id = self.service_id(port);
            let missing = self.update(port, id, &mut draft4, &mut draft6, &mut turns);
            self.note(port, &missing, &mut changed);
            if self.cluster.live(port).is_none() {
                self.cluster.remove_port(port);
                gone.push(id);
            }
        }
        self.end_recovery(&mut turns);
        self.sweep(&mut draft4, &mut draft6);
        self.v4.end(self.cluster.cidrs(), &mut draft4);
        self.v6.end(self.cluster.cidrs(), &mut draft6);
        self.report(changed);
        // Only now: an id that changes hands within a plan would make old frontends look like the new owner's.
        for id in gone {
            self.service_ids.release(id);
        }
        turns
            .retire
            .iter()
            .for_each(|id| self.ids.release(*id, now_ms));
        self.cluster.planned();
        assemble(draft4, draft6, writes, &turns, &self.ids)
    }

    /// The frontends that the kernel refused to store or delete: the next plan tries again.
    pub fn failed(&mut self, failed: &[FrontendRef]) {
        for frontend in failed {
            let winner = match frontend {
                FrontendRef::V4(key) => {
                    self.v4.failed(
                        *key,
                        &mut self.cluster.claims4,
                        &mut self.tables,
                        self.now_ms,
                    );
                    self.cluster.claims4.winner(key)
                }
                FrontendRef::V6(key) => {
                    self.v6.failed(
                        *key,
                        &mut self.cluster.claims6,
                        &mut self.tables,
                        self.now_ms,
                    );
                    self.cluster.claims6.winner(key)
                }
            };
            if let Some(winner) = winner {
                self.cluster.mark(winner.port);
            }
        }
    }

    /// The addresses that ADDRS could not be told about: the next plan tries again.
    pub fn failed_addrs(&mut self, failed: &[IpAddr]) {
        for ip in failed {
            match *ip {
                IpAddr::V4(ip) => self.v4.failed_addr(ip.into()),
                IpAddr::V6(ip) => self.v6.failed_addr(ip.into()),
            }
        }
    }

    /// The Maglev tables to build that were not handed out yet. Build them where time does not matter, give them to
    /// [`Self::table_done`], and plan again; until then clients are sent to backends by a hash.
    pub fn table_jobs(&mut self) -> Vec<TableJob> {
        self.tables.take_jobs()
    }

    /// Takes a table; the next plan writes it, if somebody still wants it.
    pub fn table_done(&mut self, table: Table) {
        self.tables.done(table);
    }

    /// When to plan again even without a change: something is to be removed, waits for room that comes back then, or was refused.
    pub fn retry_at(&self) -> Option<u64> {
        let refused = self.v4.refused() > 0 || self.v6.refused() > 0;
        let refused = refused || self.v4.addrs_due() || self.v6.addrs_due();
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
        let others = [
            refused,
            room,
            self.v4.ranges_due(),
            self.v6.ranges_due(),
            self.tables.next_due(),
            self.tables.is_due().then_some(self.now_ms),
        ];
        others.into_iter().flatten().min()
    }
}
