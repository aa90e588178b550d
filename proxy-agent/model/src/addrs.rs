//! What ADDRS of one family says of Services' addresses: counted from the frontends, so that a change costs what it changes.

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::flags::{AddrFlags, FrontendFlags};
use proxy_common::key::FrontendKey;
use proxy_common::value::Frontend;

use crate::family::Family;

/// The frontends of one address, and what ADDRS says of it.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    frontends: u32,
    cluster_ips: u32,
    /// Those whose `ServicePort` has endpoints.
    live: u32,
    /// `None`: the kernel did not do as it was told.
    written: Option<AddrFlags>,
}

/// The addresses of Services.
#[derive(Clone, Debug)]
pub(crate) struct Addrs<A> {
    /// Unknown ports of cluster IPs are rejected (SEMANTICS 4.10).
    reject_unknown: bool,
    uses: BTreeMap<A, Use>,
    changed: BTreeSet<A>,
}

impl<A: Family> Addrs<A> {
    /// No addresses.
    pub(crate) const fn new(reject_unknown: bool) -> Self {
        Self {
            reject_unknown,
            uses: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// The maps get a frontend.
    pub(crate) fn add(&mut self, key: &FrontendKey<A>, frontend: &Frontend) {
        self.count(key, frontend, |count| count.saturating_add(1));
    }

    /// The maps lose a frontend.
    pub(crate) fn remove(&mut self, key: &FrontendKey<A>, frontend: &Frontend) {
        self.count(key, frontend, |count| count.saturating_sub(1));
    }

    fn count(&mut self, key: &FrontendKey<A>, frontend: &Frontend, step: fn(u32) -> u32) {
        // NodePorts: their addresses are the node's, and the device follower's business.
        if key.addr == A::unspecified() {
            return;
        }
        let known = self.uses.entry(key.addr).or_insert(Use {
            written: Some(AddrFlags::default()),
            ..Use::default()
        });
        known.frontends = step(known.frontends);
        if !frontend.flags.has(FrontendFlags::EXTERNAL) {
            known.cluster_ips = step(known.cluster_ips);
        }
        if !frontend.flags.has(FrontendFlags::REJECT) {
            known.live = step(known.live);
        }
        self.changed.insert(key.addr);
    }

    /// What the map says, left by an earlier run.
    pub(crate) fn recover(&mut self, written: Vec<(A, AddrFlags)>) {
        for (addr, flags) in written {
            self.uses.entry(addr).or_default().written = Some(flags);
            self.changed.insert(addr);
        }
    }

    /// The kernel did not store what it should for `addr`.
    pub(crate) fn failed(&mut self, addr: A) {
        self.uses.entry(addr).or_default().written = None;
        self.changed.insert(addr);
    }

    /// Whether [`Self::take`] has something to look at.
    pub(crate) fn is_due(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What to write, so that the map follows.
    pub(crate) fn take(&mut self) -> Vec<(A, AddrFlags)> {
        let mut writes = Vec::new();
        for addr in std::mem::take(&mut self.changed) {
            let Some(known) = self.uses.get_mut(&addr) else {
                continue;
            };
            let flags = known.flags(self.reject_unknown);
            if known.written != Some(flags) {
                known.written = Some(flags);
                writes.push((addr, flags));
            }
            if flags == AddrFlags::default() {
                self.uses.remove(&addr);
            }
        }
        writes
    }
}

impl Use {
    fn flags(&self, reject_unknown: bool) -> AddrFlags {
        [
            (self.frontends > 0, AddrFlags::VIRTUAL),
            (
                self.cluster_ips > 0 && reject_unknown,
                AddrFlags::REJECT_UNKNOWN,
            ),
            (self.live > 0, AddrFlags::ECHO),
        ]
        .into_iter()
        .filter(|(holds, _)| *holds)
        .fold(AddrFlags::default(), |flags, (_, flag)| flags.with(flag))
    }
}
