//! Two answers to one question, and the smallest cluster in which they differ.

use std::fmt;

use kube_shunt::explain::answer::{self, Answer};
use kube_shunt::explain::ask::Told;
use proxy_oracle::random::Case;
use proxy_oracle::{Cluster, Config, Flow, Node, Verdict, decide};

use crate::bodies::{Bodies, Kernels};

/// The oracle of a case.
pub(crate) struct Judge {
    cluster: Cluster,
    config: Config,
    node: Node,
}

/// What a body answers otherwise than the oracle.
#[derive(Clone)]
pub(crate) struct Wrong {
    body: &'static str,
    said: Answer,
    expected: proxy_oracle::Answer,
}

/// A flow of a case that is answered otherwise.
pub(crate) struct Difference {
    /// Of the case.
    pub(crate) seed: u64,
    /// The node and its cluster.
    pub(crate) case: Case,
    /// The question.
    pub(crate) flow: Flow,
    /// The answers.
    pub(crate) wrong: Box<Wrong>,
}

impl Judge {
    /// Reads the case.
    pub(crate) fn new(case: &Case) -> Self {
        let (cluster, config, node) = case.world();
        Self {
            cluster,
            config,
            node,
        }
    }

    /// The answer of all, or the first body that does not answer as the oracle does.
    pub(crate) fn compare(
        &self,
        bodies: &mut Bodies<'_>,
        flow: &Flow,
    ) -> Result<proxy_oracle::Answer, Box<Wrong>> {
        let expected = decide(&self.cluster, &self.config, &self.node, flow);
        for (body, said) in bodies.answers(flow) {
            if !same(&expected, &said) {
                return Err(Box::new(Wrong {
                    body,
                    said: said.answer,
                    expected,
                }));
            }
        }
        Ok(expected)
    }
}

/// Reasons have other words; all else must be equal.
fn same(expected: &proxy_oracle::Answer, told: &Told) -> bool {
    let said = &told.answer;
    let verdict = match said.verdict {
        answer::Verdict::Dnat => Verdict::Dnat,
        answer::Verdict::Reject => Verdict::Reject,
        answer::Verdict::Drop => Verdict::Drop,
        answer::Verdict::Pass => Verdict::Pass,
    };
    let affinity = told
        .frontend
        .map(|(frontend, _)| u64::from(frontend.affinity_seconds))
        .filter(|seconds| *seconds > 0);
    verdict == expected.verdict
        && said.service == expected.service
        && said.frontend == expected.frontend
        && said.backends == expected.backends
        && said.masquerade == expected.masquerade
        && said.hook.label() == expected.hook
        && affinity == expected.affinity
}

impl Difference {
    /// The same difference in as few objects as show it.
    pub(crate) fn smallest(&self, kernels: &mut Kernels) -> Self {
        let mut differs = |case: &Case| {
            let mut bodies = Bodies::new(case, kernels);
            Judge::new(case).compare(&mut bodies, &self.flow).err()
        };
        let case = self.case.clone().shrink(|case| differs(case).is_some());
        let wrong = differs(&case).unwrap_or_else(|| self.wrong.clone());
        Self {
            seed: self.seed,
            flow: self.flow.clone(),
            case,
            wrong,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            case,
            flow,
            wrong,
        } = self;
        let Wrong {
            body,
            said,
            expected,
        } = &**wrong;
        writeln!(f, "seed {seed}: {}", flow.question(""))?;
        writeln!(f, "  oracle: {expected:?}\n  {body}: {said:?}")?;
        writeln!(
            f,
            "  addresses: {:?}\n  node: {}",
            case.addresses, case.node_object
        )?;
        for document in case.config.iter().chain(&case.objects) {
            writeln!(f, "---\n{document}")?;
        }
        Ok(())
    }
}
