//! Every flag in the help of the real kube-proxy is taken (SEMANTICS 15), with a value of the type that its help tells.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use integration::binaries;
use integration::control_plane::program_path;
use integration::requirements;

/// Flags that do something else than run: they are tried by other tests.
const DO: [&str; 4] = ["cleanup", "help", "version", "write-config-to"];

/// A flag, and the type of its value as the help writes it; empty: true or false.
fn flags(help: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (_, rest) = line
            .trim_start()
            .split_once("--")
            .filter(|(before, _)| before.len() <= 4)?;
        let mut words = rest.split(' ');
        let name = words.next()?.trim_end_matches('=').to_owned();
        Some((name, words.next().unwrap_or_default().to_owned()))
    };
    help.lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .filter_map(line)
        .collect()
}

/// A value of that type. Some types are only told by their name.
fn value(name: &str, kind: &str) -> String {
    let named = match name {
        "bind-address" => "192.0.2.1",
        "healthz-bind-address" | "metrics-bind-address" => "192.0.2.1:9000",
        "detect-local-mode" => "NodeCIDR",
        "feature-gates" => "AllAlpha=false",
        "cluster-cidr" | "ipvs-exclude-cidrs" | "nodeport-addresses" => "10.0.0.0/8",
        "ipvs-scheduler" => "rr",
        "logging-format" => "text",
        "log-json-info-buffer-size" | "log-text-info-buffer-size" => "0",
        "proxy-mode" => "nftables",
        "proxy-port-range" => "1-2",
        "show-hidden-metrics-for-version" => "1.35",
        "vmodule" => "a=1",
        _ => "",
    };
    let of_kind = match kind {
        "" => "true",
        "duration" => "7s",
        "int" | "int32" | "uint" | "float" | "float32" | "Level" => "7",
        _ => "some",
    };
    if named.is_empty() { of_kind } else { named }.to_owned()
}

#[test]
fn semantics_15_every_flag_of_the_real_kube_proxy_is_taken() -> Result<()> {
    let kube_proxy = program_path("kube-proxy");
    if !kube_proxy.is_file() {
        requirements::skip("api_flags", "no kube-proxy; `cargo xtask setup` says why");
        return Ok(());
    }
    let output = Command::new(kube_proxy).arg("--help").output()?;
    let help = String::from_utf8(output.stdout).context("its help is no text")?;
    let flags = flags(&help);
    ensure!(flags.len() > 40, "only {flags:?} found in:\n{help}");
    let out = std::env::temp_dir().join(format!("kube-shunt-flags-{}.yaml", std::process::id()));
    let mut refused = Vec::new();
    for (name, kind) in flags
        .iter()
        .filter(|(name, _)| !DO.contains(&name.as_str()))
    {
        let mut agent = Command::new(binaries::kube_shunt()?);
        agent.arg(format!("--write-config-to={}", out.display()));
        // A file has its own test.
        if name != "config" {
            agent.arg(format!("--{name}={}", value(name, kind)));
        }
        let output = agent.output()?;
        if !output.status.success() {
            refused.push(format!(
                "--{name} {kind}: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
    }
    std::fs::remove_file(&out)?;
    ensure!(refused.is_empty(), "{}", refused.join("\n"));
    Ok(())
}
