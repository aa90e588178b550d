//! Who claims which frontends, and what that means for the others that want them.

use std::collections::BTreeSet;

use proxy_common::addr::proto;
use proxy_common::key::FrontendKey;
use slab::Slab;

use super::{Cluster, Entry, EntryIndex, Port, PortIndex, object};
use crate::change::Kind;
use crate::claims::{Claim, Claims};
use crate::error::ObjectErrorKind;
use crate::errors::Finder;
use crate::family::Family;
use crate::ingest::Problems;
use crate::service::{Proto, Service};

/// The port of SSH.
const SSH: u16 = 22;

impl Cluster {
    /// Returns the ports that inherit a frontend.
    pub(super) fn release_claims(&mut self, index: EntryIndex) -> Vec<PortIndex> {
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
    pub(super) fn make_claims(&mut self, index: EntryIndex) -> Vec<PortIndex> {
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
    pub(super) fn report_claims(&mut self, index: EntryIndex, affected: &[PortIndex]) {
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

    /// Warns, once, of an external address that takes the node's SSH port away (SEMANTICS 21.8). It is obeyed.
    pub(super) fn warn_of_ssh(&mut self, index: EntryIndex) {
        let Some(served) = self
            .entries
            .get(index.0)
            .and_then(|entry| entry.service.as_deref())
        else {
            return;
        };
        let Service {
            ports,
            external_ips,
            load_balancer_ips,
            ..
        } = &served.service;
        let mut problems = Problems::default();
        if ports
            .iter()
            .any(|port| (port.port, port.proto) == (SSH, Proto(proto::TCP)))
        {
            let own = external_ips.iter().chain(load_balancer_ips);
            for ip in own.filter(|ip| self.node.addresses.contains(ip)) {
                problems.add(ObjectErrorKind::CapturesSsh(*ip));
            }
        }
        self.report(index, Finder::Node, problems.into_list());
    }

    /// Looks at all Services, after the node's addresses changed.
    pub(super) fn warn_all_of_ssh(&mut self) {
        let all: Vec<EntryIndex> = self.by_name.values().copied().collect();
        for index in all {
            self.warn_of_ssh(index);
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
}

/// The frontends that the ports of an entry want.
fn claims_of<A: Family>(
    entries: &Slab<Entry>,
    index: EntryIndex,
) -> impl Iterator<Item = (FrontendKey<A>, Claim)> {
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
