//! A relist replaces what is known of a kind: objects that the new list does not show are gone.

use super::Cluster;
use crate::change::Kind;

impl Cluster {
    /// Number of the newest list of `kind`; objects carry the number of the list, or of the watch after it, that showed them last.
    pub(super) const fn relist(&self, kind: Kind) -> u32 {
        let [services, slices, nodes, cidrs] = self.relists;
        match kind {
            Kind::Service => services,
            Kind::EndpointSlice => slices,
            Kind::Node => nodes,
            Kind::ServiceCidr => cidrs,
        }
    }

    pub(super) const fn start_relist(&mut self, kind: Kind) {
        let [services, slices, nodes, cidrs] = &mut self.relists;
        let number = match kind {
            Kind::Service => services,
            Kind::EndpointSlice => slices,
            Kind::Node => nodes,
            Kind::ServiceCidr => cidrs,
        };
        *number = number.wrapping_add(1);
    }

    pub(super) fn end_relist(&mut self, kind: Kind) {
        let relist = self.relist(kind);
        match kind {
            Kind::Service => {
                let gone: Vec<_> = self
                    .served()
                    .filter(|(_, served)| served.relist != relist)
                    .map(|(entry, _)| entry.name.clone())
                    .collect();
                for name in gone {
                    self.set_service(&name, None);
                }
            }
            Kind::EndpointSlice => {
                let slices = self.entries.iter().flat_map(|(_, entry)| &entry.slices);
                let gone: Vec<_> = slices
                    .filter(|(_, slice)| slice.relist != relist)
                    .map(|(name, _)| name.clone())
                    .collect();
                for name in gone {
                    self.set_slice(&name, None);
                }
            }
            Kind::Node if self.node_relist != relist => self.lose_node(),
            Kind::Node => {}
            Kind::ServiceCidr => self.end_networks(relist),
        }
        self.errors.end_relist(kind, relist);
    }
}
