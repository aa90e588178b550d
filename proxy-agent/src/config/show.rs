//! The settings in effect, for /configz, /proxyMode and `--write-config-to`.

use serde_json::{Value, json};

use super::Config;
use super::kube_proxy::Mode;
use super::resolve::Resolved;
use super::settings::to_json;

impl Config {
    /// All settings in kube-proxy's shape, ours beside them.
    pub fn configz(&self) -> Value {
        let Self {
            resolved,
            node_name,
            bpf_root,
            run_dir,
            ..
        } = self;
        let mut ours = to_json(&resolved.kube_shunt);
        if let Value::Object(fields) = &mut ours {
            fields.insert("nodeName".to_owned(), json!(node_name));
            fields.insert("bpfRoot".to_owned(), json!(bpf_root));
            fields.insert("runDir".to_owned(), json!(run_dir));
        }
        json!({"kubeproxy.config.k8s.io": effective(resolved), "kubeshunt.io": ours})
    }

    /// The mode of kube-proxy whose behaviour is followed (SEMANTICS 11.3, 23).
    pub fn proxy_mode(&self) -> &'static str {
        mode(&self.resolved)
    }
}

fn mode(resolved: &Resolved) -> &'static str {
    match resolved.kube_proxy.mode() {
        Some(Mode::Iptables) => "iptables",
        Some(Mode::Ipvs) => "ipvs",
        Some(Mode::Nftables | Mode::Unset) | None => "nftables",
    }
}

/// As kube-proxy prints it, with what was chosen where it leaves the choice open.
fn effective(resolved: &Resolved) -> Value {
    let mut config = resolved.kube_proxy.clone();
    if config.node_port_addresses.is_empty() && config.mode() == Some(Mode::Nftables) {
        config.node_port_addresses.push("primary".to_owned());
    }
    mode(resolved).clone_into(&mut config.mode);
    for (off, address) in [
        (resolved.healthz_off, &mut config.healthz_bind_address),
        (resolved.metrics_off, &mut config.metrics_bind_address),
    ] {
        if off {
            address.clear();
        }
    }
    to_json(&config)
}

/// Both documents as YAML.
pub fn yaml(resolved: &Resolved) -> Result<String, serde_saphyr::ser::Error> {
    let theirs = serde_saphyr::to_string(&resolved.kube_proxy)?;
    let ours = serde_saphyr::to_string(&resolved.kube_shunt)?;
    Ok(format!("{theirs}---\n{ours}"))
}
