//! The sync task over a kernel made of memory.

use std::sync::Mutex;

use proxy_model::{Kind, Object, PlannerConfig, raw};
use tokio::sync::oneshot;

use super::*;
use crate::feed::{Feed, Outlets};
use crate::health::NodeState;
use crate::tasks::Tasks;

/// What the fake kernel was told.
#[derive(Debug, Default)]
struct Told {
    batches: Vec<Vec<MapOp>>,
    synced: usize,
    /// The error to answer with, and how often.
    error: Option<(i32, usize)>,
}

#[derive(Clone, Debug, Default)]
struct Fake(Arc<Mutex<Told>>);

impl Executor for Fake {
    fn apply(&mut self, ops: &[MapOp]) -> Applied {
        let mut told = self.0.lock().unwrap();
        let error = match &mut told.error {
            Some((code, times)) if *times > 0 => {
                *times -= 1;
                Some(*code)
            }
            _ => None,
        };
        let failed = if error.is_some() {
            frontends(ops)
        } else {
            Vec::new()
        };
        told.batches.push(ops.to_vec());
        let error = error.map(|code| proxy_kernel::Error::Map {
            map: "FRONTENDS_V4",
            action: "update",
            source: std::io::Error::from_raw_os_error(code),
        });
        Applied {
            failed,
            error,
            ..Applied::default()
        }
    }

    fn synced(&mut self) -> anyhow::Result<()> {
        self.0.lock().unwrap().synced += 1;
        Ok(())
    }
}

fn frontends(ops: &[MapOp]) -> Vec<proxy_model::FrontendRef> {
    let of = |op: &MapOp| match op {
        MapOp::UpsertFrontends4(list) => list
            .iter()
            .map(|(key, _)| proxy_model::FrontendRef::V4(*key))
            .collect(),
        _ => Vec::new(),
    };
    ops.iter().flat_map(of).collect()
}

struct Running {
    feed: Feed,
    queries: mpsc::Sender<Query>,
    kernel: Fake,
    health: Arc<Health>,
    metrics: Metrics,
    tasks: Tasks,
}

fn start(error: Option<(i32, usize)>) -> Running {
    let (running, loaded) = loading(error);
    drop(loaded.send(ready(&running.kernel)));
    running
}

fn ready(kernel: &Fake) -> Ready<Fake> {
    Ready {
        executor: kernel.clone(),
        frontends: 10_000,
        backends: 100,
        found: None,
    }
}

/// The same, while the programs are being loaded.
fn loading(error: Option<(i32, usize)>) -> (Running, oneshot::Sender<Ready<Fake>>) {
    let kernel = Fake::default();
    kernel.0.lock().unwrap().error = error;
    let metrics = Metrics::default();
    let health = Arc::new(Health::new(
        Duration::from_millis(200),
        NodeState::NotExpected,
    ));
    health.devices_covered();
    let (
        feed,
        Outlets {
            changes,
            node: _node,
            api_servers: _,
        },
    ) = Feed::new("n1", Arc::clone(&health), metrics.clone());
    let (queries, questions) = mpsc::channel(4);
    let planner = Planner::new(PlannerConfig::new("n1"));
    let mut tasks = Tasks::default();
    let (loaded, ready) = oneshot::channel();
    let sync = Sync::new(
        planner,
        ready,
        changes,
        questions,
        100,
        Audience {
            health: Arc::clone(&health),
            metrics: metrics.clone(),
            events: Events::nowhere("n1"),
            checks: watch::Sender::default(),
        },
    );
    tasks.spawn("sync", sync.run(tasks.shutdown()));
    let running = Running {
        feed,
        queries,
        kernel,
        health,
        metrics,
        tasks,
    };
    (running, loaded)
}

fn service(name: &str, ip: &str) -> Change {
    let metadata = raw::Meta {
        name: name.to_owned(),
        namespace: "d".to_owned(),
        ..raw::Meta::default()
    };
    let port = raw::ServicePort {
        port: 80,
        ..raw::ServicePort::default()
    };
    let spec = raw::ServiceSpec {
        cluster_ip: ip.to_owned(),
        cluster_ips: vec![ip.to_owned()],
        ports: vec![port],
        ..raw::ServiceSpec::default()
    };
    Change::Upsert(Object::Service(raw::Service {
        metadata,
        spec,
        ..raw::Service::default()
    }))
}

async fn send(feed: &Feed, changes: impl IntoIterator<Item = Change>) {
    for change in changes {
        feed.send(change, Instant::now()).await.unwrap();
    }
}

/// Polls until `done`, for so long as a busy machine may take.
async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Changes whose way to the kernel was measured.
fn measured(metrics: &Metrics) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("kubeshunt_event_to_kernel_seconds_count "));
    count.unwrap().parse().unwrap()
}

async fn status(queries: &mpsc::Sender<Query>) -> SyncStatus {
    let (to, answer) = oneshot::channel();
    queries.send(Query::Status(to)).await.unwrap();
    answer.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_taken_in_while_the_programs_are_loaded() {
    const SERVICES: usize = 3_000; // More than the feed holds.
    let (running, loaded) = loading(None);
    let work = async {
        let services = (0..SERVICES)
            .map(|n| service(&format!("s{n}"), &format!("10.0.{}.{}", n / 250, n % 250)));
        let (starts, ends) = (Kind::ALL.iter(), Kind::ALL.iter());
        let starts = starts.map(|kind| Change::RelistStart(*kind));
        let ends = ends.map(|kind| Change::RelistEnd(*kind));
        send(&running.feed, starts.chain(services).chain(ends)).await;
        while !status(&running.queries).await.waiting_for.is_empty() {}
        assert_eq!(running.kernel.0.lock().unwrap().synced, 0);
        drop(loaded.send(ready(&running.kernel)));
        let kernel = || running.kernel.0.lock().unwrap();
        until("the first sync", || kernel().synced == 1).await;
        assert_eq!(frontends(&kernel().batches.concat()).len(), SERVICES);
        Ok(())
    };
    running.tasks.run(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_the_kernel_before_every_first_list() {
    let Running {
        feed,
        queries,
        kernel,
        health,
        metrics,
        tasks,
    } = start(None);
    let work = async {
        send(
            &feed,
            [
                Change::RelistStart(Kind::Service),
                service("a", "10.0.0.1"),
                Change::RelistEnd(Kind::Service),
            ],
        )
        .await;
        send(
            &feed,
            [
                Change::RelistStart(Kind::Node),
                Change::RelistEnd(Kind::Node),
            ],
        )
        .await;
        until("two lists are taken", || metrics.service_changes.get() == 1).await;
        let mut waiting = status(&queries).await.waiting_for;
        while waiting.len() > 1 {
            waiting = status(&queries).await.waiting_for;
        }
        assert_eq!(waiting, ["EndpointSlice"]);
        assert!(kernel.0.lock().unwrap().batches.is_empty());
        assert!(!health.healthz(Instant::now()).healthy);
        // Longer than the timeout: what must wait is not late.
        assert!(
            health
                .livez(Instant::now() + Duration::from_secs(5))
                .healthy
        );

        send(
            &feed,
            [
                Change::RelistStart(Kind::EndpointSlice),
                Change::RelistEnd(Kind::EndpointSlice),
            ],
        )
        .await;
        until("the first sync", || kernel.0.lock().unwrap().synced == 1).await;
        assert_eq!(
            frontends(&kernel.0.lock().unwrap().batches.concat()).len(),
            1
        );
        until("healthy", || health.healthz(Instant::now()).healthy).await;
        assert_eq!(
            measured(&metrics),
            0,
            "the first lists' wait is no change's"
        );
        assert!(metrics.first_sync.get() > 0.0);

        send(&feed, [service("b", "10.0.0.2")]).await;
        until("the second Service", || {
            frontends(&kernel.0.lock().unwrap().batches.concat()).len() >= 2
        })
        .await;
        assert_eq!(kernel.0.lock().unwrap().synced, 1, "attached once");
        until("no change is pending", || {
            metrics.service_changes_pending.get() == 0
        })
        .await;
        until("it is measured", || measured(&metrics) == 1).await;
        Ok(())
    };
    tasks.run(work).await.unwrap();
}

fn empty_lists() -> Vec<Change> {
    Kind::ALL
        .iter()
        .flat_map(|&kind| [Change::RelistStart(kind), Change::RelistEnd(kind)])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn full_map_is_counted_and_retried_and_is_no_reason_to_leave() {
    let Running {
        feed,
        queries,
        kernel,
        health,
        metrics,
        tasks,
    } = start(Some((nix::errno::Errno::E2BIG as i32, 1)));
    let work = async {
        send(
            &feed,
            empty_lists().into_iter().chain([service("a", "10.0.0.1")]),
        )
        .await;
        until("the refusal is counted", || metrics.map_errors.get() == 1).await;
        // Answered between two plans, so that one is over.
        status(&queries).await;
        assert!(
            health
                .livez(Instant::now() + Duration::from_secs(5))
                .healthy
        );
        until("the retry", || {
            frontends(&kernel.0.lock().unwrap().batches.concat()).len() == 2
        })
        .await;
        Ok(())
    };
    tasks.run(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lasting_map_error_makes_unhealthy_until_it_ends() {
    let Running {
        feed,
        queries: _queries,
        kernel,
        health,
        metrics,
        tasks,
    } = start(Some((nix::errno::Errno::EPERM as i32, usize::MAX)));
    let work = async {
        let before = Instant::now();
        send(
            &feed,
            empty_lists().into_iter().chain([service("a", "10.0.0.1")]),
        )
        .await;
        until("the error is counted", || metrics.map_errors.get() >= 1).await;
        assert!(
            !health
                .livez(Instant::now() + Duration::from_secs(5))
                .healthy
        );
        assert!(health.livez(before).healthy, "not before the timeout");
        kernel.0.lock().unwrap().error = None;
        until("healthy again", || {
            health
                .livez(Instant::now() + Duration::from_secs(5))
                .healthy
        })
        .await;
        Ok(())
    };
    tasks.run(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_object_is_counted_by_its_problem() {
    let Running {
        feed,
        queries: _queries,
        kernel: _kernel,
        health: _health,
        metrics,
        tasks,
    } = start(None);
    let mut bad = service("bad", "10.0.0.1");
    if let Change::Upsert(Object::Service(service)) = &mut bad {
        service.spec.ports[0].protocol = "CARRIER-PIGEON".to_owned();
    }
    let work = async {
        send(&feed, empty_lists().into_iter().chain([bad])).await;
        until("counted", || {
            metrics
                .object_errors
                .get_or_create(&[("kind", "unknown_protocol")])
                .get()
                == 1
        })
        .await;
        Ok(())
    };
    tasks.run(work).await.unwrap();
}
