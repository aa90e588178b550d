//! The servers over real sockets.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::tasks::Tasks;
use std::net::SocketAddr;

fn hello() -> Handler {
    Arc::new(|ask| {
        Box::pin(async move { text(StatusCode::OK, format!("you asked for {}\n", ask.path)) })
    })
}

fn ask(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

async fn connected(address: (&str, u16)) -> TcpStream {
    for _ in 0..6_000 {
        if let Ok(stream) = TcpStream::connect(address) {
            return stream;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nobody listens on {address:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_listener_serves_both_families_and_any_method() {
    let port = free_port();
    let mut tasks = Tasks::default();
    let shutdown = tasks.shutdown();
    tasks.spawn(
        "server",
        serve_tcp(
            Listener::new("test", SocketAddr::from(([0; 4], port))),
            hello(),
            shutdown,
        ),
    );
    tasks
        .run(async {
            let get = "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let answer = ask(connected(("127.0.0.1", port)).await, get);
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.ends_with("you asked for /a\n"),
                "{answer}"
            );
            assert!(
                answer.contains("x-content-type-options: nosniff"),
                "{answer}"
            );
            if std::net::TcpListener::bind("[::1]:0").is_ok() {
                assert!(ask(connected(("::1", port)).await, get).starts_with("HTTP/1.1 200"));
            }
            let post =
                "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            assert!(ask(connected(("127.0.0.1", port)).await, post).starts_with("HTTP/1.1 200"));
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_socket_is_roots_alone_replaces_a_left_one_and_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/agent.sock");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut tasks = Tasks::default();
    let shutdown = tasks.shutdown();
    tasks.spawn("server", serve_unix(path.clone(), hello(), shutdown));
    let seen = path.clone();
    tasks
        .run(async move {
            let mut stream = None;
            for _ in 0..6_000 {
                stream = std::os::unix::net::UnixStream::connect(&seen).ok();
                if stream.is_some() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let answer = ask(
                stream.expect("the socket is served"),
                "GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            );
            assert!(answer.ends_with("you asked for /b\n"), "{answer}");
            assert_eq!(
                std::fs::metadata(&seen)?.permissions().mode() & 0o777,
                0o600
            );
            Ok(())
        })
        .await
        .unwrap();
    assert!(!path.exists());
}
