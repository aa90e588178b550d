//! One change: which entry it touches, who claims what now, which ports are dirty.

use std::collections::BTreeSet;
use std::sync::Arc;

use slab::Slab;

use super::{Cluster, Entry, EntryIndex, KnownSlice, Port, PortIndex, Served, object};
use crate::change::{Change, Kind, Object, ObjectRef};
use crate::claims::{Claim, Claims};
use crate::endpoint::EndpointSlice;
use crate::error::ObjectErrorKind;
use crate::errors::Finder;
use crate::family::Family;
use crate::ingest::{self, Problems, full_name};
use crate::raw;
use crate::service::Service;

/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

impl Cluster {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Upsert(Object::Service(service)) => self.upsert_service(service),
            Change::Upsert(Object::EndpointSlice(slice)) => self.upsert_slice(slice),
            Change::Upsert(Object::Node(node)) => self.upsert_node(node),
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

    fn upsert_node(&mut self, raw: raw::Node) {
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

    /// Makes `service` the Service of that name, or none.
    pub(super) fn set_service(&mut self, name: &str, service: Option<Service>) {
        let relist = self.relist(Kind::Service);
        if service.is_none() && !self.by_name.contains_key(name) {
            return;
        }
        let index = self.entry(name);
        let Some(entry) = self.entries.get_mut(index.0) else {
            return;
        };
        match (&mut entry.service, &service) {
            (None, None) => return,
            (Some(known), Some(service)) if known.service == *service => {
                known.relist = relist;
                return;
            }
            _ => {}
        }
        self.counts.service_changes = self.counts.service_changes.saturating_add(1);
        let mut affected = self.release_claims(index);
        let old = self
            .entries
            .get_mut(index.0)
            .and_then(|entry| entry.service.take());
        let served = self.serve(index, service, old, relist);
        if let Some(entry) = self.entries.get_mut(index.0) {
            entry.service = served.map(Box::new);
        }
        affected.extend(self.make_claims(index));
        self.mark_entry(index);
        for port in &affected {
            self.mark(*port);
        }
        self.report_claims(index, &affected);
        self.drop_entry_if_empty(index);
    }

    /// Gives each port of the new Service its index, the old one's where name and protocol are the same.
    fn serve(
        &mut self,
        entry: EntryIndex,
        new: Option<Service>,
        old: Option<Box<Served>>,
        relist: u32,
    ) -> Option<Served> {
        let (had, has) = (usize::from(old.is_some()), usize::from(new.is_some()));
        self.counts.services = self.counts.services.saturating_add(has).saturating_sub(had);
        let known = |name: &str, proto| {
            let old = old.as_deref()?;
            let at = old
                .service
                .ports
                .iter()
                .position(|port| *port.name == *name && port.proto == proto)?;
            old.ports.get(at).copied()
        };
        let mut gone: BTreeSet<PortIndex> = old
            .iter()
            .flat_map(|old| old.ports.iter().copied())
            .collect();
        let served = new.map(|service| {
            let mut ports = Vec::with_capacity(service.ports.len());
            // A Service with more than 65535 ports has duplicates only; the last ones share a rank.
            for (port, position) in service
                .ports
                .iter()
                .zip((0..=u16::MAX).chain(std::iter::repeat(u16::MAX)))
            {
                let port = known(&port.name, port.proto).unwrap_or_else(|| {
                    PortIndex::new(self.ports.insert(Port {
                        entry,
                        position: None,
                        id: 0,
                    }))
                });
                if let Some(known) = self.ports.get_mut(port.0 as usize) {
                    known.position = Some(position);
                }
                gone.remove(&port);
                ports.push(port);
            }
            Served {
                service,
                ports: ports.into(),
                relist,
            }
        });
        for port in gone {
            if let Some(port) = self.ports.get_mut(port.0 as usize) {
                port.position = None;
            }
            self.mark(port);
        }
        served
    }

    /// Returns the ports that inherit a frontend.
    fn release_claims(&mut self, index: EntryIndex) -> Vec<PortIndex> {
        let Self {
            entries,
            ports,
            claims4,
            claims6,
            ..
        } = self;
        let mut heirs = Vec::new();
        for (key, claim) in claims_of(entries, index) {
            heirs.extend(claims4.release(key, claim.port, |port| rank(entries, ports, port)));
        }
        for (key, claim) in claims_of(entries, index) {
            heirs.extend(claims6.release(key, claim.port, |port| rank(entries, ports, port)));
        }
        heirs
    }

    /// Returns the ports that want the same frontends.
    fn make_claims(&mut self, index: EntryIndex) -> Vec<PortIndex> {
        let Self {
            entries,
            ports,
            claims4,
            claims6,
            ..
        } = self;
        let mut rivals = Vec::new();
        for (key, claim) in claims_of(entries, index) {
            rivals.extend(claims4.claim(key, claim, |port| rank(entries, ports, port)));
        }
        for (key, claim) in claims_of(entries, index) {
            rivals.extend(claims6.claim(key, claim, |port| rank(entries, ports, port)));
        }
        rivals
    }

    /// Records which frontends the Services of these ports do not have.
    fn report_claims(&mut self, index: EntryIndex, affected: &[PortIndex]) {
        if affected.is_empty() && !self.contested.contains(&index) {
            return;
        }
        let mut entries: BTreeSet<EntryIndex> = affected
            .iter()
            .filter_map(|port| self.ports.get(port.0 as usize))
            .map(|port| port.entry)
            .collect();
        entries.insert(index);
        for index in entries {
            let mut problems = Problems::default();
            lost(
                &self.entries,
                &self.ports,
                &self.claims4,
                index,
                &mut problems,
            );
            lost(
                &self.entries,
                &self.ports,
                &self.claims6,
                index,
                &mut problems,
            );
            let problems = problems.into_list();
            if problems.is_empty() {
                self.contested.remove(&index);
            } else {
                self.contested.insert(index);
            }
            self.report(index, Finder::Claims, problems);
        }
    }

    /// Records what `finder` has against the Service of an entry.
    pub(crate) fn report(
        &mut self,
        index: EntryIndex,
        finder: Finder,
        problems: Vec<ObjectErrorKind>,
    ) {
        let Some(entry) = self.entries.get(index.0) else {
            return;
        };
        let served = entry.service.as_deref();
        let (uid, relist) = served.map_or(("", 0), |served| (&served.service.uid, served.relist));
        self.errors.set(
            &object(Kind::Service, &entry.name),
            uid,
            finder,
            problems,
            relist,
        );
    }

    /// Makes `slice` the slice of that name, under the Service named with it, or none.
    pub(super) fn set_slice(&mut self, name: &str, slice: Option<(String, EndpointSlice)>) {
        let relist = self.relist(Kind::EndpointSlice);
        let old = self.slices.get(name).copied();
        let new = slice.map(|(service, slice)| (self.entry(&service), slice));
        if let (Some(old), Some((index, slice))) = (old, &new)
            && old == *index
            && let Some(known) = self
                .known_slice(old, name)
                .filter(|known| known.slice == *slice)
        {
            known.relist = relist;
            return;
        }
        if old.is_some() || new.is_some() {
            self.counts.endpoint_changes = self.counts.endpoint_changes.saturating_add(1);
        }
        if let Some(old) = old {
            self.remove_slice(old, name);
        }
        if let Some((index, slice)) = new {
            self.insert_slice(index, name, KnownSlice { slice, relist });
        }
        if let Some(old) = old {
            self.drop_entry_if_empty(old);
        }
    }

    fn known_slice(&mut self, index: EntryIndex, name: &str) -> Option<&mut KnownSlice> {
        let slices = &mut self.entries.get_mut(index.0)?.slices;
        let at = slices
            .binary_search_by(|(known, _)| (**known).cmp(name))
            .ok()?;
        slices.get_mut(at).map(|(_, slice)| slice)
    }

    fn remove_slice(&mut self, index: EntryIndex, name: &str) {
        self.slices.remove(name);
        if let Some(entry) = self.entries.get_mut(index.0)
            && let Ok(at) = entry
                .slices
                .binary_search_by(|(known, _)| (**known).cmp(name))
        {
            let (_, known) = entry.slices.remove(at);
            self.counts.endpoints = self
                .counts
                .endpoints
                .saturating_sub(known.slice.endpoints.len());
        }
        self.mark_entry(index);
    }

    fn insert_slice(&mut self, index: EntryIndex, name: &str, slice: KnownSlice) {
        let name: Arc<str> = name.into();
        self.slices.insert(name.clone(), index);
        self.counts.endpoints = self
            .counts
            .endpoints
            .saturating_add(slice.slice.endpoints.len());
        if let Some(entry) = self.entries.get_mut(index.0)
            && let Err(at) = entry.slices.binary_search_by(|(known, _)| known.cmp(&name))
        {
            entry.slices.reserve_exact(1);
            entry.slices.insert(at, (name, slice));
        }
        self.mark_entry(index);
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

/// The frontends that the ports of an entry want.
fn claims_of<A: Family>(
    entries: &Slab<Entry>,
    index: EntryIndex,
) -> impl Iterator<Item = (proxy_common::key::FrontendKey<A>, Claim)> {
    let served = entries
        .get(index.0)
        .and_then(|entry| entry.service.as_deref());
    served.into_iter().flat_map(|served| {
        let ports = served.service.ports.iter().zip(&served.ports);
        ports.flat_map(|(port, index)| {
            let frontends = served.service.frontends::<A>(port);
            frontends.map(|(key, kind)| (key, Claim { port: *index, kind }))
        })
    })
}

/// Who comes first: the older Service, then the smaller name, then the earlier port.
fn rank<'a>(entries: &'a Slab<Entry>, ports: &Slab<Port>, index: PortIndex) -> (i64, &'a str, u16) {
    let port = ports.get(index.0 as usize);
    let entry = port.and_then(|port| entries.get(port.entry.0));
    let created = entry
        .and_then(|entry| entry.service.as_deref())
        .map_or(i64::MAX, |served| served.service.created);
    let position = port.and_then(|port| port.position).unwrap_or(u16::MAX);
    (created, entry.map_or("", |entry| &*entry.name), position)
}

/// The frontends that the ports of an entry want and others have.
fn lost<A: Family>(
    entries: &Slab<Entry>,
    ports: &Slab<Port>,
    claims: &Claims<A>,
    index: EntryIndex,
    problems: &mut Problems,
) {
    for (key, claim) in claims_of::<A>(entries, index) {
        let Some(winner) = claims
            .winner(&key)
            .filter(|winner| winner.port != claim.port)
        else {
            continue;
        };
        let (_, winner, _) = rank(entries, ports, winner.port);
        let frontend = crate::dump::frontend(&key);
        problems.add(ObjectErrorKind::DuplicateFrontend {
            frontend,
            winner: winner.to_owned(),
        });
    }
}
