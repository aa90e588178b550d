//! The cluster as the planner knows it: Services, slices, this node, and what of it changed since the last plan.
//!
//! Takes changes one by one and in any order; a slice may come before its Service (SEMANTICS 21.14).

mod apply;
mod contest;
mod health;
mod networks;
mod relist;
mod services;
mod slices;
mod triggers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proxy_common::addr::{V4, V6};
use slab::Slab;

use health::Health;
use networks::Networks;
use triggers::Triggers;

pub use health::HealthCheck;
pub use triggers::Trigger;

use crate::change::{Kind, ObjectRef};
use crate::claims::Claims;
use crate::endpoint::EndpointSlice;
use crate::errors::Errors;
use crate::node::Node;
use crate::policy::Policy;
use crate::service::{Service, ServicePort};

/// Names an entry: a Service name that has a Service, or slices, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryIndex(usize);

/// Names a `ServicePort`, as long as it lives. Not the service id: that one also lives in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortIndex(u32);

/// Everything known under one Service name.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// `namespace/name`.
    pub(crate) name: Arc<str>,
    pub(crate) service: Option<Box<Served>>,
    /// By slice name.
    pub(crate) slices: Vec<(Arc<str>, KnownSlice)>,
}

/// A Service that is ours to serve.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) service: Service,
    /// One for each of its ports.
    pub(crate) ports: Box<[PortIndex]>,
    relist: u32,
}

/// A slice that is ours to read.
#[derive(Clone, Debug)]
pub(crate) struct KnownSlice {
    pub(crate) slice: EndpointSlice,
    relist: u32,
}

/// A `ServicePort`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    pub(crate) entry: EntryIndex,
    /// Which port of the Service; `None` when the Service does not have it any more.
    pub(crate) position: Option<u16>,
    /// Service id in the maps; 0 before the first plan.
    pub(crate) id: u32,
}

/// Numbers of changes, as kube-proxy counts them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
    pub(crate) service_changes: u64,
    pub(crate) endpoint_changes: u64,
    pub(crate) planned_service_changes: u64,
    pub(crate) planned_endpoint_changes: u64,
}

impl Counts {
    /// All changes so far are in a plan.
    pub(crate) const fn planned(&mut self) {
        self.planned_service_changes = self.service_changes;
        self.planned_endpoint_changes = self.endpoint_changes;
    }
}

/// The cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    node_name: Box<str>,
    pub(crate) policy: Policy,
    pub(crate) node: Node,
    node_relist: u32,
    networks: Networks,
    health: Health,
    triggers: Triggers,
    entries: Slab<Entry>,
    by_name: BTreeMap<Arc<str>, EntryIndex>,
    /// Which entry has a slice.
    slices: BTreeMap<Arc<str>, EntryIndex>,
    ports: Slab<Port>,
    /// Ports that the next plan looks at.
    dirty: BTreeSet<PortIndex>,
    pub(crate) claims4: Claims<V4>,
    pub(crate) claims6: Claims<V6>,
    /// Entries that lost a frontend to another Service.
    contested: BTreeSet<EntryIndex>,
    pub(crate) errors: Errors,
    pub(crate) counts: Counts,
    /// Number of the newest list, by kind.
    relists: [u32; 4],
}

impl PortIndex {
    fn new(key: usize) -> Self {
        // Memory ends long before four billion ports.
        Self(u32::try_from(key).unwrap_or(u32::MAX))
    }
}

impl Cluster {
    pub(crate) fn new(node_name: &str, policy: Policy) -> Self {
        Self {
            node_name: node_name.into(),
            policy,
            node: Node::default(),
            node_relist: 0,
            networks: Networks::default(),
            health: Health::default(),
            triggers: Triggers::default(),
            entries: Slab::new(),
            by_name: BTreeMap::new(),
            slices: BTreeMap::new(),
            ports: Slab::new(),
            dirty: BTreeSet::new(),
            claims4: Claims::new(),
            claims6: Claims::new(),
            contested: BTreeSet::new(),
            errors: Errors::default(),
            counts: Counts::default(),
            relists: [0; 4],
        }
    }

    pub(crate) fn port(&self, index: PortIndex) -> Option<Port> {
        self.ports.get(index.0 as usize).copied()
    }

    /// The `ServicePort` with its Service, if it has not gone.
    pub(crate) fn live(&self, index: PortIndex) -> Option<(&Entry, &Service, &ServicePort)> {
        let port = self.port(index)?;
        let entry = self.entries.get(port.entry.0)?;
        let service = &entry.service.as_ref()?.service;
        Some((
            entry,
            service,
            service.ports.get(usize::from(port.position?))?,
        ))
    }

    pub(crate) fn set_id(&mut self, index: PortIndex, id: u32) {
        if let Some(port) = self.ports.get_mut(index.0 as usize) {
            port.id = id;
        }
    }

    /// Forgets a port that has gone, after the maps forgot it.
    pub(crate) fn remove_port(&mut self, index: PortIndex) {
        self.ports.try_remove(index.0 as usize);
    }

    /// The ports of an entry's Service.
    pub(crate) fn ports_of(
        &self,
        index: EntryIndex,
    ) -> impl Iterator<Item = (PortIndex, &ServicePort)> {
        let served = self
            .entries
            .get(index.0)
            .and_then(|entry| entry.service.as_deref());
        served
            .into_iter()
            .flat_map(|served| served.ports.iter().copied().zip(&served.service.ports))
    }

    /// Entries with a Service, by name.
    pub(crate) fn served(&self) -> impl Iterator<Item = (&Entry, &Served)> {
        let entries = self
            .by_name
            .values()
            .filter_map(|index| self.entries.get(index.0));
        entries.filter_map(|entry| Some((entry, entry.service.as_deref()?)))
    }

    pub(crate) fn port_count(&self) -> usize {
        self.ports.len()
    }

    pub(crate) fn slice_count(&self) -> usize {
        self.slices.len()
    }

    pub(crate) fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// All changes so far are in a plan.
    pub(crate) fn planned(&mut self) {
        self.counts.planned();
        self.plan_health();
        self.plan_triggers();
    }

    pub(crate) fn mark(&mut self, port: PortIndex) {
        self.dirty.insert(port);
    }

    pub(crate) fn take_dirty(&mut self) -> BTreeSet<PortIndex> {
        std::mem::take(&mut self.dirty)
    }

    fn mark_entry(&mut self, index: EntryIndex) {
        if let Some(served) = self
            .entries
            .get(index.0)
            .and_then(|entry| entry.service.as_ref())
        {
            self.dirty.extend(served.ports.iter());
            if served.service.health_check_port != 0 {
                self.health.look_at(index);
            }
        }
    }

    fn entry(&mut self, name: &str) -> EntryIndex {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let name: Arc<str> = name.into();
        let index = EntryIndex(self.entries.insert(Entry {
            name: name.clone(),
            service: None,
            slices: Vec::new(),
        }));
        self.by_name.insert(name, index);
        index
    }

    /// An entry is needed as long as it has a Service or slices.
    fn drop_entry_if_empty(&mut self, index: EntryIndex) {
        let empty = |entry: &Entry| entry.service.is_none() && entry.slices.is_empty();
        if self.entries.get(index.0).is_some_and(empty)
            && let Some(entry) = self.entries.try_remove(index.0)
        {
            self.by_name.remove(&entry.name);
        }
    }
}

/// The object behind a full name.
pub(crate) fn object(kind: Kind, full_name: &str) -> ObjectRef {
    let (namespace, name) = full_name.split_once('/').unwrap_or(("", full_name));
    ObjectRef {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}
