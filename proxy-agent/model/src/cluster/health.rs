//! Health checks of Services: how many of their endpoints run here (SEMANTICS 2.11, 6.7, 11.1).

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::addr::{V4, V6};

use super::{Cluster, Entry, EntryIndex};
use crate::endpoint::{Facts, SlicePort, merge};
use crate::family::Family;
use crate::service::Proto;

/// What the health check of a Service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Its uid, for events.
    pub uid: String,
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// Distinct IPv4 addresses of ready endpoints on this node, over all ports.
    pub local4: usize,
    /// The same for IPv6.
    pub local6: usize,
}

/// The health checks, as of the last plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    checks: BTreeMap<EntryIndex, HealthCheck>,
    dirty: BTreeSet<EntryIndex>,
}

impl Health {
    /// Has the next plan look at an entry.
    pub(super) fn look_at(&mut self, entry: EntryIndex) {
        self.dirty.insert(entry);
    }
}

impl Cluster {
    /// Services with a health check, in no order that means anything.
    pub(crate) fn health_checks(&self) -> impl Iterator<Item = &HealthCheck> {
        self.health.checks.values()
    }

    /// Has the next plan look at the health check of an entry that had one.
    pub(super) fn recheck(&mut self, index: EntryIndex) {
        if self.health.checks.contains_key(&index) {
            self.health.look_at(index);
        }
    }

    /// Counts anew where something changed.
    pub(super) fn plan_health(&mut self) {
        for index in std::mem::take(&mut self.health.dirty) {
            match self.entries.get(index.0).and_then(check) {
                Some(check) => drop(self.health.checks.insert(index, check)),
                None => drop(self.health.checks.remove(&index)),
            }
        }
    }
}

/// The health check of an entry, if its Service has one.
fn check(entry: &Entry) -> Option<HealthCheck> {
    let service = &entry.service.as_ref()?.service;
    let port = Some(service.health_check_port).filter(|port| *port != 0)?;
    let (namespace, name) = entry.name.split_once('/')?;
    Some(HealthCheck {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: service.uid.to_string(),
        port,
        local4: local_ready::<V4>(entry),
        local6: local_ready::<V6>(entry),
    })
}

/// Distinct addresses of ready endpoints on this node. Every port of the slices counts, known to the Service or not.
fn local_ready<A: Family>(entry: &Entry) -> usize {
    let slices = || entry.slices.iter().map(|(_, known)| &known.slice);
    let ports: BTreeSet<(&str, Proto)> = slices()
        .filter(|slice| {
            A::endpoints(&slice.endpoints)
                .iter()
                .any(|endpoint| endpoint.facts.has(Facts::LOCAL))
        })
        .flat_map(|slice| slice.ports.iter().map(SlicePort::name_and_proto))
        .collect();
    let mut addrs = BTreeSet::new();
    for (name, proto) in ports {
        let merged = merge::<A>(slices(), name, proto, "");
        let local = merged
            .iter()
            .filter(|candidate| candidate.facts.has(Facts::READY.with(Facts::LOCAL, true)));
        addrs.extend(local.map(|candidate| candidate.addr));
    }
    addrs.len()
}
