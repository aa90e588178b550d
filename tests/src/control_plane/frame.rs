//! The frame of every test against a real API: a cluster of namespaces, its control plane, agents with the chart's rights.

use anyhow::{Context as _, Result};

use super::{ControlPlane, objects, rbac};
use crate::agent::AgentOptions;
use crate::testbed::with_cluster;
use crate::topology::{Cluster, Options, Pod};

/// A cluster and the control plane that its agents watch.
#[derive(Debug)]
pub struct Api<'a> {
    /// The namespaces.
    pub cluster: &'a mut Cluster,
    /// What is in their router.
    pub plane: ControlPlane,
}

/// Runs `test` with a control plane; without agents.
pub fn with_control_plane(test: impl FnOnce(&mut Api<'_>) -> Result<()>) {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    if !super::available(&name) || !rbac::available(&name) {
        return;
    }
    with_cluster(Options::default(), |cluster| {
        let plane = ControlPlane::start(&cluster.router, &cluster.state.dir.join("control-plane"))?;
        let mut api = Api { cluster, plane };
        let outcome = test(&mut api);
        outcome.with_context(|| api.plane.tails())
    });
}

/// Runs `test` with a control plane that knows the nodes, and agents that watch it.
pub fn with_api(test: impl FnOnce(&mut Api<'_>) -> Result<()>) {
    with_control_plane(|api| {
        api.register_nodes()?;
        let options = api.agent_options()?;
        api.cluster.start_agents(&options)?;
        test(api)
    });
}

impl Api<'_> {
    /// Options of agents that have the chart's rights.
    pub fn agent_options(&self) -> Result<AgentOptions> {
        let client = &self.plane.client;
        rbac::install(client, &rbac::render(&[])?)?;
        let token = rbac::token(client)?;
        let kubeconfig = Some(self.plane.kubeconfig("agent", &token)?);
        let options = AgentOptions {
            kubeconfig,
            ..AgentOptions::default()
        };
        // A short back-off: these tests wait for it.
        Ok(options.with("watch-backoff-max-milliseconds", "500"))
    }

    /// Makes both nodes known, with their addresses and zones.
    pub fn register_nodes(&self) -> Result<()> {
        for node in self.cluster.nodes() {
            self.plane
                .client
                .create(objects::NODES, &objects::node(node))?;
            self.plane.client.patch(
                &format!("{}/{}/status", objects::NODES, node.name()),
                &objects::node_status(node),
            )?;
        }
        Ok(())
    }

    /// Makes `pod` known with the label `app`, running and ready.
    pub fn register_pod(&self, pod: &Pod, app: &str) -> Result<()> {
        self.plane
            .client
            .create(objects::PODS, &objects::pod(pod, app))?;
        self.set_ready(pod, true)
    }

    /// Reports `pod` as ready or not.
    pub fn set_ready(&self, pod: &Pod, ready: bool) -> Result<()> {
        let path = format!("{}/{}/status", objects::PODS, pod.name());
        self.plane
            .client
            .patch(&path, &objects::pod_status(pod, ready))
            .map(drop)
    }

    /// Removes `pod` as a kubelet does once its processes are gone.
    pub fn remove_pod(&self, pod: &Pod) -> Result<()> {
        self.plane
            .client
            .delete(&format!(
                "{}/{}?gracePeriodSeconds=0",
                objects::PODS,
                pod.name()
            ))
            .map(drop)
    }
}
