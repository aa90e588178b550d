//! Listeners over real sockets, and the answer byte for byte.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use super::servers::answer;
use super::*;
use crate::events::{Events, Notice};
use crate::health::{Health, NodeState};
use http_body_util::BodyExt as _;

fn service(name: &str) -> ServiceId {
    ServiceId {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
    }
}

fn wanted(checks: &[(&str, u16, usize)]) -> Wanted {
    let check =
        |&(name, port, endpoints): &(&str, u16, usize)| (service(name), Check { port, endpoints });
    checks.iter().map(check).collect()
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn ask(to: (&str, u16), request: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn start() -> (Servers, tokio::sync::mpsc::Receiver<Notice>) {
    let health = Arc::new(Health::new(Duration::from_mins(1), NodeState::Leaving));
    health.synced();
    health.devices_covered();
    let (events, told) = Events::channel("n1");
    (Servers::new(health, events), told)
}

#[tokio::test]
async fn semantics_11_1_answer_is_kube_proxys_byte_for_byte() {
    for (endpoints, healthy, code) in [(2, true, 200), (0, true, 503), (2, false, 503)] {
        let reply = answer(&service("web"), endpoints, healthy);
        assert_eq!(reply.status().as_u16(), code);
        let header = |name: &str| reply.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(
            header("x-load-balancing-endpoint-weight"),
            endpoints.to_string()
        );
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        let expected = format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t}},\n\t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
        );
        assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn semantics_11_1_one_listener_answers_both_families_any_path_and_method() {
    let [port] = free_ports();
    let (mut servers, _told) = start();
    assert!(
        !servers
            .reconcile(&wanted(&[("web", port, 0)]), &Addresses::All)
            .await
    );
    assert_eq!(servers.sockets().len(), 1);
    // SEMANTICS 21.22: 503 before the first endpoint.
    assert!(ask(("127.0.0.1", port), "GET /").starts_with("HTTP/1.1 503"));
    servers
        .reconcile(&wanted(&[("web", port, 3)]), &Addresses::All)
        .await;
    for request in ["GET /", "GET /healthz/x?y=z", "POST /", "DELETE /a"] {
        let answer = ask(("127.0.0.1", port), request);
        // The node is leaving; that does not count here.
        assert!(answer.starts_with("HTTP/1.1 200"), "{request}: {answer}");
        assert!(answer.contains("\t\"localEndpoints\": 3,"), "{answer}");
    }
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(ask(("::1", port), "GET /").starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn semantics_21_23_ports_swapped_in_one_sync_are_closed_before_they_are_opened() {
    let [one, two] = free_ports();
    let (mut servers, mut told) = start();
    servers
        .reconcile(&wanted(&[("a", one, 1), ("b", two, 2)]), &Addresses::All)
        .await;
    let retry = servers
        .reconcile(&wanted(&[("a", two, 1), ("b", one, 2)]), &Addresses::All)
        .await;
    assert!(!retry && told.try_recv().is_err(), "no port was taken");
    assert!(ask(("127.0.0.1", one), "GET /").contains("\"b\""));
    assert!(ask(("127.0.0.1", two), "GET /").contains("\"a\""));
    servers.reconcile(&Wanted::new(), &Addresses::All).await;
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, one)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn semantics_11_1_taken_port_is_one_event_and_stops_nobody_else() {
    let holder = TcpListener::bind("0.0.0.0:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let [free] = free_ports();
    let (mut servers, mut told) = start();
    let both = wanted(&[("a", taken, 1), ("b", free, 1)]);
    for _ in 0..3 {
        assert!(
            servers.reconcile(&both, &Addresses::All).await,
            "it is to be tried again"
        );
    }
    let notice = told.try_recv().unwrap();
    assert_eq!(
        (notice.reason, notice.action),
        ("FailedToStartServiceHealthcheck", "Listen")
    );
    assert!(told.try_recv().is_err(), "told once");
    assert!(ask(("127.0.0.1", free), "GET /").starts_with("HTTP/1.1 200"));
    drop(holder);
    assert!(!servers.reconcile(&both, &Addresses::All).await);
    assert!(ask(("127.0.0.1", taken), "GET /").starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn semantics_11_1_restricted_node_port_addresses_are_listened_on_alone() {
    let [port] = free_ports();
    let (mut servers, _told) = start();
    let status = DeviceStatus {
        addresses: vec![
            ("127.0.0.1".parse().unwrap(), true),
            ("127.0.0.2".parse().unwrap(), false),
            ("fe80::1".parse().unwrap(), true),
        ],
        ..DeviceStatus::default()
    };
    assert_eq!(Addresses::of(true, Some(&status)), Addresses::All);
    let addresses = Addresses::of(false, Some(&status));
    servers
        .reconcile(&wanted(&[("web", port, 1)]), &addresses)
        .await;
    assert!(ask(("127.0.0.1", port), "GET /").starts_with("HTTP/1.1 200"));
    assert!(TcpStream::connect(("127.0.0.2", port)).is_err());
}
