//! The settings that the Helm chart writes are settings that the agent takes, and they mean what the values say.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use integration::binaries;
use integration::control_plane::rbac;

/// The chart's config.yaml with `values`.
fn settings(values: &[&str]) -> Result<String> {
    let documents = rbac::render(values)?;
    let map = documents
        .iter()
        .find(|document| document.contains("config.yaml: |"));
    let (_, block) = map
        .and_then(|map| map.split_once("config.yaml: |\n"))
        .context("no config.yaml")?;
    let lines: Vec<&str> = block
        .lines()
        .take_while(|line| line.starts_with("    ") || line.is_empty())
        .map(|line| line.strip_prefix("    ").unwrap_or_default())
        .collect();
    Ok(lines.join("\n"))
}

/// What the agent makes of `files`, as YAML.
fn effective(dir: &Path, files: &[String]) -> Result<String> {
    let out = dir.join("effective.yaml");
    let mut agent = Command::new(binaries::kube_shunt()?);
    agent
        .arg("run")
        .arg(format!("--write-config-to={}", out.display()));
    for (number, text) in files.iter().enumerate() {
        let path = dir.join(format!("{number}.yaml"));
        std::fs::write(&path, text)?;
        agent.arg(format!("--config={}", path.display()));
    }
    let output = agent.output()?;
    ensure!(
        output.status.success(),
        "{files:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(std::fs::read_to_string(out)?)
}

#[test]
fn semantics_15_values_of_the_chart_reach_the_agent() -> Result<()> {
    if !rbac::available("api_chart_settings") {
        return Ok(());
    }
    let dir = std::env::temp_dir().join(format!("kube-shunt-chart-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let theirs =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n";
    let cases: [(&[&str], Option<&str>, &[&str]); 4] = [
        (
            &[],
            None,
            &[
                "sourceIP: preserve",
                "healthzBindAddress: 0.0.0.0:10256",
                "metricsBindAddress: 127.0.0.1:10249",
                "- all",
            ],
        ),
        (
            &[
                "sourceIP=kube-proxy",
                "hostRouting=bpf",
                "algorithm=maglev",
                "maps.flows=4096",
                "tuning.listPageSize=7",
                "devices.exclude={docker0,veth*}",
            ],
            None,
            &[
                "sourceIP: kube-proxy",
                "hostRouting: bpf",
                "algorithm: maglev",
                "flows: 4096",
                "listPageSize: 7",
                "- docker0",
            ],
        ),
        (
            &[
                "kubeProxyConfiguration.mode=iptables",
                "nodePortAddresses=primary\\,10.0.0.0/8",
                "healthz.port=20256",
                "apiServer=https://10.0.0.1:6443",
            ],
            None,
            &[
                "mode: iptables",
                "- primary",
                "- 10.0.0.0/8",
                "healthzBindAddress: 0.0.0.0:20256",
                "https://10.0.0.1:6443",
            ],
        ),
        (
            &["existingKubeProxyConfigMap=kube-proxy", "algorithm=random"],
            Some(theirs),
            &["mode: ipvs", "algorithm: random"],
        ),
    ];
    for (values, existing, wanted) in cases {
        let mut files = vec![settings(values)?];
        files.extend(existing.map(str::to_owned));
        let text = effective(&dir, &files)?;
        for part in wanted {
            ensure!(
                text.contains(part),
                "{values:?}: {part:?} is missing in\n{text}"
            );
        }
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
