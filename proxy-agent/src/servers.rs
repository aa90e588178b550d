//! What the HTTP servers answer: kube-proxy's paths with kube-proxy's meaning (SEMANTICS 11), and the admin socket's.

use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use proxy_kernel::devices::DeviceStatus;

use crate::health::{Health, Report};
use crate::http::{Handler, Reply, json, not_found, reply, text};
use crate::metrics::Metrics;
use crate::sync::{Query, ServiceName, SyncStatus};

/// Port 10256: may load balancers send traffic here, and would a restart help.
pub fn health(health: Arc<Health>, metrics: Metrics) -> Handler {
    Arc::new(move |path| {
        let reply = match path.as_str() {
            "/healthz" => counted(&health.healthz(Instant::now()), &metrics.healthz),
            "/livez" => counted(&health.livez(Instant::now()), &metrics.livez),
            _ => not_found(&["/healthz", "/livez"]),
        };
        Box::pin(std::future::ready(reply))
    })
}

fn counted(
    report: &Report,
    answers: &prometheus_client::metrics::family::Family<
        crate::metrics::Labels<1>,
        prometheus_client::metrics::counter::Counter,
    >,
) -> Reply {
    let (code, label) = if report.healthy {
        (StatusCode::OK, "200")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "503")
    };
    answers.get_or_create(&[("code", label)]).inc();
    json(code, report)
}

/// Port 10249. `configz` is the settings as JSON.
pub fn metrics(registry: Registry, configz: serde_json::Value) -> Handler {
    let (registry, configz) = (Arc::new(registry), Arc::new(configz));
    Arc::new(move |path| {
        let (registry, configz) = (Arc::clone(&registry), Arc::clone(&configz));
        Box::pin(async move {
            match path.as_str() {
                "/metrics" => scrape(registry).await,
                "/healthz" => text(StatusCode::OK, "ok"),
                // kube-proxy says iptables, ipvs or nftables here.
                "/proxyMode" => text(StatusCode::OK, "ebpf"),
                "/configz" => json(StatusCode::OK, configz.as_ref()),
                _ => not_found(&["/metrics", "/healthz", "/proxyMode", "/configz"]),
            }
        })
    })
}

/// Walks kernel maps, so it must not run on a worker that answers probes.
async fn scrape(registry: Arc<Registry>) -> Reply {
    let encoded = tokio::task::spawn_blocking(move || {
        let mut body = String::new();
        prometheus_client::encoding::text::encode(&mut body, &registry).map(|()| body)
    });
    match encoded.await {
        Ok(Ok(body)) => reply(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            body,
        ),
        Ok(Err(error)) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot encode the metrics: {error}\n"),
        ),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the scrape failed: {error}\n"),
        ),
    }
}

/// Answer of the admin socket's /v1/status.
#[derive(Debug, Serialize)]
pub struct AgentStatus {
    /// Version of the agent.
    pub version: &'static str,
    /// Node name.
    pub node: String,
    /// The planner's side.
    pub sync: SyncStatus,
    /// The devices; absent before they are followed.
    pub devices: Option<DeviceStatus>,
}

/// The admin socket: what only the agent knows, for the command line.
pub fn admin(
    node: &str,
    queries: mpsc::Sender<Query>,
    devices: watch::Receiver<Option<DeviceStatus>>,
) -> Handler {
    let node = node.to_owned();
    Arc::new(move |path| {
        let (node, queries, devices) = (node.clone(), queries.clone(), devices.borrow().clone());
        Box::pin(async move {
            match path.as_str() {
                "/v1/services" => {
                    let names: Option<Vec<ServiceName>> = ask(&queries, Query::Services).await;
                    names.map_or_else(stopping, |names| json(StatusCode::OK, &names))
                }
                "/v1/status" => {
                    let sync = ask(&queries, Query::Status).await;
                    let status = |sync| AgentStatus {
                        version: crate::build::VERSION,
                        node,
                        sync,
                        devices,
                    };
                    sync.map_or_else(stopping, |sync| json(StatusCode::OK, &status(sync)))
                }
                _ => not_found(&["/v1/services", "/v1/status"]),
            }
        })
    })
}

async fn ask<T>(
    queries: &mpsc::Sender<Query>,
    query: impl FnOnce(oneshot::Sender<T>) -> Query,
) -> Option<T> {
    let (to, answer) = oneshot::channel();
    queries.send(query(to)).await.ok()?;
    answer.await.ok()
}

fn stopping() -> Reply {
    text(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n")
}
