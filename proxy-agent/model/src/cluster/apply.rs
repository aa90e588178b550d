//! One change: read, filed under its name, and passed on to what it is about.

use super::{Cluster, PortIndex, object};
use crate::change::{Change, Kind, Object, ObjectRef};
use crate::error::ObjectErrorKind;
use crate::errors::Finder;
use crate::ingest::{self, Problems, full_name};
use crate::node::Node;
use crate::raw;

impl Cluster {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Upsert(Object::Service(service)) => self.upsert_service(service),
            Change::Upsert(Object::EndpointSlice(slice)) => self.upsert_slice(slice),
            Change::Upsert(Object::Node(node)) => self.upsert_node(&node),
            Change::Upsert(Object::ServiceCidr(cidr)) => self.upsert_service_cidr(&cidr),
            Change::Malformed(object, reason) => self.keep(&object, reason),
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
        let service = ingest::service(raw, &self.policy, &mut problems);
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
        let slice = ingest::endpoint_slice(raw, &self.node_name, &self.policy, &mut problems);
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
        if *raw.metadata.name != *self.node_name {
            return;
        }
        let relist = self.relist(Kind::Node);
        let mut problems = Problems::default();
        self.node_relist = relist;
        let node = ingest::node(raw, &mut problems);
        let object = cluster_wide(Kind::Node, &raw.metadata.name);
        let problems = problems.into_list();
        self.errors
            .set(&object, &raw.metadata.uid, Finder::Ingest, problems, relist);
        self.set_node(node);
    }

    fn upsert_service_cidr(&mut self, raw: &raw::ServiceCidr) {
        let relist = self.relist(Kind::ServiceCidr);
        let mut problems = Problems::default();
        let networks = ingest::service_cidr(raw, &mut problems);
        let object = cluster_wide(Kind::ServiceCidr, &raw.metadata.name);
        let problems = problems.into_list();
        self.errors
            .set(&object, &raw.metadata.uid, Finder::Ingest, problems, relist);
        self.set_networks(&raw.metadata.name, Some(networks));
    }

    /// The object stays as it is known, if it is: also if a list runs that shows it malformed.
    fn keep(&mut self, malformed: &ObjectRef, reason: String) {
        let ObjectRef {
            kind,
            namespace,
            name,
        } = malformed;
        let relist = self.relist(*kind);
        let object = match (kind, full_name(namespace, name)) {
            (Kind::Node, _) if **name != *self.node_name => return,
            (Kind::Node, _) => {
                self.node_relist = relist;
                malformed.clone()
            }
            (Kind::ServiceCidr, _) => {
                self.keep_networks(name);
                malformed.clone()
            }
            (Kind::Service, Ok(full_name)) => {
                self.keep_service(&full_name);
                object(*kind, &full_name)
            }
            (Kind::EndpointSlice, Ok(full_name)) => {
                let entry = self.slices.get(&*full_name).copied();
                if let Some(known) = entry.and_then(|entry| self.known_slice(entry, &full_name)) {
                    known.relist = relist;
                }
                object(*kind, &full_name)
            }
            (_, Err(_)) => malformed.clone(),
        };
        let problem = vec![ObjectErrorKind::Malformed(reason)];
        self.errors
            .set(&object, "", Finder::Ingest, problem, relist);
    }

    fn delete(&mut self, gone: &ObjectRef) {
        match (gone.kind, full_name(&gone.namespace, &gone.name)) {
            (Kind::Node, _) if *gone.name == *self.node_name => {
                self.errors.remove(gone);
                self.lose_node();
            }
            (Kind::ServiceCidr, _) => {
                self.errors.remove(gone);
                self.set_networks(&gone.name, None);
            }
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

    /// The Node object is gone. Its addresses and ranges stay: nothing better is known, and nothing of them is wrong yet.
    pub(super) fn lose_node(&mut self) {
        let node = Node {
            zone: Box::default(),
            ..self.node.clone()
        };
        self.set_node(node);
    }

    /// A new zone changes what hints mean for every Service (SEMANTICS 21.29); an address may change who may connect and a range
    /// who is masqueraded.
    fn set_node(&mut self, node: Node) {
        if self.node == node {
            return;
        }
        let moved = self.node.addresses != node.addresses;
        self.node = node;
        let live = self
            .ports
            .iter()
            .filter(|(_, port)| port.position.is_some());
        self.dirty.extend(live.map(|(key, _)| PortIndex::new(key)));
        if moved {
            self.warn_all_of_ssh();
        }
    }
}

/// The object of a kind without namespaces.
pub(super) fn cluster_wide(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef {
        kind,
        namespace: String::new(),
        name: name.to_owned(),
    }
}
