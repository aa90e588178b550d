//! The real kube-proxy beside kube-shunt: the same objects, the same connections, compared.

pub mod cluster;
pub mod kube_proxy;
pub mod outcome;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// A mode of kube-proxy whose observable behaviour kube-shunt follows (SEMANTICS 23).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// `mode: nftables`.
    Nftables,
    /// `mode: iptables`.
    Iptables,
}

impl Mode {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Nftables, Self::Iptables];

    /// As `KubeProxyConfiguration` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

/// The `KubeProxyConfiguration` that both proxies run with. `pods` are the networks of the node's own pods.
pub fn configuration(mode: Mode, kubeconfig: &Path, pods: [&str; 2]) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode.name(),
        "clientConnection": { "kubeconfig": kubeconfig },
        "detectLocalMode": "ClusterCIDR",
        "clusterCIDR": pods.join(","),
        // The sysctls of a namespace of its own cannot be set, and need not.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}

/// Writes the configuration to `path`; with `ours`, a `KubeShuntConfiguration` behind it that masquerades as kube-proxy does.
pub fn write_configuration(path: &Path, configuration: &Value, ours: bool) -> Result<()> {
    let mut text = configuration.to_string();
    if ours {
        let document = json!({
            "apiVersion": "kubeshunt.io/v1alpha1",
            "kind": "KubeShuntConfiguration",
            "sourceIP": "kube-proxy",
        });
        text = format!("{text}\n---\n{document}\n");
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
