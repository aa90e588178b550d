//! What the HTTP servers answer: kube-proxy's paths with kube-proxy's meaning (SEMANTICS 11), and the admin socket's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hyper::StatusCode;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use proxy_kernel::devices::DeviceStatus;

use crate::health::{Health, Report};
use crate::http::{Handler, Reply, json, not_found, reply, text};
use crate::metrics::{Format, Metrics};
use crate::sync::{Query, ServiceName, SyncStatus};

/// Port 10256: may load balancers send traffic here, and would a restart help.
pub fn health(health: Arc<Health>, metrics: Metrics) -> Handler {
    Arc::new(move |ask| {
        let reply = match ask.path.as_str() {
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
    let (code, label) = if report.ok {
        (StatusCode::OK, "200")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "503")
    };
    answers.get_or_create(&[("code", label)]).inc();
    json(code, report)
}

/// What port 10249 tells.
#[derive(Debug)]
pub struct Exposed {
    /// The metrics.
    pub registry: Registry,
    /// The settings as JSON.
    pub configz: serde_json::Value,
    /// kube-proxy's word for the mode that is followed.
    pub proxy_mode: &'static str,
    /// Answers of this port's /healthz, which /metrics/slis counts.
    pub pings: AtomicU64,
}

/// Paths of port 10249.
const PATHS: [&str; 5] = [
    "/metrics",
    "/metrics/slis",
    "/healthz",
    "/proxyMode",
    "/configz",
];

/// Port 10249 (SEMANTICS 11.3).
pub fn metrics(exposed: Exposed) -> Handler {
    let exposed = Arc::new(exposed);
    Arc::new(move |ask| {
        let exposed = Arc::clone(&exposed);
        Box::pin(async move {
            match ask.path.as_str() {
                "/metrics" => scrape(exposed, Format::of(&ask.accept)).await,
                "/metrics/slis" => slis(&exposed),
                "/healthz" | "/healthz/ping" => {
                    exposed.pings.fetch_add(1, Ordering::Relaxed);
                    text(StatusCode::OK, "ok")
                }
                "/proxyMode" => text(StatusCode::OK, exposed.proxy_mode),
                "/configz" => json(StatusCode::OK, &exposed.configz),
                path if path.starts_with("/debug/") => text(
                    StatusCode::NOT_FOUND,
                    "no Go profiles and flags here: this agent is not written in Go; use perf, and --log-level\n",
                ),
                _ => not_found(&PATHS),
            }
        })
    })
}

/// kube-proxy's one health check, in the words of its library.
fn slis(exposed: &Exposed) -> Reply {
    let pings = exposed.pings.load(Ordering::Relaxed);
    let body = format!(
        "# HELP kubernetes_healthcheck This metric records the result of a single healthcheck.\n\
         # TYPE kubernetes_healthcheck gauge\n\
         kubernetes_healthcheck{{name=\"ping\",type=\"healthz\"}} 1\n\
         # HELP kubernetes_healthchecks_total This metric records the results of all healthcheck.\n\
         # TYPE kubernetes_healthchecks_total counter\n\
         kubernetes_healthchecks_total{{name=\"ping\",status=\"success\",type=\"healthz\"}} {pings}\n"
    );
    reply(StatusCode::OK, Format::Text.content_type(), body)
}

/// Walks kernel maps, so it must not run on a worker that answers probes.
async fn scrape(exposed: Arc<Exposed>, format: Format) -> Reply {
    let encoded = tokio::task::spawn_blocking(move || format.encode(&exposed.registry));
    match encoded.await {
        Ok(Ok(body)) => reply(StatusCode::OK, format.content_type(), body),
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
    Arc::new(move |ask| {
        let (node, queries, devices) = (node.clone(), queries.clone(), devices.borrow().clone());
        Box::pin(async move {
            match ask.path.as_str() {
                "/v1/services" => {
                    let names: Option<Vec<ServiceName>> = query(&queries, Query::Services).await;
                    names.map_or_else(stopping, |names| json(StatusCode::OK, &names))
                }
                "/v1/status" => {
                    let sync = query(&queries, Query::Status).await;
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

async fn query<T>(
    queries: &mpsc::Sender<Query>,
    question: impl FnOnce(oneshot::Sender<T>) -> Query,
) -> Option<T> {
    let (to, answer) = oneshot::channel();
    queries.send(question(to)).await.ok()?;
    answer.await.ok()
}

fn stopping() -> Reply {
    text(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n")
}

#[cfg(test)]
mod tests;
