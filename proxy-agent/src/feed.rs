//! The one way from the sources (watches, manifests) to the sync task: bounded, so a slow kernel slows the sources down.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use proxy_model::{Change, Kind, Object};
use tokio::sync::{mpsc, watch};

use crate::apiserver::Addresses;
use crate::health::{Health, NodeState};
use crate::metrics::{FAMILIES, Metrics, unix_seconds};
use crate::objects::NodeFacts;

/// Changes that wait for the sync task. Memory stays bounded, and so does what is allocated in between of what stays: pages
/// that both share are never given back.
const CHANNEL: usize = 1_024;

/// A change and when the agent learned of it.
#[derive(Debug)]
pub struct Arrived {
    /// The change.
    pub change: Change,
    /// When.
    pub at: Instant,
}

/// The sync task is gone; the agent is stopping, or about to.
#[derive(Debug, thiserror::Error)]
#[error("the sync task is gone")]
pub struct Closed;

/// A source's end.
#[derive(Clone, Debug)]
pub struct Feed {
    changes: mpsc::Sender<Arrived>,
    node: watch::Sender<Option<NodeFacts>>,
    api_servers: watch::Sender<Addresses>,
    node_name: Arc<str>,
    health: Arc<Health>,
    metrics: Metrics,
}

/// What the sources lead to.
#[derive(Debug)]
pub struct Outlets {
    /// For the sync task.
    pub changes: mpsc::Receiver<Arrived>,
    /// For the device task.
    pub node: watch::Receiver<Option<NodeFacts>>,
    /// The endpoints of default/kubernetes.
    pub api_servers: watch::Receiver<Addresses>,
}

impl Feed {
    /// A feed for the node of this name.
    pub fn new(node_name: &str, health: Arc<Health>, metrics: Metrics) -> (Self, Outlets) {
        let (changes, receiver) = mpsc::channel(CHANNEL);
        let (node, facts) = watch::channel(None);
        let (api_servers, addresses) = watch::channel(Addresses::default());
        (
            Self {
                changes,
                node,
                api_servers,
                node_name: node_name.into(),
                health,
                metrics,
            },
            Outlets {
                changes: receiver,
                node: facts,
                api_servers: addresses,
            },
        )
    }

    /// Passes a change on that arrived at `at`; waits for room.
    pub async fn send(&self, change: Change, at: Instant) -> Result<(), Closed> {
        self.health.queued(at);
        let now = unix_seconds(SystemTime::now());
        for family in FAMILIES {
            let last = self
                .metrics
                .sync_last_queued
                .get_or_create(&[("ip_family", family)]);
            last.set(now);
        }
        self.note_api_servers(&change);
        match kind_of(&change) {
            Some(Kind::EndpointSlice) => {
                self.metrics.endpoint_changes.inc();
                self.metrics.endpoint_changes_pending.inc();
            }
            Some(Kind::Service) => {
                self.metrics.service_changes.inc();
                self.metrics.service_changes_pending.inc();
            }
            Some(Kind::Node | Kind::ServiceCidr) | None => {}
        }
        self.changes
            .send(Arrived { change, at })
            .await
            .map_err(|_closed| Closed)
    }

    /// default/kubernetes is the one Service that the agent itself depends on.
    fn note_api_servers(&self, change: &Change) {
        match change {
            Change::Upsert(Object::EndpointSlice(slice)) => {
                self.api_servers
                    .send_if_modified(|known| known.upsert(slice));
            }
            Change::Delete(object) if object.kind == Kind::EndpointSlice => {
                self.api_servers
                    .send_if_modified(|known| known.remove(&object.namespace, &object.name));
            }
            _ => {}
        }
    }

    /// What a Node object says; others than ours are ignored.
    pub fn node(&self, facts: NodeFacts) {
        if *facts.name != *self.node_name {
            return;
        }
        self.health.node(if facts.leaving {
            NodeState::Leaving
        } else {
            NodeState::Here
        });
        self.node.send_if_modified(|known| {
            let differs = known.as_ref() != Some(&facts);
            *known = Some(facts);
            differs
        });
    }

    /// The Node object of this name is gone. Its last addresses stay: nothing better is known.
    pub fn node_gone(&self, name: &str, then: NodeState) {
        if *name == *self.node_name {
            self.health.node(then);
        }
    }

    /// Our Node's name.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// The metrics, for the sources' own figures.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// The kind of object that a change changes; `None` for the marks of a list, and where all stays as it is.
pub fn kind_of(change: &Change) -> Option<Kind> {
    match change {
        Change::Upsert(Object::Service(_)) => Some(Kind::Service),
        Change::Upsert(Object::EndpointSlice(_)) => Some(Kind::EndpointSlice),
        Change::Upsert(Object::Node(_)) => Some(Kind::Node),
        Change::Upsert(Object::ServiceCidr(_)) => Some(Kind::ServiceCidr),
        Change::Delete(object) => Some(object.kind),
        Change::Malformed(..) | Change::RelistStart(_) | Change::RelistEnd(_) => None,
    }
}
