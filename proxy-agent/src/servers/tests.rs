//! The answers, to the letter where kube-proxy's clients read letters.

use std::time::Duration;

use http_body_util::BodyExt as _;

use super::*;
use crate::health::NodeState;
use crate::http::Ask;

async fn get(handler: &Handler, path: &str) -> (u16, String, String) {
    let ask = Ask {
        path: path.to_owned(),
        accept: String::new(),
    };
    let reply = handler(ask).await;
    assert_eq!(
        reply.headers()["x-content-type-options"],
        "nosniff",
        "{path}"
    );
    let code = reply.status().as_u16();
    let kind = reply.headers()["content-type"].to_str().unwrap().to_owned();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    (code, kind, String::from_utf8(body.to_vec()).unwrap())
}

fn exposed() -> Handler {
    let metrics = Metrics::default();
    super::metrics(Exposed {
        registry: metrics.registry(),
        configz: serde_json::json!({"kubeproxy.config.k8s.io": {}}),
        proxy_mode: "nftables",
        pings: AtomicU64::new(0),
    })
}

#[tokio::test]
async fn semantics_11_3_metrics_server_answers_as_kube_proxys() {
    let server = exposed();
    assert_eq!(
        get(&server, "/healthz").await,
        (200, "text/plain; charset=utf-8".to_owned(), "ok".to_owned())
    );
    assert_eq!(get(&server, "/proxyMode").await.2, "nftables");
    assert_eq!(
        get(&server, "/configz").await.2,
        r#"{"kubeproxy.config.k8s.io":{}}"#
    );
    let (code, kind, body) = get(&server, "/metrics").await;
    assert_eq!(
        (code, kind.as_str()),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(
        body.contains(
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.001\",ip_family=\"IPv4\"} 0"
        ),
        "{body}"
    );
    let (_, _, slis) = get(&server, "/metrics/slis").await;
    assert!(
        slis.contains(
            "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"healthz\"} 1\n"
        ),
        "{slis}"
    );
    for path in ["/debug/pprof/", "/debug/flags/v", "/else"] {
        assert_eq!(get(&server, path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn semantics_11_2_health_server_counts_its_answers_and_tells_the_node_only_in_healthz() {
    let facts = Arc::new(Health::new(Duration::from_mins(1), NodeState::Leaving));
    facts.synced();
    facts.devices_covered();
    let metrics = Metrics::default();
    let server = health(Arc::clone(&facts), metrics.clone());
    let (code, kind, body) = get(&server, "/healthz").await;
    assert_eq!((code, kind.as_str()), (503, "application/json"));
    assert!(
        body.contains(r#""nodeEligible":false"#) && body.contains(r#""healthy":true"#),
        "{body}"
    );
    let (code, _, body) = get(&server, "/livez").await;
    assert!(code == 200 && !body.contains("nodeEligible"), "{body}");
    facts.node(NodeState::Here);
    assert_eq!(get(&server, "/healthz").await.0, 200);
    let count = |family: &prometheus_client::metrics::family::Family<
        _,
        prometheus_client::metrics::counter::Counter,
    >,
                 code| { family.get_or_create(&[("code", code)]).get() };
    assert_eq!(
        (
            count(&metrics.healthz, "200"),
            count(&metrics.healthz, "503"),
            count(&metrics.livez, "200")
        ),
        (1, 1, 1)
    );
}
