//! A Service comes, changes or goes: its ports keep their indexes, its frontends are claimed anew.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cluster, EntryIndex, Port, PortIndex, Served};
use crate::change::Kind;
use crate::service::{Proto, Service};

impl Cluster {
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
        let served = self.serve(index, service, old.as_deref(), relist);
        if let Some(entry) = self.entries.get_mut(index.0) {
            entry.service = served.map(Box::new);
        }
        affected.extend(self.make_claims(index));
        self.mark_entry(index);
        for port in &affected {
            self.mark(*port);
        }
        self.report_claims(index, &affected);
        self.warn_of_ssh(index);
        self.recheck(index);
        self.drop_entry_if_empty(index);
    }

    /// The newest list shows the Service of that name, but not what it is.
    pub(super) fn keep_service(&mut self, name: &str) {
        let relist = self.relist(Kind::Service);
        let entry = self.by_name.get(name).copied();
        let entry = entry.and_then(|index| self.entries.get_mut(index.0));
        if let Some(served) = entry.and_then(|entry| entry.service.as_mut()) {
            served.relist = relist;
        }
    }

    /// Gives each port of the new Service its index, the old one's where name and protocol are the same.
    pub(super) fn serve(
        &mut self,
        entry: EntryIndex,
        new: Option<Service>,
        old: Option<&Served>,
        relist: u32,
    ) -> Option<Served> {
        let (had, has) = (usize::from(old.is_some()), usize::from(new.is_some()));
        self.counts.services = self.counts.services.saturating_add(has).saturating_sub(had);
        let known: BTreeMap<(&str, Proto), PortIndex> = old
            .iter()
            .flat_map(|old| old.service.ports.iter().zip(&old.ports))
            .map(|(port, index)| ((&*port.name, port.proto), *index))
            .collect();
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
                let known = known.get(&(&*port.name, port.proto)).copied();
                let port = known.unwrap_or_else(|| {
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
}
