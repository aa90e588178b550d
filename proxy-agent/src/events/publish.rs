//! Notices to the API server, slowly.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::debug;

use super::Notice;
use crate::tasks::Shutdown;

/// How slowly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two events of one node.
    pub(super) pause: Duration,
    /// Spreads the same event of many nodes; most then find that it exists.
    pub(super) spread: Duration,
    /// Between two tries while the API server does not answer.
    pub(super) retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(200),
            spread: Duration::from_secs(1),
            retry: Duration::from_secs(5),
        }
    }
}

/// Tries of one notice; older news are no news.
const TRIES: u32 = 12;
/// How long the last words of an agent that ends may take.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);

/// Publishes what is told until shutdown.
pub async fn publish(
    client: Client,
    node: String,
    told: mpsc::Receiver<Notice>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let create = |event: Event| {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let events = Api::<Event>::namespaced(client.clone(), &namespace);
        async move {
            events
                .create(&PostParams::default(), &event)
                .await
                .map(drop)
        }
    };
    follow(create, &node, told, Pace::default(), shutdown).await;
    Ok(())
}

/// As [`publish`], with any way to create.
pub(super) async fn follow<F: Future<Output = Result<(), kube::Error>>>(
    create: impl Fn(Event) -> F,
    node: &str,
    mut told: mpsc::Receiver<Notice>,
    pace: Pace,
    mut shutdown: Shutdown,
) {
    let publishing = async {
        while let Some(mut notice) = told.recv().await {
            if notice.of_cluster() {
                tokio::time::sleep(pace.spread.mul_f64(fastrand::f64())).await;
            }
            let event = notice.event(node, Timestamp::now());
            one(&create, event, pace).await;
            if let Some(done) = notice.done.take() {
                // Whoever waited may have given up.
                let _heard = done.send(()).is_ok();
            }
            tokio::time::sleep(pace.pause).await;
        }
    };
    tokio::select! {
        () = publishing => shutdown.requested().await,
        () = shutdown.requested() => {}
    }
}

async fn one<F: Future<Output = Result<(), kube::Error>>>(
    create: &impl Fn(Event) -> F,
    event: Event,
    pace: Pace,
) {
    for _ in 0..TRIES {
        match create(event.clone()).await {
            Ok(()) => return,
            // Another node, or we ourselves an hour ago, said the same.
            Err(kube::Error::Api(status)) if status.code == 409 => return,
            Err(kube::Error::Api(status))
                if (400..500).contains(&status.code) && status.code != 429 =>
            {
                debug!(
                    error = status.message,
                    "the API server does not take an event"
                );
                return;
            }
            Err(error) => {
                debug!(%error, "cannot publish an event yet");
                tokio::time::sleep(pace.retry).await;
            }
        }
    }
}
