//! What [`Planner`] shows of itself.

use crate::cluster::PortIndex;
use crate::view::{self, ServiceView, Stats};

use super::Planner;

impl Planner {
    /// All `ServicePorts`, by Service name.
    pub fn services(&self) -> impl Iterator<Item = ServiceView<'_>> {
        let ports = self.cluster.served().flat_map(|(entry, served)| {
            let ports = served.service.ports.iter().zip(&served.ports);
            ports.map(move |(port, index)| (entry, &served.service, port, *index))
        });
        ports.map(|(entry, service, port, index)| self.view(&entry.name, service, port, index))
    }

    fn view<'a>(
        &'a self,
        full_name: &'a str,
        service: &'a crate::service::Service,
        port: &'a crate::service::ServicePort,
        index: PortIndex,
    ) -> ServiceView<'a> {
        let id = self.cluster.port(index).map_or(0, |port| port.id);
        let (namespace, name) = full_name.split_once('/').unwrap_or(("", full_name));
        let mut frontends = view::frontends(service, port, id, &self.v4);
        frontends.extend(view::frontends(service, port, id, &self.v6));
        let mut backends = view::backends(self.v4.unit(index), &self.ids);
        backends.extend(view::backends(self.v6.unit(index), &self.ids));
        ServiceView {
            id,
            namespace,
            name,
            port_name: &port.name,
            proto: port.proto.0,
            frontends,
            backends,
            affinity_seconds: service.affinity_seconds,
            internal_local: service.internal_local,
            external_local: service.external_local,
            starved: self.starved.contains_key(&index),
        }
    }

    /// The current counts.
    pub fn stats(&self) -> Stats {
        let counts = self.cluster.counts;
        Stats {
            services: counts.services,
            service_ports: self.cluster.port_count(),
            endpoint_slices: self.cluster.slice_count(),
            endpoints: counts.endpoints,
            service_changes_total: counts.service_changes,
            endpoint_changes_total: counts.endpoint_changes,
            service_changes_pending: counts
                .service_changes
                .saturating_sub(counts.planned_service_changes),
            endpoint_changes_pending: counts
                .endpoint_changes
                .saturating_sub(counts.planned_endpoint_changes),
            pending: self.cluster.dirty_count(),
            starved: self.starved.len(),
            refused: self.v4.refused().saturating_add(self.v6.refused()),
            bad_objects: self.cluster.errors.objects(),
            backend_ids: self.ids.used() as usize,
            v4: self.v4.stats(),
            v6: self.v6.stats(),
        }
    }
}
