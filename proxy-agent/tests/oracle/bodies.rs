//! A case as `kube-shunt explain` sees it: its files read, its objects planned, its maps in every body.

use kube_shunt::config::explain_config;
use kube_shunt::explain::ask::{Told, ask};
use kube_shunt::explain::body::Body;
use kube_shunt::explain::kernel::Kernel;
use kube_shunt::explain::memory::Memory;
use kube_shunt::explain::offline::{Inputs, Offline};
use kube_shunt::explain::question;
use kube_shunt::explain::state::State;
use kube_shunt::manifests;
use kube_shunt::objects::Parsed;
use proxy_kernel::Capacities;
use proxy_model::Policy;
use proxy_model::policy::{DetectLocal, SourceIp};
use proxy_oracle::Flow;
use proxy_oracle::random::Case;
use serde_json::Value;

/// Room for any case: large maps take long to be emptied.
const SMALL: Capacities = Capacities {
    frontends: 16_384,
    backends: 16_384,
    flows: 64,
    embryos: 64,
    affinity: 64,
    source_ranges: 1_024,
    lut: 131_072,
};

/// Programs in the kernel, one set for each way to load them; none without the means for it.
#[derive(Default)]
pub(crate) struct Kernels {
    loaded: Vec<((bool, bool), Kernel)>,
    absent: bool,
}

impl Kernels {
    /// None but memory's answers.
    pub(crate) fn absent() -> Self {
        Self {
            absent: true,
            ..Self::default()
        }
    }

    /// The programs for a policy, with the maps of a node.
    fn filled(&mut self, policy: &Policy, offline: &Offline) -> Option<&mut Kernel> {
        if self.absent {
            return None;
        }
        let by_source = matches!(
            policy.detect_local,
            DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr
        );
        let key = (by_source, policy.source_ip == SourceIp::KubeProxy);
        let known = self.loaded.iter().position(|(of, _)| *of == key);
        let index = known.unwrap_or_else(|| {
            let kernel = Kernel::offline(policy, SMALL).expect("the programs load");
            self.loaded.push((key, kernel));
            self.loaded.len() - 1
        });
        let (_, kernel) = &mut self.loaded[index];
        kernel.fill(offline).expect("the maps have room");
        Some(kernel)
    }
}

/// Who answers about a case.
pub(crate) struct Bodies<'a> {
    state: State,
    memory: Memory,
    kernel: Option<&'a mut Kernel>,
}

impl<'a> Bodies<'a> {
    /// Plans, and fills the maps.
    pub(crate) fn new(case: &Case, kernels: &'a mut Kernels) -> Self {
        let (policy, offline) = offline(case);
        Self {
            memory: Memory::new(&offline.state),
            kernel: kernels.filled(&policy, &offline),
            state: offline.state,
        }
    }

    /// What each body answers, by its name.
    pub(crate) fn answers(&mut self, flow: &Flow) -> Vec<(&'static str, Told)> {
        let line = flow.question("1").to_string();
        let question = question::line(&line).unwrap_or_else(|(_, error)| panic!("{line}: {error}"));
        let bodies = [
            ("memory", Some(&mut self.memory as &mut dyn Body)),
            (
                "kernel",
                self.kernel.as_mut().map(|kernel| *kernel as &mut dyn Body),
            ),
        ];
        let answers = bodies.into_iter().filter_map(|(name, body)| {
            let told = ask(&self.state, body?, &question)
                .unwrap_or_else(|error| panic!("{line}: {error:#}"));
            Some((name, told))
        });
        answers.collect()
    }
}

fn offline(case: &Case) -> (Policy, Offline) {
    let parsed: Vec<Parsed> = case.objects.iter().flat_map(parse).collect();
    let documents: Vec<String> = case.config.iter().map(Value::to_string).collect();
    let config = explain_config(&documents.join("\n---\n")).expect("the configuration is valid");
    let offline = Offline::new(Inputs {
        node: case.node.clone(),
        nodes: parsed
            .iter()
            .filter_map(|parsed| parsed.node.clone())
            .collect(),
        objects: parsed.into_iter().map(|parsed| parsed.object).collect(),
        node_object: parse(&case.node_object).pop(),
        node_addresses: case.addresses.clone(),
        policy: config.policy.clone(),
        node_port_addresses: config.node_port_addresses,
    });
    (config.policy, offline)
}

/// JSON is YAML. What cannot be read is no object, and stops no other.
fn parse(object: &Value) -> Vec<Parsed> {
    manifests::parse(&object.to_string()).unwrap_or_default()
}
