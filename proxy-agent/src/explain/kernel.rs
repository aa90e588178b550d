//! The kernel's body: the eBPF programs themselves, by test runs that record nothing.

use anyhow::Context as _;
use proxy_common::explain::{self, Fact};
use proxy_common::value::Settings;
use proxy_kernel::explain::{Left as Run, Runner, Sandbox, SandboxOptions};
use proxy_kernel::{Capacities, LocalDetector};
use proxy_model::Policy;
use proxy_model::policy::{DetectLocal, SourceIp};

use super::body::{Body, End, Left};
use super::offline::Offline;

/// `TC_ACT_SHOT` of `linux/pkt_cls.h`.
const SHOT: i32 = 2;
/// `TC_ACT_REDIRECT`.
const REDIRECT: i32 = 7;

/// The loaded programs, over maps of their own or over the node's.
#[derive(Debug)]
pub enum Kernel {
    /// A node on paper.
    Offline(Box<Sandbox>),
    /// This node.
    Live(Box<Runner>),
}

impl Kernel {
    /// Loads programs for a node on paper, with empty maps. Takes some hundred milliseconds: one will do for many nodes of
    /// one policy. `capacities` are those that the planner counts with, or what is known to be enough.
    pub fn offline(policy: &Policy, capacities: Capacities) -> anyhow::Result<Self> {
        let detect = match &policy.detect_local {
            // The paper's devices are what the interface detectors know.
            DetectLocal::Device | DetectLocal::Interface => LocalDetector::Devices,
            DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr => LocalDetector::Cidr,
        };
        let sandbox = Sandbox::new(&SandboxOptions {
            detect,
            exact_masquerade: policy.source_ip == SourceIp::KubeProxy,
            capacities,
        })?;
        Ok(Self::Offline(Box::new(sandbox)))
    }

    /// Makes the maps those of `offline`, and nothing else.
    pub fn fill(&mut self, offline: &Offline) -> anyhow::Result<()> {
        let Self::Offline(sandbox) = self else {
            anyhow::bail!("the maps of a live node are its agent's");
        };
        sandbox.clear()?;
        let applied = sandbox.apply(&offline.ops);
        applied
            .error
            .map_or(Ok(()), Err)
            .context("the kernel does not take all of it")?;
        Ok(sandbox.set_node_addresses(&offline.state.addrs)?)
    }

    /// Settings of the programs.
    pub fn settings(&self) -> Settings {
        *self.runner().settings()
    }

    fn runner(&self) -> &Runner {
        match self {
            Self::Offline(sandbox) => sandbox.runner(),
            Self::Live(runner) => runner,
        }
    }
}

impl Body for Kernel {
    fn packet(&mut self, device: u32, frame: &[u8], candidate: u32) -> anyhow::Result<Left> {
        Ok(left(self.runner().packet(device, candidate, frame)?))
    }

    fn call(&mut self, call: &explain::Question, candidate: u32) -> anyhow::Result<Left> {
        Ok(left(self.runner().socket(call, candidate)?))
    }
}

fn left(run: Run) -> Left {
    Left {
        end: match run.returned {
            SHOT => End::Gone,
            REDIRECT => End::Away,
            _ => End::On,
        },
        facts: [
            Fact::Reason,
            Fact::Service,
            Fact::Backends,
            Fact::Class,
            Fact::Frontend,
        ]
        .map(|fact| run.fact(fact)),
        mark: run.mark,
        bytes: run.bytes,
    }
}
