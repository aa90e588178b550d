//! The open listeners: those that nobody wants any more are closed before new ones are opened (SEMANTICS 21.23).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::HeaderValue;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::{Addresses, ServiceId, Wanted};
use crate::events::{Events, Notice};
use crate::health::Health;
use crate::http::{Handler, Reply, accept_for_ever, bind, reply};

/// A port that is taken is tried again after this long, or with the next change.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// The listeners of all Services.
#[derive(Debug)]
pub struct Servers {
    open: BTreeMap<(SocketAddr, ServiceId), Open>,
    /// Failures that were told, so that each is told once.
    failed: BTreeMap<(SocketAddr, ServiceId), String>,
    health: Arc<Health>,
    events: Events,
}

#[derive(Debug)]
struct Open {
    endpoints: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Servers {
    /// None yet.
    pub fn new(health: Arc<Health>, events: Events) -> Self {
        Self {
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            health,
            events,
        }
    }

    /// Opens and closes so that exactly `wanted` is served on `addresses`. Whether some could not be opened.
    pub async fn reconcile(&mut self, wanted: &Wanted, addresses: &Addresses) -> bool {
        let mut missing = BTreeMap::new();
        for (service, check) in wanted {
            for socket in addresses.sockets(check.port) {
                missing.insert((socket, service.clone()), check.endpoints);
            }
        }
        self.failed.retain(|key, _| missing.contains_key(key));
        for (key, open) in std::mem::take(&mut self.open) {
            if let Some(endpoints) = missing.remove(&key) {
                open.endpoints.store(endpoints, Ordering::Relaxed);
                self.open.insert(key, open);
            } else {
                info!(service = %key.1, address = %key.0, "health-check node port closed");
                open.task.abort();
                // Only then the port is free; that it was cancelled is what was asked for.
                drop(open.task.await);
            }
        }
        for ((socket, service), endpoints) in missing {
            self.open(socket, service, endpoints);
        }
        !self.failed.is_empty()
    }

    fn open(&mut self, socket: SocketAddr, service: ServiceId, endpoints: usize) {
        let key = (socket, service);
        match bind(socket) {
            Ok(listener) => {
                info!(service = %key.1, address = %socket, "health-check node port open");
                self.failed.remove(&key);
                let endpoints = Arc::new(AtomicUsize::new(endpoints));
                let handler = handler(
                    key.1.clone(),
                    Arc::clone(&endpoints),
                    Arc::clone(&self.health),
                );
                let task = tokio::spawn(async move {
                    match accept_for_ever("health-check", listener, handler).await {}
                });
                self.open.insert(key, Open { endpoints, task });
            }
            Err(error) => self.refused(key, &error),
        }
    }

    fn refused(&mut self, key: (SocketAddr, ServiceId), error: &std::io::Error) {
        let (socket, service) = &key;
        let text = error.to_string();
        if self.failed.get(&key) == Some(&text) {
            debug!(%service, address = %socket, %error, "still cannot listen");
            return;
        }
        warn!(%service, address = %socket, %error, "cannot open the health-check node port; it is tried again");
        let note = format!(
            "node {}: cannot listen on health-check node port {socket}: {error}",
            self.events.node()
        );
        self.events.tell(Notice::service(
            service,
            "FailedToStartServiceHealthcheck",
            "Listen",
            note,
        ));
        self.failed.insert(key, text);
    }

    /// The open listeners, for tests.
    #[cfg(test)]
    pub(super) fn sockets(&self) -> Vec<SocketAddr> {
        self.open.keys().map(|(socket, _)| *socket).collect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.open.values().for_each(|open| open.task.abort());
    }
}

/// Any path and any method get the same answer.
fn handler(service: ServiceId, endpoints: Arc<AtomicUsize>, health: Arc<Health>) -> Handler {
    Arc::new(move |_ask| {
        let endpoints = endpoints.load(Ordering::Relaxed);
        // Whether the node is eligible does not count here (SEMANTICS 11.1).
        let healthy = health.livez(Instant::now()).healthy;
        Box::pin(std::future::ready(answer(&service, endpoints, healthy)))
    })
}

/// Byte for byte what kube-proxy answers.
pub(super) fn answer(service: &ServiceId, endpoints: usize, healthy: bool) -> Reply {
    let ServiceId {
        namespace,
        name,
        uid: _,
    } = service;
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    );
    let code = if endpoints != 0 && healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut reply = reply(code, "application/json", body);
    reply.headers_mut().insert(
        "X-Load-Balancing-Endpoint-Weight",
        HeaderValue::from(endpoints),
    );
    reply
}

impl std::fmt::Display for ServiceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
