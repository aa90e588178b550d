//! The Helm chart against a real API server: every object is accepted, and the agent's rights are enough and no more.

use anyhow::{Result, ensure};
use integration::control_plane::client::Client;
use integration::control_plane::frame::with_control_plane;
use integration::control_plane::rbac;

/// What the agent reads.
const WATCHED: [&str; 3] = [
    "/api/v1/services",
    "/api/v1/nodes",
    "/apis/discovery.k8s.io/v1/endpointslices",
];
/// What a thief of its token would like to read.
const CLOSED: [&str; 4] = [
    "/api/v1/secrets",
    "/api/v1/configmaps",
    "/api/v1/pods",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
];

fn code(client: &Client, method: &str, path: &str) -> Result<u16> {
    Ok(client.send(method, path, "application/json", "")?.0)
}

#[test]
fn chart_objects_are_valid_and_rights_are_the_watched_ones() {
    with_control_plane(|api| {
        let client = &api.plane.client;
        rbac::install(client, &rbac::render(&[])?)?;
        let agent = client.with_token(&rbac::token(client)?);
        for path in WATCHED {
            for query in ["", "?watch=1&timeoutSeconds=1"] {
                let code = code(&agent, "GET", &format!("{path}{query}"))?;
                ensure!(code == 200, "the agent cannot read {path}{query}: {code}");
            }
        }
        for path in CLOSED {
            let code = code(&agent, "GET", path)?;
            ensure!(code == 403, "the agent may read {path}: {code}");
        }
        for (method, path) in [
            ("DELETE", "/api/v1/namespaces/default/services/kubernetes"),
            ("DELETE", "/api/v1/nodes/node-a"),
        ] {
            let code = code(&agent, method, path)?;
            ensure!(code == 403, "the agent may {method} {path}: {code}");
        }
        Ok(())
    });
}
