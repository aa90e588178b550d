//! One watch, for ever: events to changes, errors to waits.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use proxy_model::{Change, Kind, ObjectRef};
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::slim::{Shape, Slim};
use crate::config::WatchConfig;
use crate::feed::Feed;
use crate::health::NodeState;
use crate::objects::reference;
use crate::tasks::Shutdown;

/// Until a kind that the server does not have is asked for again.
const ABSENT: std::time::Duration = std::time::Duration::from_mins(5);

/// Follows all objects of a kind until shutdown.
pub(super) async fn follow<T: Shape>(
    api: Api<Slim<T>>,
    selection: watcher::Config,
    config: WatchConfig,
    feed: Arc<Feed>,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut follower = Follower {
        kind: T::KIND,
        feed,
        backoff: Backoff::new(config.backoff_max),
        objects: 0,
    };
    let start = || -> BoxStream<'static, watcher::Result<Event<Slim<T>>>> {
        watcher(api.clone(), selection.clone()).boxed()
    };
    let mut events = start();
    loop {
        let next = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            next = events.next() => next,
        };
        match next {
            Some(Ok(event)) => {
                if follower.event(event).await.is_err() {
                    // Not our failure: the sync task tells its own.
                    shutdown.requested().await;
                    return Ok(());
                }
            }
            Some(Err(error)) => {
                if version_unknown(&error) {
                    debug!(kind = %T::KIND, "the server does not know our version; listing anew");
                    events = start();
                }
                let wait = if T::OPTIONAL && absent(&error) {
                    follower.absent(&error)
                } else {
                    follower.error(&error)
                };
                tokio::select! {
                    () = shutdown.requested() => return Ok(()),
                    () = tokio::time::sleep(wait) => {}
                }
            }
            None => events = start(),
        }
    }
}

struct Follower {
    kind: Kind,
    feed: Arc<Feed>,
    backoff: Backoff,
    /// Objects of the list that runs.
    objects: usize,
}

impl Follower {
    async fn event<T: Shape>(&mut self, event: Event<Slim<T>>) -> Result<(), crate::feed::Closed> {
        let at = Instant::now();
        match &event {
            Event::Init => {
                self.objects = 0;
                self.feed
                    .metrics()
                    .relists
                    .get_or_create(&[("kind", self.kind.label())])
                    .inc();
            }
            Event::InitApply(object) | Event::Apply(object) => {
                self.objects += 1;
                if let Some(facts) = &object.parsed.node {
                    self.feed.node(facts.clone());
                }
            }
            Event::InitDone => self.listed(),
            Event::Delete(object) => {
                if object.parsed.node.is_some() {
                    let name = reference(&object.parsed.object).name;
                    warn!(node = name, "our Node object was deleted");
                    self.feed.node_gone(&name, NodeState::Missing);
                }
            }
        }
        // `Init` is said before the server is asked anything.
        if !matches!(event, Event::Init) {
            self.recovered();
        }
        self.feed.send(change(event), at).await
    }

    fn listed(&self) {
        info!(kind = %self.kind, objects = self.objects, "listed");
        if self.kind == Kind::Node && self.objects == 0 {
            let node = self.feed.node_name();
            warn!(
                node,
                "there is no Node object of our name; no endpoint counts as local, and load balancers are told to stay away"
            );
            self.feed.node_gone(node, NodeState::Missing);
        }
    }

    fn recovered(&mut self) {
        if !self.backoff.fresh() {
            info!(kind = %self.kind, "the watch works again");
            self.backoff.reset();
        }
    }

    /// Nothing is missed meanwhile, so nothing is an error; an upgrade of the server is noticed in time.
    fn absent(&self, error: &watcher::Error) -> std::time::Duration {
        info!(kind = %self.kind, cause = chain(error), "the API server does not have this kind, or does not show it; doing without");
        ABSENT
    }

    fn error(&mut self, error: &watcher::Error) -> std::time::Duration {
        self.feed
            .metrics()
            .watch_errors
            .get_or_create(&[("kind", self.kind.label())])
            .inc();
        let first = self.backoff.fresh();
        let wait = self.backoff.wait(Instant::now());
        let (kind, cause, retry_ms) = (self.kind, chain(error), wait.as_millis());
        if first {
            warn!(%kind, cause, retry_ms, "the watch broke; the last known state stays");
        } else {
            debug!(%kind, cause, retry_ms, "the watch is still broken");
        }
        wait
    }
}

/// Whether the server does not have the kind, or does not show it to us.
fn absent(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status)) => status.code == 404 || status.code == 403,
        _ => false,
    }
}

/// What an event means for the planner.
fn change<T: Shape>(event: Event<Slim<T>>) -> Change {
    match event {
        Event::Init => Change::RelistStart(T::KIND),
        Event::InitApply(object) | Event::Apply(object) => Change::Upsert(object.parsed.object),
        Event::InitDone => Change::RelistEnd(T::KIND),
        Event::Delete(object) => {
            let ObjectRef {
                kind,
                namespace,
                name,
            } = reference(&object.parsed.object);
            Change::Delete(ObjectRef {
                kind,
                namespace,
                name,
            })
        }
    }
}

/// Whether only a new list helps: our version was compacted away, or belongs to a past that the server's data does not know
/// (restored from a backup). kube's watcher lists anew for a 410 inside a watch, not for one that refuses it.
fn version_unknown(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            status.code == 410 || status.message.contains("Too large resource version")
        }
        watcher::Error::WatchError(status) => status.message.contains("Too large resource version"),
        _ => false,
    }
}

/// An error with its causes; HTTP clients hide the useful part in there.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
