//! A planner whose plans are performed in memory, one step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use proptest::sample::Index;
use proxy_common::addr::{Addr, V4, V6, proto};
use proxy_common::be::Be16;
use proxy_common::flags::FrontendFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, Class, Frontend, backend_state};
use proxy_model::{
    Change, Kind, MapOp, MemoryMaps, Object, ObjectErrorKind, ObjectRef, Planner, PlannerConfig,
    ServiceView, dump, raw,
};

use crate::oracle::Outcomes;
use crate::words::NODE;

/// What the slots hold that frontends name, by family.
pub(crate) type NamedContents = (Vec<Option<Backend<V4>>>, Vec<Option<Backend<V6>>>);

/// Service name, port name, protocol.
pub(crate) type ServicePort = (String, String, u8);

fn port_of(view: &ServiceView<'_>) -> ServicePort {
    (view.name.to_owned(), view.port_name.to_owned(), view.proto)
}

const CLASSES: [Class; 3] = [Class::Inside, Class::Outside, Class::Host];

/// A planner, the maps its plans were performed on, and a clock.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) planner: Planner,
    pub(crate) maps: MemoryMaps,
    pub(crate) now_ms: u64,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with_room(1_000, 1_000)
    }

    pub(crate) fn with_room(frontends: u32, backends: u32) -> Self {
        let planner = Planner::new(PlannerConfig {
            node_name: NODE.to_owned(),
            frontends,
            backends,
        });
        Self {
            planner,
            maps: MemoryMaps::default(),
            now_ms: 0,
        }
    }

    /// A new agent over the same maps.
    pub(crate) fn restarted(&self) -> Self {
        let mut rig = Self {
            maps: self.maps.clone(),
            ..Self::new()
        };
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
        let mut node = raw::Node::default();
        NODE.clone_into(&mut node.metadata.name);
        node.metadata
            .labels
            .insert("topology.kubernetes.io/zone".to_owned(), zone.to_owned());
        self.planner.apply(Change::Upsert(Object::Node(node)));
        self
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
            self.maps.apply_one(&op);
            if let Err(error) = self.maps.check() {
                panic!("after {op:?} of {ops:#?}: {error}");
            }
        }
        ops
    }

    /// Lets all grace periods end, then plans.
    pub(crate) fn settle_later(&mut self) -> Vec<MapOp> {
        self.now_ms += 1_000;
        self.settle()
    }

    /// What becomes of a new connection: `none` (no frontend), `reject`, `drop`, or the backends.
    pub(crate) fn outcome(&self, frontend: &str, class: Class) -> String {
        let (addr, port_and_proto) = frontend.rsplit_once(':').unwrap();
        let (port, protocol) = port_and_proto
            .split_once('/')
            .unwrap_or((port_and_proto, "TCP"));
        let (port, proto) = (Be16::new(port.parse().unwrap()), proto_number(protocol));
        match addr {
            "*" => outcome(
                &FrontendKey::new(V4::unspecified(), port, proto),
                class,
                &self.maps.frontends4,
                &self.maps.backends4,
            ),
            "[*]" => outcome(
                &FrontendKey::new(V6::unspecified(), port, proto),
                class,
                &self.maps.frontends6,
                &self.maps.backends6,
            ),
            _ => match addr.trim_matches(['[', ']']).parse().unwrap() {
                IpAddr::V4(ip) => outcome(
                    &FrontendKey::new(ip.into(), port, proto),
                    class,
                    &self.maps.frontends4,
                    &self.maps.backends4,
                ),
                IpAddr::V6(ip) => outcome(
                    &FrontendKey::new(ip.into(), port, proto),
                    class,
                    &self.maps.frontends6,
                    &self.maps.backends6,
                ),
            },
        }
    }

    /// Damages one entry of the IPv4 maps.
    pub(crate) fn damage(&mut self, at: Index, what: u8, number: u32) {
        let MemoryMaps {
            frontends4,
            backends4,
            states,
            ..
        } = &mut self.maps;
        match what {
            0..=2 if !frontends4.is_empty() => {
                let place = at.index(frontends4.len());
                let frontend = frontends4.values_mut().nth(place).unwrap();
                match what {
                    0 => frontend.service = number,
                    1 => frontend.slices[number as usize % 3].offset = number,
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
                    state.state = number;
                } else {
                    state.generation = number;
                }
            }
            _ => {}
        }
    }

    /// All outcomes, by frontend.
    pub(crate) fn outcomes(&self) -> Outcomes {
        let MemoryMaps {
            frontends4,
            frontends6,
            backends4,
            backends6,
            ..
        } = &self.maps;
        let mut outcomes = Outcomes::new();
        for key in frontends4.keys() {
            outcomes.insert(
                dump::frontend(key),
                CLASSES.map(|class| outcome(key, class, frontends4, backends4)),
            );
        }
        for key in frontends6.keys() {
            outcomes.insert(
                dump::frontend(key),
                CLASSES.map(|class| outcome(key, class, frontends6, backends6)),
            );
        }
        outcomes
    }

    /// How many slots of `BACKENDS_V4` frontends name.
    pub(crate) fn named_slots4(&self) -> usize {
        named_slots(&self.maps.frontends4).len()
    }

    /// How many slots of `BACKENDS_V6` frontends name.
    pub(crate) fn named_slots6(&self) -> usize {
        named_slots(&self.maps.frontends6).len()
    }

    /// What the slots hold that frontends name.
    pub(crate) fn named_contents(&self) -> NamedContents {
        let v4 = named_slots(&self.maps.frontends4);
        let v6 = named_slots(&self.maps.frontends6);
        (
            v4.iter()
                .map(|slot| self.maps.backends4.get(slot).copied())
                .collect(),
            v6.iter()
                .map(|slot| self.maps.backends6.get(slot).copied())
                .collect(),
        )
    }

    /// The outcome for all three classes, which must agree.
    pub(crate) fn everyone(&self, frontend: &str) -> String {
        let outcomes =
            [Class::Inside, Class::Outside, Class::Host].map(|class| self.outcome(frontend, class));
        assert!(
            outcomes.iter().all(|outcome| *outcome == outcomes[0]),
            "{frontend}: {outcomes:?}"
        );
        outcomes[0].clone()
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

fn named_slots<A: Addr>(frontends: &BTreeMap<FrontendKey<A>, Frontend>) -> BTreeSet<u32> {
    let slices = frontends.values().flat_map(|frontend| frontend.slices);
    slices
        .flat_map(|slice| slice.offset..slice.offset + slice.count)
        .collect()
}

fn proto_number(name: &str) -> u8 {
    match name {
        "UDP" => proto::UDP,
        "SCTP" => proto::SCTP,
        _ => proto::TCP,
    }
}

fn outcome<A: Addr>(
    key: &FrontendKey<A>,
    class: Class,
    frontends: &BTreeMap<FrontendKey<A>, Frontend>,
    backends: &BTreeMap<u32, Backend<A>>,
) -> String {
    let Some(frontend) = frontends.get(key) else {
        return "none".to_owned();
    };
    let slice = frontend.slice(class);
    match (slice.count, frontend.flags.has(FrontendFlags::REJECT)) {
        (0, true) => return "reject".to_owned(),
        (0, false) => return "drop".to_owned(),
        _ => {}
    }
    let set: BTreeSet<SocketAddr> = (slice.offset..slice.offset + slice.count)
        .map(|slot| SocketAddr::new(backends[&slot].addr.ip(), backends[&slot].port.get()))
        .collect();
    assert_eq!(set.len(), slice.count as usize, "a backend comes twice");
    set.iter()
        .map(SocketAddr::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The steps of an operation that the kernel does one by one.
pub(crate) fn single_steps(op: &MapOp) -> Vec<MapOp> {
    match op {
        MapOp::WriteState { .. } => vec![op.clone()],
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
    }
}
