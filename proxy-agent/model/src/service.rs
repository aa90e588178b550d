//! A Service as the planner keeps it: validated, and no more than planning needs.

use std::net::IpAddr;

use proxy_common::addr::Addr;
use proxy_common::be::Be16;
use proxy_common::key::FrontendKey;

use crate::family::is_of;
use crate::policy::{Algorithm, Network};
use crate::view::FrontendKind;

/// Transport protocol, by its IANA number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Proto(pub(crate) u8);

/// A Service that is ours to serve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Service {
    /// For events.
    pub(crate) uid: Box<str>,
    /// Seconds since 1970; the greatest number when unknown.
    pub(crate) created: i64,
    /// One per family at most.
    pub(crate) cluster_ips: Box<[IpAddr]>,
    pub(crate) external_ips: Box<[IpAddr]>,
    /// Addresses of the load balancer that are ours to capture (SEMANTICS 2.2).
    pub(crate) load_balancer_ips: Box<[IpAddr]>,
    /// Who may reach the load balancer's addresses, in order; without one of a family, everybody (SEMANTICS 2.9).
    pub(crate) source_ranges: Box<[Network]>,
    /// Port of the health check; 0 is none (SEMANTICS 2.11).
    pub(crate) health_check_port: u16,
    /// By annotation; the operator's choice when absent.
    pub(crate) algorithm: Option<Algorithm>,
    /// Each (name, protocol) once.
    pub(crate) ports: Box<[ServicePort]>,
    /// 0 is no affinity.
    pub(crate) affinity_seconds: u32,
    /// internalTrafficPolicy is Local.
    pub(crate) internal_local: bool,
    /// externalTrafficPolicy is Local, and honoured (SEMANTICS 2.12).
    pub(crate) external_local: bool,
}

/// One port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServicePort {
    pub(crate) name: Box<str>,
    pub(crate) proto: Proto,
    pub(crate) port: u16,
    /// 0 is none.
    pub(crate) node_port: u16,
}

impl Service {
    /// Whether source ranges hold for a frontend at `ip`: they follow the address, whatever else it is (SEMANTICS 22.1).
    pub(crate) fn is_load_balancer_ip(&self, ip: IpAddr) -> bool {
        self.load_balancer_ips.binary_search(&ip).is_ok()
    }

    /// The frontends of `port` in family `A` (SEMANTICS 2.1). None without a cluster IP of the family (1.4). One address may come
    /// twice with different kinds; the first one counts.
    pub(crate) fn frontends<A: Addr>(
        &self,
        port: &ServicePort,
    ) -> impl Iterator<Item = (FrontendKey<A>, FrontendKind)> {
        let served = self.cluster_ips.iter().any(|ip| is_of::<A>(*ip));
        let (number, proto) = (Be16::new(port.port), port.proto.0);
        let of = move |ips: &'_ [IpAddr], kind| {
            let key = move |ip: &IpAddr| {
                A::from_ip(*ip).map(|addr| (FrontendKey::new(addr, number, proto), kind))
            };
            ips.iter().filter_map(key).collect::<Vec<_>>()
        };
        let node_port = (port.node_port != 0).then(|| {
            (
                FrontendKey::new(A::unspecified(), Be16::new(port.node_port), proto),
                FrontendKind::NodePort,
            )
        });
        of(&self.cluster_ips, FrontendKind::ClusterIp)
            .into_iter()
            .chain(node_port)
            .chain(of(&self.external_ips, FrontendKind::ExternalIp))
            .chain(of(&self.load_balancer_ips, FrontendKind::LoadBalancer))
            .filter(move |_| served)
    }
}
