//! One change: read, filed under its name, and passed on to what it is about.

use super::{Cluster, PortIndex, object};
use crate::change::{Change, Kind, Object, ObjectRef};
use crate::errors::Finder;
use crate::ingest::{self, Problems, full_name};
use crate::raw;

/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

impl Cluster {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Upsert(Object::Service(service)) => self.upsert_service(service),
            Change::Upsert(Object::EndpointSlice(slice)) => self.upsert_slice(slice),
            Change::Upsert(Object::Node(node)) => self.upsert_node(&node),
            Change::Delete(object) => self.delete(&object),
            Change::RelistStart(kind) => self.start_relist(kind),
            Change::RelistEnd(kind) => self.end_relist(kind),
        }
    }

    fn upsert_service(&mut self, raw: raw::Service) {
        let Some(name) = self.named(Kind::Service, &raw.metadata) else {
            return;
        };
        let (mut problems, uid) = (Problems::default(), raw.metadata.uid.clone());
        let service = ingest::service(raw, &mut problems);
        self.errors.set(
            &object(Kind::Service, &name),
            &uid,
            Finder::Ingest,
            problems.into_list(),
            self.relist(Kind::Service),
        );
        if service.is_none() {
            self.errors
                .clear_all_but(&object(Kind::Service, &name), Finder::Ingest);
        }
        self.set_service(&name, service);
    }

    fn upsert_slice(&mut self, raw: raw::EndpointSlice) {
        let kind = Kind::EndpointSlice;
        let Some(name) = self.named(kind, &raw.metadata) else {
            return;
        };
        let (mut problems, uid) = (Problems::default(), raw.metadata.uid.clone());
        let slice = ingest::endpoint_slice(raw, &self.node_name, &mut problems);
        self.errors.set(
            &object(kind, &name),
            &uid,
            Finder::Ingest,
            problems.into_list(),
            self.relist(kind),
        );
        self.set_slice(&name, slice);
    }

    fn upsert_node(&mut self, raw: &raw::Node) {
        if *raw.metadata.name == *self.node_name {
            self.node_relist = self.relist(Kind::Node);
            self.set_zone(raw.metadata.labels.get(ZONE).map_or("", String::as_str));
        }
    }

    fn delete(&mut self, gone: &ObjectRef) {
        match (gone.kind, full_name(&gone.namespace, &gone.name)) {
            (Kind::Node, _) if *gone.name == *self.node_name => self.set_zone(""),
            (Kind::Service, Ok(name)) => {
                self.errors.remove(&object(Kind::Service, &name));
                self.set_service(&name, None);
            }
            (Kind::EndpointSlice, Ok(name)) => {
                self.errors.remove(&object(Kind::EndpointSlice, &name));
                self.set_slice(&name, None);
            }
            // An object without a proper name was never let in; at most it has a record.
            (Kind::Node, _) | (_, Err(_)) => self.errors.remove(gone),
        }
    }

    /// The full name, or `None` and a recorded problem.
    fn named(&mut self, kind: Kind, meta: &raw::Meta) -> Option<String> {
        full_name(&meta.namespace, &meta.name)
            .map_err(|problem| {
                let object = ObjectRef {
                    kind,
                    namespace: meta.namespace.clone(),
                    name: meta.name.clone(),
                };
                self.errors.set(
                    &object,
                    &meta.uid,
                    Finder::Ingest,
                    vec![problem],
                    self.relist(kind),
                );
            })
            .ok()
    }

    /// A new zone changes what hints mean for every Service (SEMANTICS 21.29).
    pub(super) fn set_zone(&mut self, zone: &str) {
        if *self.zone != *zone {
            self.zone = zone.into();
            let live = self
                .ports
                .iter()
                .filter(|(_, port)| port.position.is_some());
            self.dirty.extend(live.map(|(key, _)| PortIndex::new(key)));
        }
    }
}
