//! The agent's tasks: named, joined, and none may end unnoticed.
//!
//! A task that returns early, fails or panics ends the process with one clear error; the supervisor restarts it, and the
//! kernel serves meanwhile. Must not swallow a failure.

use std::future::Future;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{Instrument as _, debug, info_span};

/// Tells every task that it is time to stop.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Resolves when the agent stops.
    pub async fn requested(&mut self) {
        // An error means that the sender is gone, and the agent with it.
        let _ended = self.0.wait_for(|stop| *stop).await.is_err();
    }
}

/// The running tasks.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
    stop: watch::Sender<bool>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            set: JoinSet::new(),
            names: std::collections::HashMap::new(),
            stop: watch::Sender::new(false),
        }
    }
}

impl Tasks {
    /// What a task waits on to know when to stop.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.stop.subscribe())
    }

    /// Starts a task.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self
            .set
            .spawn(async move { (name, task.await) }.instrument(info_span!("task", task = name)));
        self.names.insert(handle.id(), name);
    }

    /// Runs until `stop` resolves or a task ends; then stops and joins all. The first failure is the result.
    pub async fn run(
        mut self,
        stop: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let early = tokio::select! {
            stopped = stop => stopped,
            ended = self.set.join_next_with_id() => ended.map_or(Ok(()), |ended| {
                self.outcome(ended).and_then(|name| Err(anyhow::anyhow!("task {name} ended although nobody asked it to")))
            }),
        };
        self.stop.send_replace(true);
        let mut result = early;
        while let Some(ended) = self.set.join_next_with_id().await {
            match self.outcome(ended) {
                Ok(name) => debug!(name, "task joined"),
                // The first failure is the cause; later ones are mostly its consequences.
                Err(error) if result.is_err() => {
                    debug!(error = format!("{error:#}"), "task failed while stopping");
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    fn outcome(
        &self,
        ended: Result<
            (tokio::task::Id, (&'static str, anyhow::Result<()>)),
            tokio::task::JoinError,
        >,
    ) -> anyhow::Result<&'static str> {
        match ended {
            Ok((_, (name, result))) => result
                .map(|()| name)
                .map_err(|error| error.context(format!("task {name} failed"))),
            Err(join) => {
                let name = self.names.get(&join.id()).copied().unwrap_or("unknown");
                let said = join
                    .try_into_panic()
                    .map_or_else(|join| join.to_string(), |panic| panic_message(&panic));
                Err(anyhow::anyhow!("task {name} panicked: {said}"))
            }
        }
    }
}

fn panic_message(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// Resolves on SIGTERM or SIGINT.
pub async fn signalled() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let name = tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping; the kernel keeps serving");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    async fn never() -> anyhow::Result<()> {
        std::future::pending().await
    }

    #[tokio::test]
    async fn stop_reaches_every_task_and_joins_it() {
        let mut tasks = Tasks::default();
        let joined = Arc::new(AtomicBool::new(false));
        let (mut shutdown, seen) = (tasks.shutdown(), Arc::clone(&joined));
        tasks.spawn("waiter", async move {
            shutdown.requested().await;
            seen.store(true, Ordering::Relaxed);
            Ok(())
        });
        tasks.run(async { Ok(()) }).await.unwrap();
        assert!(joined.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn failure_names_the_task_and_ends_the_rest() {
        let mut tasks = Tasks::default();
        let mut shutdown = tasks.shutdown();
        tasks.spawn("waiter", async move {
            shutdown.requested().await;
            Ok(())
        });
        tasks.spawn("broken", async { anyhow::bail!("no such thing") });
        let error = format!("{:#}", tasks.run(never()).await.expect_err("a task failed"));
        assert!(
            error.contains("broken") && error.contains("no such thing"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn panic_names_the_task_and_what_it_said() {
        let mut tasks = Tasks::default();
        tasks.spawn("shaky", async { panic!("index {} is gone", 7) });
        let error = format!(
            "{:#}",
            tasks.run(never()).await.expect_err("a task panicked")
        );
        assert!(
            error.contains("shaky") && error.contains("index 7 is gone"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn early_end_is_a_failure() {
        let mut tasks = Tasks::default();
        tasks.spawn("short", async { Ok(()) });
        let error = tasks
            .run(never())
            .await
            .expect_err("a task ended")
            .to_string();
        assert!(error.contains("short"), "{error}");
    }
}
