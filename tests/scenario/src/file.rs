//! The format of a scenario file. tests/scenarios/README.md describes it.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use kube_shunt::config::explain_config;
use kube_shunt::explain::offline::Inputs;
use kube_shunt::manifests;
use kube_shunt::objects::Parsed;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One file.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The SEMANTICS number that it is about, and the file is named by.
    pub semantics: String,
    /// What it shows.
    pub name: String,
    /// The node.
    pub node: Node,
    /// `KubeProxyConfiguration` and `KubeShuntConfiguration`; none are the defaults.
    #[serde(default)]
    pub config: Vec<Value>,
    /// Manifests.
    #[serde(default)]
    pub objects: Vec<Value>,
    /// What must come out.
    pub expect: Expect,
}

/// The node that is asked.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Addresses of its interfaces.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Its Node manifest.
    #[serde(default)]
    pub object: Option<Value>,
}

/// What must come out; what is left out may be anything.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The planner's maps as text.
    #[serde(default)]
    pub maps: Option<String>,
    /// Flows as `explain --batch` takes them, with fields of the answer.
    #[serde(default)]
    pub flows: Vec<Map<String, Value>>,
}

impl Scenario {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let scenario: Self = serde_saphyr::from_str(&text).map_err(|error| anyhow!("{error}"))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        ensure!(
            file.starts_with(&format!("{}-", scenario.semantics)),
            "the file is not named by the number {} of `semantics`",
            scenario.semantics
        );
        Ok(scenario)
    }

    /// What `explain` makes a node of.
    pub fn inputs(&self) -> Result<Inputs> {
        let config: Vec<String> = self.config.iter().map(Value::to_string).collect();
        let config = explain_config(&config.join("\n---\n")).context("config")?;
        let mut inputs = Inputs {
            node: self.node.name.clone(),
            node_addresses: self.node.addresses.clone(),
            policy: config.policy,
            node_port_addresses: config.node_port_addresses,
            ..Inputs::default()
        };
        for (index, manifest) in self.objects.iter().enumerate() {
            for Parsed { object, node, .. } in
                parse(manifest).with_context(|| format!("objects[{index}]"))?
            {
                inputs.objects.push(object);
                inputs.nodes.extend(node);
            }
        }
        if let Some(object) = &self.node.object {
            inputs.node_object = parse(object).context("node.object")?.pop();
        }
        Ok(inputs)
    }
}

/// Objects of a manifest. JSON is YAML.
fn parse(manifest: &Value) -> Result<Vec<Parsed>> {
    manifests::parse(&manifest.to_string()).map_err(|error| anyhow!("{error}"))
}
