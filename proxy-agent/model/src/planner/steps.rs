//! The steps of one plan, in the order in which [`Planner::plan`] takes them.

use proxy_common::key::FrontendKey;

use crate::claims::Claims;
use crate::family::Family;
use crate::unit::Unit;
use crate::view::FrontendKind;

use super::{
    Applied, BTreeSet, Draft, EntryIndex, Finder, NoRoom, ObjectErrorKind, Planner, PortIndex,
    Recovery, Step, Turns, V4, V6, desired,
};

/// What a port did not find.
#[derive(Debug)]
pub(super) struct Missing {
    room: Vec<NoRoom>,
    tableless: bool,
}

/// The Services whose ports find other things missing than before.
#[derive(Debug, Default)]
pub(super) struct Changed {
    room: BTreeSet<EntryIndex>,
    tables: BTreeSet<EntryIndex>,
}

impl Planner {
    /// Before the first plan: gives ports the ids that their frontends had in an earlier run. Cluster IPs are asked first, they say
    /// best who is who; any other frontend may have a new owner.
    pub(super) fn recover_ids(&mut self, dirty: &BTreeSet<PortIndex>) {
        if self.recovery.services.is_empty() {
            return;
        }
        for cluster_ips in [true, false] {
            for port in dirty {
                let known = self.cluster.port(*port).is_some_and(|port| port.id != 0);
                let Some(id) = self.recovered_id(*port, cluster_ips).filter(|_| !known) else {
                    continue;
                };
                self.recovery.services.remove(&id);
                self.cluster.set_id(*port, id);
                if let Some(unit) = self.recovery.v4.units.remove(&id) {
                    self.v4.attach(*port, unit);
                }
                if let Some(unit) = self.recovery.v6.units.remove(&id) {
                    self.v6.attach(*port, unit);
                }
            }
        }
    }

    fn recovered_id(&self, port: PortIndex, cluster_ips: bool) -> Option<u32> {
        let (_, service, service_port) = self.cluster.live(port)?;
        let mut ids4 = recovered_ids(
            service.frontends(service_port),
            port,
            &self.cluster.claims4,
            &self.v4,
            cluster_ips,
        );
        let mut ids6 = recovered_ids(
            service.frontends(service_port),
            port,
            &self.cluster.claims6,
            &self.v6,
            cluster_ips,
        );
        let waiting = |id: &u32| self.recovery.services.contains(id);
        ids4.find(waiting).or_else(|| ids6.find(waiting))
    }

    /// The id of a port, a new one if it has none; 0 for a port that came and went without a plan.
    pub(super) fn service_id(&mut self, port: PortIndex) -> u32 {
        let known = self.cluster.port(port).map_or(0, |port| port.id);
        if known != 0 || self.cluster.live(port).is_none() {
            return known;
        }
        let id = self.service_ids.alloc();
        self.cluster.set_id(port, id);
        id
    }

    /// Brings a port to what it should be, in both families.
    pub(super) fn update(
        &mut self,
        port: PortIndex,
        id: u32,
        draft4: &mut Draft<V4>,
        draft6: &mut Draft<V6>,
        turns: &mut Turns,
    ) -> Missing {
        let Self {
            cluster,
            v4,
            v6,
            ids,
            tables,
            recovery,
            now_ms,
            ..
        } = self;
        let now_ms = *now_ms;
        let mut tableless = false;
        let mut step = Step {
            now_ms,
            ids,
            tables,
            spare: &mut recovery.v4.spare,
            draft: draft4,
            turns,
            tableless: &mut tableless,
        };
        let wanted = desired(cluster, &cluster.claims4, port);
        let first = v4.update(port, id, &wanted, &mut step);
        let mut step = Step {
            now_ms,
            ids,
            tables,
            spare: &mut recovery.v6.spare,
            draft: draft6,
            turns,
            tableless: &mut tableless,
        };
        let wanted = desired(cluster, &cluster.claims6, port);
        let second = v6.update(port, id, &wanted, &mut step);
        let room = [first, second].into_iter().filter_map(Result::err);
        Missing {
            room: room.collect(),
            tableless,
        }
    }

    /// Remembers what `port` did not find.
    pub(super) fn note(&mut self, port: PortIndex, missing: &Missing, changed: &mut Changed) {
        let Some(entry) = self.cluster.port(port).map(|port| port.entry) else {
            return;
        };
        let before = if missing.room.is_empty() {
            self.starved.remove(&port)
        } else {
            self.starved.insert(port, missing.room.clone())
        };
        if before.unwrap_or_default() != missing.room {
            changed.room.insert(entry);
        }
        let differs = if missing.tableless {
            self.tableless.insert(port)
        } else {
            self.tableless.remove(&port)
        };
        if differs {
            changed.tables.insert(entry);
        }
    }

    /// Records what the ports of these Services wait for.
    pub(super) fn report(&mut self, changed: Changed) {
        let Changed { room, tables } = changed;
        for entry in room {
            let mut problems = Vec::new();
            for (index, port) in self.cluster.ports_of(entry) {
                for NoRoom(map) in self.starved.get(&index).into_iter().flatten() {
                    problems.push(ObjectErrorKind::NoRoom {
                        port: port.name.to_string(),
                        map,
                    });
                }
            }
            self.cluster.report(entry, Finder::Room, problems);
        }
        for entry in tables {
            let ports = self.cluster.ports_of(entry);
            let without = ports.filter(|(index, _)| self.tableless.contains(index));
            let problems = without.map(|(_, port)| ObjectErrorKind::NoTable(port.name.to_string()));
            let problems = problems.collect();
            self.cluster.report(entry, Finder::Tables, problems);
        }
    }

    /// Deletes the frontends that were given up and nobody took.
    pub(super) fn sweep(&mut self, draft4: &mut Draft<V4>, draft6: &mut Draft<V6>) {
        let Self {
            cluster,
            v4,
            v6,
            tables,
            now_ms,
            ..
        } = self;
        let (keys4, keys6) = (
            cluster.claims4.take_released(),
            cluster.claims6.take_released(),
        );
        let cluster = &*cluster;
        let id = |port| cluster.port(port).map(|port| port.id);
        let swept4 = v4.sweep(
            keys4,
            |key| id(cluster.claims4.winner(key)?.port),
            tables,
            *now_ms,
            draft4,
        );
        let swept6 = v6.sweep(
            keys6,
            |key| id(cluster.claims6.winner(key)?.port),
            tables,
            *now_ms,
            draft6,
        );
        self.room = swept4 || swept6;
    }

    /// After the first plan: what nobody took of an earlier run goes.
    pub(super) fn end_recovery(&mut self, turns: &mut Turns) {
        let Recovery {
            v4,
            v6,
            services,
            strays,
        } = std::mem::replace(&mut self.recovery, Recovery::nothing());
        detach(&mut self.v4, v4.units.into_values(), self.now_ms, turns);
        detach(&mut self.v6, v6.units.into_values(), self.now_ms, turns);
        turns.retire.extend(strays);
        turns.retire.extend(v4.spare.ids());
        turns.retire.extend(v6.spare.ids());
        for id in services {
            self.service_ids.release(id);
        }
        self.tables.end_recovery(self.now_ms);
    }
}

fn detach<A: Family>(
    applied: &mut Applied<A>,
    units: impl Iterator<Item = Unit<A>>,
    now_ms: u64,
    turns: &mut Turns,
) {
    units.for_each(|unit| applied.detach(&unit, now_ms, turns));
}

/// The ids that the maps have for the frontends of a port.
fn recovered_ids<A: Family>(
    frontends: impl Iterator<Item = (FrontendKey<A>, FrontendKind)>,
    port: PortIndex,
    claims: &Claims<A>,
    applied: &Applied<A>,
    cluster_ips: bool,
) -> impl Iterator<Item = u32> {
    let frontends =
        frontends.filter(move |(_, kind)| (*kind == FrontendKind::ClusterIp) == cluster_ips);
    frontends.filter_map(move |(key, _)| {
        claims.winner(&key).filter(|winner| winner.port == port)?;
        applied.frontend(&key).map(|frontend| frontend.service)
    })
}
