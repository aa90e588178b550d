//! The frame of every test of traffic: skip or build, run, show the agents' logs if it failed.

use anyhow::{Context as _, Result};

use crate::agent::AgentOptions;
use crate::requirements;
use crate::topology::{Cluster, Options};

/// Set to keep the namespaces of a failed test until the next run, to look around in them.
const KEEP: &str = "KUBE_SHUNT_TEST_KEEP";

/// Runs `test` in a cluster without agents.
///
/// # Panics
///
/// If the test fails, or no cluster can be made.
pub fn with_cluster(options: Options, test: impl FnOnce(&mut Cluster) -> Result<()>) {
    if !requirements::met(std::thread::current().name().unwrap_or("test")) {
        return;
    }
    let mut cluster =
        Cluster::new(options).unwrap_or_else(|error| panic!("cannot make a cluster: {error:#}"));
    if let Err(error) = test(&mut cluster) {
        if std::env::var_os(KEEP).is_some() {
            eprintln!("kept: {}", cluster.keep().prefix);
        }
        panic!("{error:#}");
    }
}

/// Runs `prepare` (manifests), starts an agent on each node, and runs `test` once both are ready.
pub fn with_agents(
    options: Options,
    agents: &AgentOptions,
    prepare: impl FnOnce(&mut Cluster) -> Result<()>,
    test: impl FnOnce(&mut Cluster) -> Result<()>,
) {
    with_cluster(options, |cluster| {
        prepare(cluster)?;
        cluster.start_agents(agents)?;
        test(cluster)
    });
}

/// Options of agents that read `settings`: lines of a `KubeProxyConfiguration`, lines of a `KubeShuntConfiguration`.
pub fn configured(cluster: &Cluster, settings: [&str; 2]) -> Result<AgentOptions> {
    let file = cluster.state.dir.join("config.yaml");
    let [kube_proxy, ours] = settings;
    let text = format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n{kube_proxy}\n\
        ---\napiVersion: kubeshunt.io/v1alpha1\nkind: KubeShuntConfiguration\n{ours}\n"
    );
    // In one step: agents may read it already.
    let draft = file.with_extension("draft");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, &file)?;
    let path = file.to_str().context("a path that is no text")?;
    Ok(AgentOptions::default().with("config", path))
}
