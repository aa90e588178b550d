//! The Services as files, for agents that are fed by them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use integration::topology::addresses::POD_PORT;
use serde_json::{Value, json};

use crate::interrupt;
use crate::services::{self, ENDPOINTS, Edge, NODE, PORT};

/// Services in one file: a directory of a hundred thousand files would measure the file system.
const PER_FILE: u32 = 500;
/// The first Services' slices have files of their own: they will change.
pub(super) const ALONE: u32 = 100;

/// How the objects are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Yaml,
}

impl Form {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        }
    }
}

/// Writes `services` Services and those with node ports into `dir`, for agents that are fed by files.
pub(crate) fn feed(dir: &Path, services: u32) -> Result<()> {
    write(dir, Form::Json, services)?;
    let edges = Edge::ALL.iter().flat_map(|edge| {
        let [v4, v6] = edge.slices();
        [edge.service(), v4, v6]
    });
    let list = json!({ "apiVersion": "v1", "items": edges.collect::<Vec<_>>(), "kind": "List" });
    let path = dir.join("edges.json");
    std::fs::write(&path, list.to_string()).with_context(|| format!("write {}", path.display()))
}

/// Makes `text` the file with the slice of Service `number`, at once.
pub(super) fn replace(dir: &Path, number: u32, text: &str) -> Result<()> {
    let draft = dir.with_extension(format!("draft-{number}"));
    std::fs::write(&draft, text)?;
    Ok(std::fs::rename(
        &draft,
        dir.join(format!("alone-{number:06}.json")),
    )?)
}

/// Writes all Services and their endpoints.
pub(super) fn write(dir: &Path, form: Form, services: u32) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    for number in 0..services.min(ALONE) {
        replace(dir, number, &services::slice(number, ENDPOINTS).to_string())?;
    }
    for first in (0..services).step_by(PER_FILE as usize) {
        interrupt::check()?;
        let numbers = first..services.min(first + PER_FILE);
        let (text, extension) = match form {
            Form::Json => (json_list(numbers), "json"),
            Form::Yaml => (numbers.map(yaml).collect(), "yaml"),
        };
        let path = dir.join(format!("many-{first:06}.{extension}"));
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// As kubectl writes it.
fn json_list(numbers: std::ops::Range<u32>) -> String {
    let slices = numbers.clone().filter(|&number| number >= ALONE);
    let slices = slices.map(|number| services::slice(number, ENDPOINTS));
    let items: Vec<Value> = numbers.map(services::service).chain(slices).collect();
    json!({ "apiVersion": "v1", "items": items, "kind": "List" }).to_string()
}

/// A Service and its slice in YAML's own style.
fn yaml(number: u32) -> String {
    let mut text = String::new();
    // A String takes every line.
    let _written = write_yaml(&mut text, number);
    text
}

fn write_yaml(text: &mut String, number: u32) -> std::fmt::Result {
    let (name, ip) = (services::name(number), services::cluster_ip(number));
    let (ports, edge) = (services::ports(number), services::edge(number));
    write!(
        text,
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: default\nspec:\n  clusterIP: {ip}\n  clusterIPs:\n  - {ip}\n  ipFamilies:\n  - IPv4\n"
    )?;
    if let Some(edge) = edge {
        let policy = edge.policy();
        write!(
            text,
            "  type: NodePort\n  externalTrafficPolicy: {policy}\n"
        )?;
    }
    text.push_str("  ports:\n");
    for (protocol, node_port) in &ports {
        let name = protocol.to_lowercase();
        write!(
            text,
            "  - name: {name}\n    port: {PORT}\n    protocol: {protocol}\n    targetPort: {POD_PORT}\n"
        )?;
        if let Some(node_port) = node_port {
            writeln!(text, "    nodePort: {node_port}")?;
        }
    }
    if number < ALONE {
        return Ok(());
    }
    write!(
        text,
        "---\naddressType: IPv4\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  labels:\n    kubernetes.io/service-name: {name}\n  name: {name}\n  namespace: default\nports:\n"
    )?;
    for (protocol, _) in &ports {
        let name = protocol.to_lowercase();
        write!(
            text,
            "- name: {name}\n  port: {POD_PORT}\n  protocol: {protocol}\n"
        )?;
    }
    text.push_str("endpoints:\n");
    let node = edge.map_or(NODE, Edge::node);
    for address in services::endpoints(number, ENDPOINTS) {
        write!(
            text,
            "- addresses:\n  - {address}\n  conditions:\n    ready: true\n    serving: true\n    terminating: false\n  nodeName: {node}\n"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_tells_what_json_tells() {
        for number in [0, ALONE + 4, ALONE + 5, ALONE + 15, ALONE + 25] {
            let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml(number)).unwrap();
            assert_eq!(objects[0]["spec"], services::service(number)["spec"]);
            let slice = services::slice(number, ENDPOINTS);
            assert_eq!(objects.len(), if number < ALONE { 1 } else { 2 });
            for object in &objects[1..] {
                for key in ["addressType", "ports", "endpoints"] {
                    assert_eq!(object[key], slice[key], "{number}: {key}");
                }
            }
        }
    }
}
