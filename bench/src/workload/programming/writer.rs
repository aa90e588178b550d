//! Writes to the API server over connections that it keeps, so that the API server is the limit and no process has to start.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use integration::place::Place;
use integration::wait::monotonic_ns;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Writes of a stream under way at the same time, at most. More do not make the API server faster.
pub(super) const PARALLEL: u32 = 32;
/// A write is answered long before.
const LIMIT: Duration = Duration::from_secs(20);

/// A user of the API server with connections of its own. All of it runs on one thread, in the namespace of the API server.
pub(super) struct Writer {
    client: Client,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a stream of writes came to.
#[derive(Debug)]
pub(super) struct Written {
    /// Writes that the API server took.
    pub(super) writes: u32,
    /// From the first to the answer to the last.
    pub(super) took: Duration,
    /// Milliseconds from each write to its answer.
    pub(super) answers: Vec<f64>,
}

/// A path, and the object to be there.
type Write = (String, Value);

impl Writer {
    /// Connects from `place` as the user of `kubeconfig`.
    pub(super) fn start(place: &Place, kubeconfig: &Path) -> Result<Self> {
        let (place, kubeconfig) = (place.clone(), Kubeconfig::read_from(kubeconfig)?);
        let (tell, told) = mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let ran = place.enter(|| -> Result<()> {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let options = KubeConfigOptions::default();
                    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
                    tell.send((Client::try_from(config)?, Handle::current()))?;
                    // Whoever drops the other end stops it too.
                    drop(stopped.await);
                    Ok(())
                })
            });
            if let Err(error) = ran.and_then(|ran| ran) {
                eprintln!("the writer to the API server: {error:#}");
            }
        });
        let (client, handle) = told.recv().context("the writer does not start")?;
        Ok(Self {
            client,
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Makes `object` what is at `path`. When it was sent, in nanoseconds of the monotonic clock.
    pub(super) fn put(&self, path: String, object: &Value) -> Result<u64> {
        let (client, body) = (self.client.clone(), object.to_string());
        let (tell, told) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let asked = monotonic_ns();
            let answer = put(&client, &path, body).await.map(|()| asked);
            // Nobody waits any more: told below.
            drop(tell.send(answer));
        });
        told.recv_timeout(LIMIT).context("no answer to a write")?
    }

    /// Makes `writes` of rising numbers, `parallel` at a time, `rate` in a second or what the API server takes, while `lasts` lasts.
    pub(super) fn stream(
        &self,
        parallel: u32,
        rate: u32,
        lasts: Duration,
        writes: impl Fn(u32) -> Write + Send + Sync + 'static,
    ) -> Receiver<Result<Written>> {
        let (tell, told) = mpsc::sync_channel(1);
        let client = self.client.clone();
        self.handle.spawn(async move {
            // Nobody waits any more: an error came before.
            drop(tell.send(stream(client, parallel, rate, lasts, Arc::new(writes)).await));
        });
        told
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            eprintln!("the writer to the API server panicked");
        }
    }
}

async fn put(client: &Client, path: &str, body: String) -> Result<()> {
    let request = http::Request::put(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.into_bytes())?;
    let answered = client.request_text(request).await;
    answered.map(drop).with_context(|| format!("PUT {path}"))
}

async fn stream(
    client: Client,
    parallel: u32,
    rate: u32,
    lasts: Duration,
    writes: Arc<impl Fn(u32) -> Write + Send + Sync + 'static>,
) -> Result<Written> {
    let next = Arc::new(AtomicU32::new(0));
    let start = Instant::now();
    let one = |_index| {
        let (client, next, writes) = (client.clone(), Arc::clone(&next), Arc::clone(&writes));
        tokio::spawn(async move {
            let mut answers = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = Duration::from_secs(1) * number / rate;
                if due.max(start.elapsed()) >= lasts {
                    return Ok(answers);
                }
                tokio::time::sleep_until((start + due).into()).await;
                let (path, object) = writes(number);
                let asked = Instant::now();
                put(&client, &path, object.to_string()).await?;
                answers.push(asked.elapsed().as_secs_f64() * 1_000.0);
            }
        })
    };
    let tasks: Vec<_> = (0..parallel).map(one).collect();
    let mut answers = Vec::new();
    for task in tasks {
        let some: Result<Vec<f64>> = task.await?;
        answers.extend(some?);
    }
    let writes = u32::try_from(answers.len()).map_err(|_more| anyhow!("too many writes"))?;
    Ok(Written {
        writes,
        took: start.elapsed(),
        answers,
    })
}
