//! The Services as files, for agents that are fed by them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use integration::topology::addresses::POD_PORT;
use serde_json::{Value, json};

use crate::interrupt;
use crate::services::{ENDPOINTS, Edge, NODE, Numbered, PORT, parts};

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

/// Writes `services` Services of each family and those that are there at every size into `dir`, for agents that are fed by files.
pub(crate) fn feed(dir: &Path, services: u32) -> Result<()> {
    write(dir, Form::Json, services)?;
    for numbers in parts(0..services, PER_FILE) {
        interrupt::check()?;
        let name = Numbered::v6(numbers.start).name();
        let numbered = numbers.map(Numbered::v6);
        let slices = numbered.clone();
        put(
            &dir.join(format!("{name}.json")),
            &json_list(numbered, slices),
        )?;
    }
    let edges = Edge::ALL.iter().flat_map(|edge| {
        let [v4, v6] = edge.slices();
        [edge.service(), v4, v6]
    });
    put(&dir.join("edges.json"), &list(&edges.collect::<Vec<_>>()))
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

/// Writes all Services of IPv4 and their endpoints.
pub(super) fn write(dir: &Path, form: Form, services: u32) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    for number in 0..services.min(ALONE) {
        replace(
            dir,
            number,
            &Numbered::v4(number).slice(ENDPOINTS).to_string(),
        )?;
    }
    for numbers in parts(0..services, PER_FILE) {
        interrupt::check()?;
        let name = Numbered::v4(numbers.start).name();
        let numbered = numbers.map(Numbered::v4);
        let slices = numbered.clone().filter(|one| one.number >= ALONE);
        let (text, extension) = match form {
            Form::Json => (json_list(numbered, slices), "json"),
            Form::Yaml => (numbered.map(yaml).collect(), "yaml"),
        };
        put(&dir.join(format!("{name}.{extension}")), &text)?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn json_list(
    services: impl Iterator<Item = Numbered>,
    slices: impl Iterator<Item = Numbered>,
) -> String {
    let slices = slices.map(|one| one.slice(ENDPOINTS));
    let services = services.map(Numbered::service);
    list(&services.chain(slices).collect::<Vec<_>>())
}

/// As kubectl writes it.
fn list(items: &[Value]) -> String {
    json!({ "apiVersion": "v1", "items": items, "kind": "List" }).to_string()
}

/// A Service and its slice in YAML's own style.
fn yaml(service: Numbered) -> String {
    let mut text = String::new();
    // A String takes every line.
    let _written = write_yaml(&mut text, service);
    text
}

fn write_yaml(text: &mut String, service: Numbered) -> std::fmt::Result {
    let (name, ip) = (service.name(), service.cluster_ip());
    let (ports, edge, family) = (service.ports(), service.edge(), service.family.name());
    write!(
        text,
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: default\nspec:\n  clusterIP: {ip}\n  clusterIPs:\n  - {ip}\n  ipFamilies:\n  - {family}\n"
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
    if service.number < ALONE {
        return Ok(());
    }
    write!(
        text,
        "---\naddressType: {family}\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  labels:\n    kubernetes.io/service-name: {name}\n  name: {name}\n  namespace: default\nports:\n"
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
    for address in service.endpoints(ENDPOINTS) {
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
        let numbers = [0, ALONE + 4, ALONE + 5, ALONE + 15, ALONE + 25];
        for service in numbers
            .into_iter()
            .flat_map(|number| [Numbered::v4(number), Numbered::v6(number)])
        {
            let number = service.number;
            let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml(service)).unwrap();
            assert_eq!(objects[0]["spec"], service.service()["spec"]);
            let slice = service.slice(ENDPOINTS);
            assert_eq!(objects.len(), if number < ALONE { 1 } else { 2 });
            for object in &objects[1..] {
                for key in ["addressType", "ports", "endpoints"] {
                    assert_eq!(object[key], slice[key], "{number}: {key}");
                }
            }
        }
    }
}
