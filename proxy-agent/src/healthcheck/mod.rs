//! Health-check node ports (SEMANTICS 11.1): tells load balancers whether this node has endpoints of a Service.
//!
//! One listener per Service and address serves both families. The sync task says what is wanted ([`Wanted`]), a task of its own
//! opens and closes: the sync never waits for a socket.

mod servers;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proxy_kernel::devices::DeviceStatus;
use tokio::sync::watch;

pub use servers::Servers;

/// A Service that load balancers ask about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; may be empty.
    pub uid: String,
}

/// What to answer for a Service, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// Distinct local ready addresses (SEMANTICS 6.7); of the family that has more of them.
    pub endpoints: usize,
}

/// All Services with a health-check node port.
pub type Wanted = BTreeMap<ServiceId, Check>;

/// The addresses to listen on: one wildcard for both families, or each that serves `NodePort`s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// nodePortAddresses takes all.
    All,
    /// Those that nodePortAddresses takes; none before the devices were looked at.
    Some(Vec<IpAddr>),
}

impl Addresses {
    /// What the device task found, unless nodePortAddresses takes everything.
    pub fn of(all: bool, status: Option<&DeviceStatus>) -> Self {
        if all {
            return Self::All;
        }
        let taken = status.map_or(&[][..], |status| &status.addresses);
        let taken = taken
            .iter()
            .filter(|(ip, serves)| *serves && reachable(*ip));
        Self::Some(taken.map(|(ip, _)| *ip).collect())
    }

    fn sockets(&self, port: u16) -> Vec<SocketAddr> {
        match self {
            // Means :: too, see `http::bind`.
            Self::All => vec![SocketAddr::from(([0; 4], port))],
            Self::Some(ips) => ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect(),
        }
    }
}

/// A link-local address means nothing without its link, and no load balancer uses one.
fn reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

/// Follows what is wanted and which addresses there are, until shutdown.
pub async fn run(
    mut servers: Servers,
    all: bool,
    mut wanted: watch::Receiver<Arc<Wanted>>,
    mut devices: watch::Receiver<Option<DeviceStatus>>,
    mut shutdown: crate::tasks::Shutdown,
) -> anyhow::Result<()> {
    loop {
        let now = Arc::clone(&wanted.borrow_and_update());
        let addresses = Addresses::of(all, devices.borrow_and_update().as_ref());
        let retry = servers.reconcile(&now, &addresses).await;
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            Ok(()) = wanted.changed() => {}
            Ok(()) = devices.changed() => {}
            () = tokio::time::sleep(servers::RETRY), if retry => {}
        }
    }
}

#[cfg(test)]
mod tests;
