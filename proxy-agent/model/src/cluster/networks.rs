//! `ServiceCIDR`s: the ranges whose unknown addresses are dropped (SEMANTICS 4.10, 4.11).

use std::collections::BTreeMap;

use proxy_common::limits;

use super::Cluster;
use super::apply::cluster_wide;
use crate::change::Kind;
use crate::error::ObjectErrorKind;
use crate::errors::Finder;
use crate::family::{Cidrs, Family, masked, range};
use crate::policy::{Network, Profile};

/// What CIDRS has room for beside the local pods' range.
const ROOM: usize = limits::CIDRS as usize - 1;

/// The ranges of all `ServiceCIDR`s.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    /// By object name, with the number of the list that showed it.
    known: BTreeMap<Box<str>, (Box<[Network]>, u32)>,
    /// What CIDRS gets, of both families, in order.
    served: Vec<Network>,
}

impl Cluster {
    /// What CIDRS should hold.
    pub(crate) fn cidrs<A: Family>(&self) -> Cidrs<A> {
        let local = self.node.local_range(&self.policy);
        // SEMANTICS 23: iptables mode lets unknown addresses pass.
        let services = match self.policy.profile {
            Profile::Nftables => &*self.networks.served,
            Profile::Iptables => &[],
        };
        Cidrs {
            local: local.map(|(addr, bits)| (masked(addr, bits), bits)),
            services: services.iter().copied().filter_map(range).collect(),
        }
    }

    /// Makes these the networks of the `ServiceCIDR` of that name; `None`: it is gone.
    pub(super) fn set_networks(&mut self, name: &str, networks: Option<Box<[Network]>>) {
        let relist = self.relist(Kind::ServiceCidr);
        let known = &mut self.networks.known;
        let changed = match networks {
            Some(networks) => {
                let old = known.insert(name.into(), (networks.clone(), relist));
                old.is_none_or(|(old, _)| old != networks)
            }
            None => known.remove(name).is_some(),
        };
        if changed {
            self.choose_networks();
        }
    }

    /// The newest list shows the `ServiceCIDR` of that name, but not its networks.
    pub(super) fn keep_networks(&mut self, name: &str) {
        let now = self.relist(Kind::ServiceCidr);
        if let Some((_, relist)) = self.networks.known.get_mut(name) {
            *relist = now;
        }
    }

    /// Forgets those that the newest list did not show.
    pub(super) fn end_networks(&mut self, relist: u32) {
        let before = self.networks.known.len();
        self.networks.known.retain(|_, (_, shown)| *shown == relist);
        if self.networks.known.len() != before {
            self.choose_networks();
        }
    }

    /// The first ones, by name, that there is room for.
    fn choose_networks(&mut self) {
        let relist = self.relist(Kind::ServiceCidr);
        let mut served: Vec<Network> = Vec::new();
        for (name, (networks, _)) in &self.networks.known {
            let mut problems = Vec::new();
            for network in networks {
                let (ip, bits) = *network;
                let same_family = served
                    .iter()
                    .filter(|(known, _)| known.is_ipv4() == ip.is_ipv4());
                if served.contains(network) {
                } else if same_family.count() < ROOM {
                    served.push(*network);
                } else {
                    problems.push(ObjectErrorKind::ServiceCidrRoom(format!("{ip}/{bits}")));
                }
            }
            let object = cluster_wide(Kind::ServiceCidr, name);
            self.errors.set(&object, "", Finder::Room, problems, relist);
        }
        served.sort_unstable();
        self.networks.served = served;
    }
}
