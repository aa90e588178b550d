//! The frame of every test of traffic: skip or build, run, show the agents' logs if it failed.

use anyhow::Result;

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
