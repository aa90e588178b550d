//! SEMANTICS 13.6: the agent ends when its configuration file changes, and kube-proxy's start-up warnings about families.

use std::path::Path;

use crate::config::{ConfigFile, watch};
use crate::tasks::Tasks;

use super::super::explain::explain_config;
use super::super::startup::{NodeView, families};
use super::files::THEIRS;

/// Runs the watch over `path` until `change` was seen or the watch was told to stop.
async fn ends(path: &Path, change: impl Fn(), stop: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).unwrap();
    let files = vec![ConfigFile {
        path: path.to_owned(),
        text,
    }];
    let mut tasks = Tasks::default();
    tasks.spawn("config", watch(files, tasks.shutdown()));
    change();
    tasks
        .run(async move {
            if stop {
                Ok(())
            } else {
                std::future::pending().await
            }
        })
        .await
}

#[tokio::test]
async fn semantics_13_6_a_changed_file_ends_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, "one").unwrap();
    let error = ends(&path, || std::fs::write(&path, "two").unwrap(), false)
        .await
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("config.yaml was changed"),
        "{error:#}"
    );
    // As editors do it.
    let replace = || {
        std::fs::write(dir.path().join("new"), "three").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
    };
    assert!(ends(&path, replace, false).await.is_err());
}

#[tokio::test]
async fn semantics_13_6_a_config_map_that_is_swapped_ends_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (name, text) in [("v1", "one"), ("v2", "two")] {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join("config.conf"), text).unwrap();
    }
    std::os::unix::fs::symlink("v1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/config.conf", at("config.conf")).unwrap();
    let swap = || {
        std::os::unix::fs::symlink("v2", at("..tmp")).unwrap();
        std::fs::rename(at("..tmp"), at("..data")).unwrap();
    };
    assert!(ends(&at("config.conf"), swap, false).await.is_err());
}

#[tokio::test]
async fn the_same_text_again_and_a_file_that_is_away_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, "one").unwrap();
    ends(&path, || std::fs::write(&path, "one").unwrap(), true)
        .await
        .unwrap();
    ends(&path, || std::fs::remove_file(&path).unwrap(), true)
        .await
        .unwrap();
}

#[test]
fn semantics_15_start_up_warnings_about_families() {
    let check = |fields: &str,
                 (primary_ipv4, dual_stack): (bool, bool),
                 pod_cidrs: &[&str],
                 expected: Result<&[&str], &str>| {
        let documents = format!("{THEIRS}{fields}\n");
        let config = super::resolved(&documents).kube_proxy;
        let node = NodeView {
            primary_ipv4,
            dual_stack,
            pod_cidrs: pod_cidrs.iter().map(|&cidr| cidr.to_owned()).collect(),
        };
        match (families(&config, &node), expected) {
            (Ok(warnings), Ok(expected)) => {
                assert_eq!(warnings.len(), expected.len(), "{fields}: {warnings:?}");
                for (warning, part) in warnings.iter().zip(expected) {
                    assert!(
                        warning.contains(part),
                        "{fields}: {part:?} is missing in {warning}"
                    );
                }
            }
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{fields}: {error}"),
            (got, _) => panic!("{fields}: {got:?}"),
        }
    };
    let (v4, v6, dual) = ((true, false), (false, false), (true, true));
    check("", v4, &["10.0.0.0/24"], Ok(&[]));
    check("clusterCIDR: fd00::/56", dual, &[], Ok(&["clusterCIDR"]));
    check("clusterCIDR: fd00::/56", v4, &[], Err("clusterCIDR"));
    check("clusterCIDR: 10.0.0.0/8", v6, &[], Err("clusterCIDR"));
    check(
        "detectLocalMode: NodeCIDR",
        dual,
        &["fd00::/64"],
        Err("podCIDRs"),
    );
    check(
        "detectLocalMode: ClusterCIDR",
        dual,
        &["fd00::/64"],
        Ok(&["podCIDRs"]),
    );
    check(
        "nodePortAddresses: [10.0.0.0/8]",
        dual,
        &["10.0.0.0/24", "fd00::/64"],
        Ok(&["all local IPv6 addresses"]),
    );
    check(
        "nodePortAddresses: [10.0.0.0/8]",
        dual,
        &["10.0.0.0/24"],
        Ok(&[]),
    );
    check(
        "nodePortAddresses: [\"fd00::/8\"]",
        dual,
        &[],
        Ok(&["all local IPv4 addresses"]),
    );
    check("nodePortAddresses: [primary]", dual, &[], Ok(&[]));
    check(
        "healthzBindAddress: \"[fd00::1]:1\"\nmetricsBindAddress: \"[::]:2\"",
        v4,
        &[],
        Ok(&["healthzBindAddress"]),
    );
    check(
        "metricsBindAddress: 127.0.0.1:2",
        v6,
        &[],
        Ok(&["metricsBindAddress"]),
    );
    check(
        "metricsBindAddress: 127.0.0.1:2",
        (false, true),
        &[],
        Ok(&[]),
    );
    let unset = |fields: &str| {
        explain_config(&format!("{THEIRS}{fields}\n"))
            .unwrap()
            .warnings
            .join("\n")
            .contains("nodePortAddresses is not set")
    };
    assert!(
        unset("")
            && unset("mode: iptables")
            && !unset("mode: nftables")
            && !unset("nodePortAddresses: [all]")
    );
}
