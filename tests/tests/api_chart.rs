//! The Helm chart against a real API server: every object is accepted, and the agent's rights are enough and no more.

use anyhow::{Result, ensure};
use integration::control_plane::client::Client;
use integration::control_plane::frame::with_control_plane;
use integration::control_plane::rbac;
use serde_json::json;

/// What the agent lists and watches.
const WATCHED: [&str; 4] = [
    "/api/v1/services",
    "/api/v1/nodes",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/networking.k8s.io/v1/servicecidrs",
];
/// Where it creates events: beside Nodes, and beside objects of any namespace.
const EVENTS: [&str; 2] = ["default", rbac::NAMESPACE];
/// What a thief of its token would like to do.
const CLOSED: [(&str, &str); 13] = [
    ("GET", "/api/v1/secrets"),
    ("GET", "/api/v1/configmaps"),
    ("GET", "/api/v1/pods"),
    ("GET", "/api/v1/endpoints"),
    ("GET", "/api/v1/nodes/node-a"),
    ("GET", "/api/v1/namespaces/default/services/kubernetes"),
    ("GET", "/apis/events.k8s.io/v1/events"),
    ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("POST", "/api/v1/namespaces/default/events"),
    ("DELETE", "/api/v1/namespaces/default/services/kubernetes"),
    ("DELETE", "/api/v1/nodes/node-a"),
    (
        "DELETE",
        "/apis/events.k8s.io/v1/namespaces/default/events/any",
    ),
    (
        "PATCH",
        "/apis/events.k8s.io/v1/namespaces/default/events/any",
    ),
];

fn code(client: &Client, method: &str, path: &str, body: &str) -> Result<u16> {
    let kind = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    Ok(client.send(method, path, kind, body)?.0)
}

fn event(namespace: &str) -> String {
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": "test.1", "namespace": namespace },
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Normal",
        "reason": "Starting",
        "action": "StartKubeProxy",
        "regarding": { "kind": "Node", "name": "node-a", "namespace": if namespace == "default" { "" } else { namespace } },
        "reportingController": "kube-shunt",
        "reportingInstance": "node-a",
    })
    .to_string()
}

#[test]
fn semantics_14_chart_objects_are_valid_and_rights_are_enough_and_no_more() {
    with_control_plane(|api| {
        let client = &api.plane.client;
        rbac::install(client, &rbac::render(&[])?)?;
        let agent = client.with_token(&rbac::token(client)?);
        for path in WATCHED {
            for query in ["", "?watch=1&timeoutSeconds=1"] {
                let code = code(&agent, "GET", &format!("{path}{query}"), "")?;
                ensure!(code == 200, "the agent cannot read {path}{query}: {code}");
            }
        }
        for namespace in EVENTS {
            let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
            let code = code(&agent, "POST", &path, &event(namespace))?;
            ensure!(
                code == 201,
                "the agent cannot create events in {namespace}: {code}"
            );
        }
        for (method, path) in CLOSED {
            let body = if method == "GET" { "" } else { "{}" };
            let code = code(&agent, method, path, body)?;
            ensure!(code == 403, "the agent may {method} {path}: {code}");
        }
        Ok(())
    });
}
