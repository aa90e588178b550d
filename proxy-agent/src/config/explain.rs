//! The part of the settings that decides where a packet goes, without flags, node or kernel: for `kube-shunt explain`.

use std::path::Path;

use proxy_kernel::{LocalDetector, NodePortAddresses};
use proxy_model::Policy;

use super::build;
use super::error::ConfigError;
use super::file::Documents;
use super::given::Given;
use super::resolve::{Resolved, resolve};

/// Settings that decide where a packet goes.
#[derive(Clone, Debug)]
pub struct ExplainConfig {
    /// What holds for all Services.
    pub policy: Policy,
    /// How pods of this node are told from everybody else, for the programs.
    pub detector: LocalDetector,
    /// On which local addresses `NodePorts` are served.
    pub node_port_addresses: NodePortAddresses,
    /// The node's name, where the file gives one.
    pub node_name: Option<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Reads the file of `--config`.
pub fn load_for_explain(path: &Path) -> Result<ExplainConfig, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
        path: path.to_owned(),
        error: error.to_string(),
    })?;
    named(&path.display().to_string(), &text)
}

/// The same for a text of one or two YAML documents. An empty text means the defaults.
pub fn explain_config(text: &str) -> Result<ExplainConfig, ConfigError> {
    named("config", text)
}

fn named(name: &str, text: &str) -> Result<ExplainConfig, ConfigError> {
    let mut documents = Documents::default();
    if !text.trim().is_empty() {
        documents.add(name, text)?;
    }
    let resolved = resolve(documents, &Given::default())?;
    let Resolved {
        kube_proxy,
        warnings,
        ..
    } = &resolved;
    let node_name = kube_proxy.hostname_override.trim().to_lowercase();
    Ok(ExplainConfig {
        policy: build::policy(&resolved),
        detector: build::detector(&resolved),
        node_port_addresses: build::node_port_addresses(kube_proxy),
        node_name: (!node_name.is_empty()).then_some(node_name),
        warnings: warnings.clone(),
    })
}
