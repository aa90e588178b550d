//! kube-proxy's start-up warnings (SEMANTICS 15): settings that are allowed and rarely meant.

use super::kube_proxy::{KubeProxyConfiguration, Mode};

/// Warnings that need no node.
pub(crate) fn warnings(config: &KubeProxyConfiguration) -> Vec<String> {
    let unset = config.node_port_addresses.is_empty() && config.mode() != Some(Mode::Nftables);
    let text = "nodePortAddresses is not set: NodePorts are served on all local addresses; consider primary";
    unset.then(|| text.to_owned()).into_iter().collect()
}
