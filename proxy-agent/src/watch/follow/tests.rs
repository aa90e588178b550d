//! A watch against an API server made of canned HTTP answers.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use kube::client::Body;
use proxy_model::{Object, raw};

use super::*;
use crate::feed::Outlets;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::tasks::Tasks;

const CONFIG: WatchConfig = WatchConfig {
    page_size: 2,
    timeout_seconds: 30,
    backoff_max: Duration::from_millis(100),
};

/// One canned answer: the part of the URL that must be asked for, the code, the body.
type Answer = (&'static str, u16, String);

/// Plays `answers` in order, then hangs; returns the changes seen up to the `wanted`th.
async fn play(answers: Vec<Answer>, wanted: usize) -> (Vec<String>, Metrics) {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let service = tower_service(answers);
    let client = kube::Client::new(service, "default");
    let metrics = Metrics::default();
    let health = Arc::new(Health::new(Duration::from_mins(1), NodeState::Missing));
    let (
        feed,
        Outlets {
            mut changes,
            node: _node,
            api_servers: _,
        },
    ) = Feed::new("n1", health, metrics.clone());
    let mut tasks = Tasks::default();
    let api = Api::<Slim<raw::Service>>::all(client);
    let selection = watcher::Config::default().page_size(CONFIG.page_size);
    tasks.spawn(
        "watch",
        follow(api, selection, CONFIG, Arc::new(feed), tasks.shutdown()),
    );
    let mut seen = Vec::new();
    tasks
        .run(async {
            while seen.len() < wanted {
                let arrived = tokio::time::timeout(Duration::from_mins(1), changes.recv()).await?;
                seen.push(
                    arrived
                        .map(|arrived| describe(&arrived.change))
                        .unwrap_or_default(),
                );
            }
            Ok(())
        })
        .await
        .unwrap();
    (seen, metrics)
}

fn tower_service(
    answers: Arc<Mutex<VecDeque<Answer>>>,
) -> impl tower::Service<
    Request<Body>,
    Response = Response<Full<Bytes>>,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Send
+ Clone
+ 'static {
    tower::service_fn(move |request: Request<Body>| {
        let answers = Arc::clone(&answers);
        async move {
            let next = answers.lock().unwrap().pop_front();
            let Some((wanted, code, body)) = next else {
                return std::future::pending().await;
            };
            let asked = request.uri().to_string();
            assert!(asked.contains(wanted), "asked {asked}, wanted {wanted}");
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            Ok(response)
        }
    })
}

fn describe(change: &Change) -> String {
    match change {
        Change::RelistStart(kind) => format!("start {kind}"),
        Change::RelistEnd(kind) => format!("end {kind}"),
        Change::Upsert(object @ Object::Service(_)) => format!("upsert {}", reference(object).name),
        Change::Upsert(other) => format!("unexpected {other:?}"),
        Change::Malformed(object, _) => format!("malformed {}", object.name),
        Change::Delete(object) => format!("delete {}", object.name),
    }
}

fn service(name: &str, version: u32) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}","namespace":"d","resourceVersion":"{version}"}}}}"#
    )
}

fn list(version: u32, token: &str, names: &[&str]) -> String {
    let items: Vec<String> = names.iter().map(|name| service(name, version)).collect();
    format!(
        r#"{{"apiVersion":"v1","kind":"ServiceList","metadata":{{"resourceVersion":"{version}","continue":"{token}"}},"items":[{}]}}"#,
        items.join(",")
    )
}

fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn status(code: u16, message: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Status","status":"Failure","message":"{message}","reason":"x","code":{code}}}"#
    )
}

#[tokio::test]
async fn pages_then_events_in_order() {
    let watch = [
        event("MODIFIED", &service("a", 6)),
        event("DELETED", &service("b", 7)),
        event("ADDED", &service("d", 8)),
    ]
    .concat();
    let answers = vec![
        ("limit=2", 200, list(5, "more", &["a", "b"])),
        ("continue=more", 200, list(5, "", &["c"])),
        ("resourceVersion=5", 200, watch),
    ];
    let (seen, _) = play(answers, 8).await;
    assert_eq!(
        seen,
        [
            "start Service",
            "upsert a",
            "upsert b",
            "upsert c",
            "end Service",
            "upsert a",
            "delete b",
            "upsert d"
        ]
    );
}

#[tokio::test]
async fn broken_watch_resumes_where_it_was_without_a_list() {
    let answers = vec![
        ("limit=2", 200, list(5, "", &["a"])),
        ("resourceVersion=5", 200, event("ADDED", &service("b", 6))),
        ("resourceVersion=6", 503, status(503, "restarting")),
        ("resourceVersion=6", 200, event("ADDED", &service("c", 7))),
    ];
    let (seen, metrics) = play(answers, 5).await;
    assert_eq!(
        seen,
        [
            "start Service",
            "upsert a",
            "end Service",
            "upsert b",
            "upsert c"
        ]
    );
    assert_eq!(
        metrics.relists.get_or_create(&[("kind", "Service")]).get(),
        1
    );
    assert_eq!(
        metrics
            .watch_errors
            .get_or_create(&[("kind", "Service")])
            .get(),
        1
    );
}

#[tokio::test]
async fn compacted_version_lists_anew_whether_told_in_the_watch_or_instead_of_it() {
    let answers = vec![
        ("limit=2", 200, list(5, "", &["a"])),
        (
            "resourceVersion=5",
            200,
            event("ERROR", &status(410, "too old resource version")),
        ),
        ("limit=2", 200, list(9, "", &["b"])),
        (
            "resourceVersion=9",
            410,
            status(410, "too old resource version"),
        ),
        ("limit=2", 200, list(12, "", &["c"])),
        (
            "resourceVersion=12",
            504,
            status(504, "Too large resource version: 12, current: 3"),
        ),
        ("limit=2", 200, list(3, "", &["d"])),
    ];
    let (seen, metrics) = play(answers, 12).await;
    let round = |name: &str| {
        [
            "start Service".to_owned(),
            format!("upsert {name}"),
            "end Service".to_owned(),
        ]
    };
    assert_eq!(
        seen,
        [round("a"), round("b"), round("c"), round("d")].concat()
    );
    assert_eq!(
        metrics.relists.get_or_create(&[("kind", "Service")]).get(),
        4
    );
}

#[tokio::test]
async fn list_that_fails_midway_never_ends() {
    let answers = vec![
        ("limit=2", 200, list(5, "more", &["a", "b"])),
        ("continue=more", 500, status(500, "etcd is away")),
        ("limit=2", 200, list(6, "", &["a"])),
    ];
    let (seen, _) = play(answers, 6).await;
    assert_eq!(
        seen,
        [
            "start Service",
            "upsert a",
            "upsert b",
            "start Service",
            "upsert a",
            "end Service"
        ]
    );
}
