//! A planner whose plans are performed in memory, one step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::sample::Index;
use proxy_common::flags::{AddrFlags, FrontendFlags};
use proxy_common::value::{Frontend, backend_state};
use proxy_model::{
    Change, Kind, MapOp, MemoryMaps, Object, ObjectErrorKind, ObjectRef, Planner, PlannerConfig,
    Policy, ServiceView, raw,
};

use crate::words::NODE;

/// Service name, port name, protocol.
pub(crate) type ServicePort = (String, String, u8);

fn port_of(view: &ServiceView<'_>) -> ServicePort {
    (view.name.to_owned(), view.port_name.to_owned(), view.proto)
}

/// A planner, the maps its plans were performed on, and a clock.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) planner: Planner,
    pub(crate) maps: MemoryMaps,
    pub(crate) now_ms: u64,
    pub(crate) policy: Policy,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with_room(1_000, 1_000)
    }

    pub(crate) fn with_room(frontends: u32, backends: u32) -> Self {
        Self::with(frontends, backends, Policy::default())
    }

    pub(crate) fn with_policy(policy: Policy) -> Self {
        Self::with(1_000, 1_000, policy)
    }

    pub(crate) fn with(frontends: u32, backends: u32, policy: Policy) -> Self {
        let planner = Planner::new(PlannerConfig {
            node_name: NODE.to_owned(),
            frontends,
            backends,
            policy: policy.clone(),
        });
        Self {
            planner,
            maps: MemoryMaps::default(),
            now_ms: 0,
            policy,
        }
    }

    /// A new agent over the same maps.
    pub(crate) fn restarted(&self) -> Self {
        self.restarted_knowing(|_| {})
    }

    /// The same, which is told of the cluster before it knows the maps.
    pub(crate) fn restarted_knowing(&self, tell: impl FnOnce(&mut Self)) -> Self {
        let mut rig = Self {
            maps: self.maps.clone(),
            ..Self::with(1, 1, self.policy.clone())
        };
        tell(&mut rig);
        rig.planner.room(1_000, 1_000);
        rig.planner.recover(self.maps.dump());
        rig
    }

    pub(crate) fn service(&mut self, service: raw::Service) -> &mut Self {
        self.planner.apply(Change::Upsert(Object::Service(service)));
        self
    }

    pub(crate) fn slice(&mut self, slice: raw::EndpointSlice) -> &mut Self {
        self.planner
            .apply(Change::Upsert(Object::EndpointSlice(slice)));
        self
    }

    pub(crate) fn zone(&mut self, zone: &str) -> &mut Self {
        self.node(zone, "")
    }

    /// Our node, with its internal addresses and pod ranges in words.
    pub(crate) fn node(&mut self, zone: &str, words: &str) -> &mut Self {
        let node = crate::words::node(zone, words);
        self.planner.apply(Change::Upsert(Object::Node(node)));
        self
    }

    pub(crate) fn service_cidr(&mut self, name: &str, cidrs: &str) -> &mut Self {
        let mut cidr = raw::ServiceCidr::default();
        name.clone_into(&mut cidr.metadata.name);
        cidr.spec.cidrs = cidrs.split_whitespace().map(str::to_owned).collect();
        self.planner
            .apply(Change::Upsert(Object::ServiceCidr(cidr)));
        self
    }

    /// Builds the Maglev tables that are asked for, as the agent does meanwhile.
    pub(crate) fn build_tables(&mut self) -> usize {
        let jobs = self.planner.table_jobs();
        let count = jobs.len();
        for job in jobs {
            self.planner.table_done(job.build());
        }
        count
    }

    pub(crate) fn delete(&mut self, kind: Kind, name: &str) -> &mut Self {
        let object = ObjectRef {
            kind,
            namespace: "default".to_owned(),
            name: name.to_owned(),
        };
        self.planner.apply(Change::Delete(object));
        self
    }

    /// Plans, and performs the plan step by step; the maps must be sound after each one.
    pub(crate) fn settle(&mut self) -> Vec<MapOp> {
        let ops = self.planner.plan(self.now_ms);
        for op in ops.iter().flat_map(single_steps) {
            self.check_ranges_are_new(&op);
            self.maps.apply_one(&op);
            if let Err(error) = self.maps.check() {
                panic!("after {op:?} of {ops:#?}: {error}");
            }
        }
        ops
    }

    /// Plans, and performs the plan at once: for maps that are too large to be checked after each step.
    pub(crate) fn settle_at_once(&mut self, later_ms: u64) {
        self.now_ms += later_ms;
        let ops = self.planner.plan(self.now_ms);
        self.maps.apply(&ops);
    }

    /// A set of source ranges is written before anyone names it.
    fn check_ranges_are_new(&self, op: &MapOp) {
        let (frontends, set): (Vec<&Frontend>, u32) = match op {
            MapOp::AddRanges4 { set, .. } => (self.maps.frontends4.values().collect(), *set),
            MapOp::AddRanges6 { set, .. } => (self.maps.frontends6.values().collect(), *set),
            _ => return,
        };
        let names = |frontend: &&Frontend| {
            frontend.flags.has(FrontendFlags::RANGES) && frontend.ranges == set
        };
        assert_eq!(frontends.into_iter().find(names), None, "{op:?}");
    }

    /// The first plan after a restart, without CIDRS: these are always written, since nobody reads them back.
    pub(crate) fn settle_again(&mut self) -> Vec<MapOp> {
        let mut ops = self.settle();
        let cidrs = |op: &MapOp| matches!(op, MapOp::SetCidrs4 { .. } | MapOp::SetCidrs6 { .. });
        let before = ops.len();
        ops.retain(|op| !cidrs(op));
        assert_eq!(before - ops.len(), 2);
        ops
    }

    /// Lets all grace periods end, then plans.
    pub(crate) fn settle_later(&mut self) -> Vec<MapOp> {
        self.now_ms += 1_000;
        self.settle()
    }

    /// Damages one entry of the IPv4 maps, or a Maglev table.
    pub(crate) fn damage(&mut self, at: Index, what: u8, number: u32) {
        let MemoryMaps {
            frontends4,
            backends4,
            states,
            addrs4,
            ranges4,
            tables,
            ..
        } = &mut self.maps;
        match what {
            0..=2 | 6 | 9 if !frontends4.is_empty() => {
                let place = at.index(frontends4.len());
                let frontend = frontends4.values_mut().nth(place).unwrap();
                match what {
                    0 => frontend.service = number,
                    1 => frontend.slices[number as usize % 3].offset = number,
                    6 => {
                        frontend.flags = FrontendFlags(number << 3);
                        frontend.ranges = number;
                    }
                    9 => frontend.tables[number as usize % 2] = number / 2 * 64,
                    _ => frontend.slices[number as usize % 3].count = number,
                }
            }
            3 => drop(backends4.remove(&number)),
            4 if !backends4.is_empty() => {
                let place = at.index(backends4.len());
                let backend = backends4.values_mut().nth(place).unwrap();
                if number.is_multiple_of(2) {
                    backend.id = number;
                } else {
                    backend.generation = number;
                }
            }
            5 if !states.is_empty() => {
                let place = at.index(states.len());
                let state = states.values_mut().nth(place).unwrap();
                if number.is_multiple_of(2) {
                    let [_, _, high, low] = number.to_be_bytes();
                    state.state = u16::from_be_bytes([high, low]);
                } else {
                    state.generation = number;
                }
            }
            7 if !ranges4.is_empty() => {
                let element = *ranges4.iter().nth(at.index(ranges4.len())).unwrap();
                ranges4.remove(&element);
                ranges4.insert((number, element.1, element.2));
            }
            8 if !addrs4.is_empty() => {
                let place = at.index(addrs4.len());
                *addrs4.values_mut().nth(place).unwrap() = AddrFlags((number % 7 + 1) << 2);
            }
            10 if !tables.is_empty() => {
                let place = at.index(tables.len());
                let table = tables.values_mut().nth(place).unwrap();
                let mut entries = table.to_vec();
                match number % 3 {
                    // Each index stays within the set, and all members have their shares.
                    0 => entries.reverse(),
                    1 => entries.truncate(16 * number as usize),
                    _ => entries
                        .iter_mut()
                        .skip(number as usize)
                        .for_each(|entry| *entry = 0),
                }
                *table = entries.into();
            }
            11 => drop(tables.remove(&(1 + number / 10 * 257))),
            _ => {}
        }
    }

    /// What the Maglev tables hold that IPv4 frontends name.
    pub(crate) fn named_tables(&self) -> Vec<[Option<&[u16]>; 2]> {
        let entries = |at: u32| self.maps.tables.get(&at).map(AsRef::as_ref);
        let frontends = self.maps.frontends4.values();
        frontends
            .map(|frontend| frontend.tables.map(entries))
            .collect()
    }

    /// The kinds of the new errors.
    pub(crate) fn errors(&mut self) -> Vec<(String, ObjectErrorKind)> {
        self.planner
            .take_errors()
            .into_iter()
            .map(|error| (error.object.name, error.kind))
            .collect()
    }

    /// Their labels.
    pub(crate) fn error_labels(&mut self) -> Vec<&'static str> {
        let errors = self.planner.take_errors();
        errors.iter().map(|error| error.kind.label()).collect()
    }

    /// Backend ids by service and address.
    pub(crate) fn backend_ids(&self) -> BTreeMap<(String, String, SocketAddr), (u32, u32)> {
        let views = self.planner.services().flat_map(|view| {
            let name = (
                view.name.to_owned(),
                format!("{}/{}", view.port_name, view.proto),
            );
            view.backends.into_iter().map(move |backend| {
                (
                    (name.0.clone(), name.1.clone(), backend.addr),
                    (backend.id, backend.generation),
                )
            })
        });
        views.collect()
    }

    /// Those of them that get new connections.
    pub(crate) fn active_ids(&self) -> BTreeMap<(String, String, SocketAddr), (u32, u32)> {
        let mut ids = self.backend_ids();
        ids.retain(|_, (id, _)| {
            self.maps
                .states
                .get(id)
                .is_some_and(|state| state.state == backend_state::ACTIVE)
        });
        ids
    }

    /// Service ids of ports that have a frontend in the maps.
    pub(crate) fn served_ids(&self) -> BTreeSet<(ServicePort, u32)> {
        let views = self
            .planner
            .services()
            .filter(|view| view.frontends.iter().any(|frontend| frontend.served));
        views.map(|view| (port_of(&view), view.id)).collect()
    }

    /// Service ids of ports that have all their frontends in the maps.
    pub(crate) fn wholly_served_ids(&self) -> BTreeSet<(ServicePort, u32)> {
        let views = self
            .planner
            .services()
            .filter(|view| view.frontends.iter().all(|frontend| frontend.served));
        views.map(|view| (port_of(&view), view.id)).collect()
    }

    /// Service ids by service and port.
    pub(crate) fn service_ids(&self) -> BTreeMap<ServicePort, u32> {
        self.planner
            .services()
            .map(|view| (port_of(&view), view.id))
            .collect()
    }
}

/// The steps of an operation that the kernel does one by one.
pub(crate) fn single_steps(op: &MapOp) -> Vec<MapOp> {
    match op {
        MapOp::WriteBackends4 { offset, backends } => (*offset..)
            .zip(backends)
            .map(|(offset, backend)| MapOp::WriteBackends4 {
                offset,
                backends: vec![*backend],
            })
            .collect(),
        MapOp::WriteBackends6 { offset, backends } => (*offset..)
            .zip(backends)
            .map(|(offset, backend)| MapOp::WriteBackends6 {
                offset,
                backends: vec![*backend],
            })
            .collect(),
        MapOp::UpsertFrontends4(items) => items
            .iter()
            .map(|item| MapOp::UpsertFrontends4(vec![*item]))
            .collect(),
        MapOp::UpsertFrontends6(items) => items
            .iter()
            .map(|item| MapOp::UpsertFrontends6(vec![*item]))
            .collect(),
        MapOp::DeleteFrontends4(keys) => keys
            .iter()
            .map(|key| MapOp::DeleteFrontends4(vec![*key]))
            .collect(),
        MapOp::DeleteFrontends6(keys) => keys
            .iter()
            .map(|key| MapOp::DeleteFrontends6(vec![*key]))
            .collect(),
        MapOp::SetAddrs4(items) => items
            .iter()
            .map(|item| MapOp::SetAddrs4(vec![*item]))
            .collect(),
        MapOp::SetAddrs6(items) => items
            .iter()
            .map(|item| MapOp::SetAddrs6(vec![*item]))
            .collect(),
        MapOp::WriteStates(states) => states
            .iter()
            .map(|state| MapOp::WriteStates(vec![*state]))
            .collect(),
        MapOp::AddRanges4 { .. }
        | MapOp::AddRanges6 { .. }
        | MapOp::RemoveRanges4 { .. }
        | MapOp::RemoveRanges6 { .. }
        | MapOp::WriteTable { .. }
        | MapOp::SetCidrs4 { .. }
        | MapOp::SetCidrs6 { .. } => vec![op.clone()],
    }
}
