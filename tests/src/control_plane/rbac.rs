//! The Helm chart's objects in a real API server, and the rights that they give.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::client::Client;
use super::program_path;
use crate::requirements;
use crate::wait::{self, SOON};

/// The chart's release name and namespace, as its README installs it.
pub const RELEASE: &str = "kube-shunt";
/// See [`RELEASE`].
pub const NAMESPACE: &str = "kube-system";

/// Whether `test` has helm; prints why not.
pub fn available(test: &str) -> bool {
    let found = program_path("helm").is_file();
    if !found {
        requirements::skip(test, "no helm; `cargo xtask setup` says why");
    }
    found
}

/// The chart's objects as YAML documents, with `values` as `--set` takes them.
pub fn render(values: &[&str]) -> Result<Vec<String>> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/kube-shunt");
    let mut helm = Command::new(program_path("helm"));
    helm.args([
        "template",
        RELEASE,
        chart,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.36.2",
    ]);
    for value in values {
        helm.args(["--set", value]);
    }
    let output = helm.output().context("run helm")?;
    ensure!(
        output.status.success(),
        "helm template: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .split("\n---")
        .map(str::to_owned)
        .filter(|document| field(document, "kind").is_some())
        .collect())
}

/// Creates `documents`; the API server checks every field. Waits until the agent has its rights: the API server follows its own
/// objects like everybody else.
pub fn install(client: &Client, documents: &[String]) -> Result<()> {
    for document in documents {
        let kind = field(document, "kind").context("an object without kind")?;
        client
            .create_yaml(&collection(&kind)?, document)
            .with_context(|| format!("create the chart's {kind}"))?;
    }
    let agent = client.with_token(&token(client)?);
    wait::until("the agent's rights are in force", SOON, || {
        // One rule of the ClusterRole is there when all of them are.
        agent.get("/api/v1/services?limit=1").map(drop)
    })
}

/// A token of the chart's service account, as the kubelet asks for it.
pub fn token(client: &Client) -> Result<String> {
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": 3600 } });
    let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{RELEASE}/token");
    let answer = client.create(&path, &request)?;
    Ok(answer["status"]["token"]
        .as_str()
        .context("no token in the answer")?
        .to_owned())
}

/// Where objects of `kind` are made.
fn collection(kind: &str) -> Result<String> {
    let rights = "/apis/rbac.authorization.k8s.io/v1";
    Ok(match kind {
        "ServiceAccount" => format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"),
        "ConfigMap" => format!("/api/v1/namespaces/{NAMESPACE}/configmaps"),
        "DaemonSet" => format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets"),
        "ClusterRole" => format!("{rights}/clusterroles"),
        "ClusterRoleBinding" => format!("{rights}/clusterrolebindings"),
        other => anyhow::bail!("the chart makes a {other}; say here where such objects live"),
    })
}

/// A top-level field of a YAML document.
fn field(document: &str, name: &str) -> Option<String> {
    document
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
}
