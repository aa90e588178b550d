//! Checks of the Helm chart that need no cluster: lint, rendering, and values that must be refused.
//!
//! Whether an API server takes the objects is a test of its own (`tests/tests/api_chart.rs`).

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{parts, places, shell, tally::Tally};

/// The Kubernetes version that the chart is rendered for.
const KUBERNETES: &str = "1.36.2";

/// Values, and what the rendered chart must then contain.
const RENDERED: [(&[&str], &str); 10] = [
    (&[], "KUBE_SHUNT_NODE_NAME"),
    (
        &["apiServer=https://10.0.0.1:6443"],
        "- \"https://10.0.0.1:6443\"",
    ),
    (
        &["devices.exclude={docker0,tailscale*}"],
        "exclude: [\"docker0\",\"tailscale*\"]",
    ),
    (&["maps.flows=1048576"], "flows: 1048576"),
    (&["kubeProxyConfiguration.mode=iptables"], "mode: iptables"),
    (&["nodePortAddresses=primary\\,10.0.0.0/8"], "- 10.0.0.0/8"),
    (
        &["existingKubeProxyConfigMap=kube-proxy"],
        "--config=/var/lib/kube-proxy/config.conf",
    ),
    (&["healthz.port=20256"], "containerPort: 20256"),
    (&["capabilities={BPF,NET_ADMIN,PERFMON}"], "drop: [ALL]"),
    (
        &[
            "rbac.create=false",
            "serviceAccount.create=false",
            "serviceAccount.name=mine",
        ],
        "serviceAccountName: mine",
    ),
];

/// Values that the schema must refuse.
const REFUSED: [&str; 10] = [
    "nodePortAdresses=all",
    "sourceIP=keep",
    "hostRouting=peer",
    "algorithm=rr",
    "tuning.listPageSize=some",
    "healthz.port=70000",
    "apiServer=10.0.0.1",
    "maps.flows=some",
    "log.format=xml",
    "hostPaths.cgroup=cgroup",
];

/// Runs all checks.
pub(crate) fn check(tally: &mut Tally) {
    if !shell::is_program(&parts::path("helm")) {
        tally.skipped.push("chart: no helm".to_owned());
        return;
    }
    let mut note = |name: String, outcome: Result<()>| match outcome {
        Ok(()) => tally.passed += 1,
        Err(error) => {
            shell::note(&format!("{name}: {error:#}"));
            tally.failed.push(name);
        }
    };
    note(
        "chart: lint".to_owned(),
        helm("lint", &["--strict"]).map(drop),
    );
    for (values, expected) in RENDERED {
        note(
            format!("chart: rendered with {values:?}"),
            renders(values, expected),
        );
    }
    for value in REFUSED {
        note(format!("chart: {value} is refused"), refuses(value));
    }
}

fn renders(values: &[&str], expected: &str) -> Result<()> {
    let text = helm("template", &settings(values))?;
    ensure!(text.contains(expected), "{expected} is not in\n{text}");
    Ok(())
}

fn refuses(value: &str) -> Result<()> {
    let key = value.split('=').next().unwrap_or_default();
    match helm("template", &settings(&[value])) {
        Ok(_) => bail!("it was taken"),
        Err(error) => {
            let said = format!("{error:#}");
            let last = key.rsplit('.').next().unwrap_or_default();
            ensure!(
                said.contains("schema") && said.contains(last),
                "refused for another reason: {said}"
            );
            Ok(())
        }
    }
}

fn settings<'a>(values: &[&'a str]) -> Vec<&'a str> {
    values.iter().flat_map(|&value| ["--set", value]).collect()
}

fn helm(command: &str, args: &[&str]) -> Result<String> {
    let chart = places::root().join("charts/kube-shunt");
    let mut helm = Command::new(parts::path("helm"));
    helm.arg(command)
        .arg(chart)
        .args(["--namespace", "kube-system", "--kube-version", KUBERNETES])
        .args(args);
    shell::output(&mut helm).context("helm")
}
