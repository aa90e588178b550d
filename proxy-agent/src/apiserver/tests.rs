//! The order of addresses, the file, and the way from one server to the next.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::{Request, Uri};
use kube::client::Body;
use proxy_model::raw;

use super::candidates::{Known, Places, candidates};
use super::pool::Pool;
use super::*;
use crate::http::{Handler, Listener, serve_tcp, text};
use crate::metrics::Metrics;
use crate::tasks::Tasks;

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

fn kubeconfig(dir: &Path, name: &str, server: &str) -> PathBuf {
    let file = dir.join(name);
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "two",
        "clusters": [{"name": "wrong", "cluster": {"server": "https://wrong.example"}}, {"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "one", "context": {"cluster": "wrong"}}, {"name": "two", "context": {"cluster": "c"}}],
    });
    std::fs::write(&file, text.to_string()).unwrap();
    file
}

fn order(known: Known, places: &Places, remembered: &Addresses) -> Vec<(String, Origin)> {
    let found = candidates(known, places, remembered).into_iter();
    found
        .map(|candidate| (candidate.url.to_string(), candidate.origin))
        .collect()
}

#[test]
fn addresses_come_in_the_documented_order_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places {
        kube_proxy: kubeconfig(dir.path(), "proxy", "https://proxy.example:6443"),
        kubelet: vec![
            dir.path().join("absent"),
            kubeconfig(dir.path(), "kubelet", "https://kubelet.example:6443"),
            kubeconfig(dir.path(), "same", "https://proxy.example:6443"),
        ],
    };
    let remembered: Addresses = ["192.0.2.1:6443".parse::<SocketAddr>().unwrap()]
        .into_iter()
        .collect();
    let pod = Known {
        pod: Some(uri("https://10.96.0.1:443")),
        ..Known::default()
    };
    let expected = [
        ("https://proxy.example:6443/", Origin::KubeProxy),
        ("https://kubelet.example:6443/", Origin::Kubelet),
        ("https://192.0.2.1:6443/", Origin::Remembered),
        ("https://10.96.0.1:443/", Origin::Pod),
    ];
    let expected = expected.map(|(url, origin)| (url.to_owned(), origin));
    assert_eq!(order(pod.clone(), &places, &remembered), expected);

    let named = Known {
        kubeconfig: Some(uri("https://given.example")),
        ..Known::default()
    };
    let found = order(named.clone(), &places, &remembered);
    assert_eq!(
        found.iter().map(|(_, origin)| *origin).collect::<Vec<_>>(),
        [Origin::Kubeconfig, Origin::Remembered]
    );

    let flags = Known {
        flags: vec![uri("https://a.example"), uri("https://b.example")],
        ..named
    };
    let found = order(flags, &places, &remembered);
    let expected = [Origin::Flag, Origin::Flag, Origin::Remembered];
    assert_eq!(
        found.iter().map(|(_, origin)| *origin).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn kubeconfig_that_makes_no_sense_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    std::fs::write(&broken, "clusters: [").unwrap();
    let places = Places {
        kube_proxy: broken,
        kubelet: vec![kubeconfig(dir.path(), "kubelet", "https://kubelet.example")],
    };
    let found = order(Known::default(), &places, &Addresses::default());
    assert_eq!(
        found,
        [("https://kubelet.example/".to_owned(), Origin::Kubelet)]
    );
}

fn slice(namespace: &str, service: &str, ips: &[&str]) -> raw::EndpointSlice {
    let text = serde_json::json!({
        "endpoints": ips.iter().map(|ip| serde_json::json!({"addresses": [ip]})).collect::<Vec<_>>(),
        "ports": [{"name": "other", "port": 1}, {"name": "https", "port": 6443}],
    });
    raw::EndpointSlice {
        metadata: raw::Meta {
            name: format!("{service}-x"),
            namespace: namespace.to_owned(),
            labels: [("kubernetes.io/service-name".to_owned(), service.to_owned())].into(),
            ..raw::Meta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: serde_json::from_value(text["endpoints"].clone()).unwrap(),
        ports: serde_json::from_value(text["ports"].clone()).unwrap(),
    }
}

#[test]
fn endpoints_of_default_kubernetes_are_remembered_and_no_others() {
    let mut addresses = Addresses::default();
    assert!(!addresses.upsert(&slice("other", "kubernetes", &["192.0.2.9"])));
    assert!(!addresses.upsert(&slice("default", "web", &["192.0.2.9"])));
    assert!(addresses.is_empty());
    let seen = slice("default", "kubernetes", &["192.0.2.1", "192.0.2.2"]);
    assert!(addresses.upsert(&seen));
    assert!(!addresses.upsert(&seen), "nothing changed");
    assert_eq!(
        addresses.urls(),
        [uri("https://192.0.2.1:6443"), uri("https://192.0.2.2:6443")]
    );

    let dir = tempfile::tempdir().unwrap();
    let kept = Remembered::at(file(&dir.path().join("not/yet/there")));
    assert!(kept.read().is_empty());
    kept.write(&addresses);
    assert_eq!(kept.read().urls(), addresses.urls());
    assert!(addresses.remove("default", "kubernetes-x") && addresses.is_empty());
    let broken = dir.path().join("broken");
    std::fs::write(&broken, "{").unwrap();
    assert!(Remembered::at(broken).read().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn request_without_an_answer_moves_on_to_the_next_address() {
    let free = || {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    };
    let (dead, alive) = (free(), free());
    let handler: Handler =
        Arc::new(|_| Box::pin(std::future::ready(text(http::StatusCode::OK, "here"))));
    let mut tasks = Tasks::default();
    tasks.spawn(
        "server",
        serve_tcp(Listener::new("test", alive), handler, tasks.shutdown()),
    );
    let candidate = |to: SocketAddr| Candidate {
        url: uri(&format!("http://{to}")),
        origin: Origin::Flag,
    };
    let make =
        |candidate: &Candidate| kube::Client::try_from(kube::Config::new(candidate.url.clone()));
    let metrics = Metrics::default();
    let pool = Pool::new(
        vec![candidate(dead), candidate(alive)],
        Box::new(make),
        metrics.clone(),
    )
    .unwrap();
    let pool = Arc::new(pool);
    let ask = || Request::get("/version").body(Body::empty()).unwrap();
    tasks
        .run(async {
            while std::net::TcpStream::connect(alive).is_err() {
                tokio::task::yield_now().await;
            }
            assert!(
                Arc::clone(&pool).send(ask()).await.is_err(),
                "the first one is dead"
            );
            assert_eq!(Arc::clone(&pool).send(ask()).await.unwrap().status(), 200);
            assert_eq!(pool.urls().1, 1);
            let labels = |code: &str, to: SocketAddr| {
                [
                    ("code", code.to_owned()),
                    ("host", to.to_string()),
                    ("method", "GET".to_owned()),
                ]
            };
            assert_eq!(
                metrics
                    .api_requests
                    .get_or_create(&labels("<error>", dead))
                    .get(),
                1
            );
            assert_eq!(
                metrics
                    .api_requests
                    .get_or_create(&labels("200", alive))
                    .get(),
                1
            );

            let seen: Addresses = ["192.0.2.1:6443".parse().unwrap()].into_iter().collect();
            pool.remember(&seen);
            assert_eq!(
                (pool.urls().0.len(), pool.urls().1),
                (3, 1),
                "the one in use stays"
            );
            let moved: Addresses = ["192.0.2.2:6443".parse().unwrap()].into_iter().collect();
            pool.remember(&moved);
            assert!(pool.urls().0[2].contains("192.0.2.2") && pool.urls().0.len() == 3);
            Ok(())
        })
        .await
        .unwrap();
}
