//! Kubernetes events (SEMANTICS 13.17): what an operator should see beside the object that it is about.
//!
//! Telling never waits and never fails: a full queue drops, and counts. The publisher is slow on purpose, and every event has
//! a name made of what it says, so that a thousand nodes that see one bad Service leave one event.

mod notice;
mod publish;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};

pub use notice::{About, Notice, Severity};
pub use publish::publish;

/// Notices that wait for the API server.
const QUEUE: usize = 256;

/// The end that everybody holds. Clones share it.
#[derive(Clone, Debug)]
pub struct Events {
    queue: Option<mpsc::Sender<Notice>>,
    node: Arc<str>,
    dropped: Counter,
}

impl Events {
    /// Events of the node of this name, and where they come out.
    pub fn channel(node: &str) -> (Self, mpsc::Receiver<Notice>) {
        let (queue, told) = mpsc::channel(QUEUE);
        let events = Self {
            queue: Some(queue),
            ..Self::nowhere(node)
        };
        (events, told)
    }

    /// Without an API server there is nobody to tell; the log has it all.
    pub fn nowhere(node: &str) -> Self {
        Self {
            queue: None,
            node: node.into(),
            dropped: Counter::default(),
        }
    }

    /// Queues a notice, or drops it.
    pub fn tell(&self, notice: Notice) {
        if let Some(queue) = &self.queue
            && queue.try_send(notice).is_err()
        {
            self.dropped.inc();
        }
    }

    /// Queues a notice and waits until it was published or given up: for the last words of an agent that ends.
    pub async fn flush(&self, mut notice: Notice) {
        let (done, published) = oneshot::channel();
        notice.done = Some(done);
        self.tell(notice);
        // An error means that the publisher dropped it: given up.
        let _given_up = tokio::time::timeout(publish::LAST_WORDS, published)
            .await
            .is_err();
    }

    /// The name of our Node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Shows how many notices found the queue full.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "kubeshunt_events_dropped",
            "Kubernetes events that were not published because too many waited",
            self.dropped.clone(),
        );
    }
}

#[cfg(test)]
mod tests;
