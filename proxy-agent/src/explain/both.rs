//! Both bodies side by side: the kernel's answer counts, the memory's tells whether to trust it.

use super::answer::{Answer, Hook};
use super::ask::{Told, ask};
use super::kernel::Kernel;
use super::memory::Memory;
use super::question::Question;
use super::state::State;

/// One node and its bodies.
#[derive(Debug)]
pub struct Both {
    /// What is asked about.
    pub state: State,
    memory: Memory,
    kernel: Option<Kernel>,
}

/// The memory body answers otherwise: a bug of kube-shunt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What the kernel says.
    pub kernel: Answer,
    /// What memory says.
    pub memory: Answer,
}

impl Both {
    /// A node whose maps `kernel` has; without it, memory answers alone.
    pub fn new(state: State, kernel: Option<Kernel>) -> Self {
        Self {
            memory: Memory::new(&state),
            state,
            kernel,
        }
    }

    /// Another node, or another look at the same.
    #[must_use]
    pub fn over(self, state: State) -> Self {
        Self::new(state, self.kernel)
    }

    /// Asks both.
    pub fn ask(&mut self, question: &Question) -> anyhow::Result<(Told, Option<Difference>)> {
        let memory = ask(&self.state, &mut self.memory, question)?;
        let Some(kernel) = &mut self.kernel else {
            return Ok((memory, None));
        };
        let told = ask(&self.state, kernel, question)?;
        // Memory has no routes, so it never finds that XDP could finish a packet.
        let hook = told.answer.hook;
        let comparable = Answer {
            hook: if hook == Hook::Xdp { Hook::Tc } else { hook },
            ..told.answer.clone()
        };
        let differs = !by_route(&told.answer) && !comparable.agrees(&memory.answer);
        let difference = differs.then(|| Difference {
            kernel: told.answer.clone(),
            memory: memory.answer,
        });
        Ok((told, difference))
    }
}

/// Whether the route decided: memory has none, so the two cannot be compared.
fn by_route(answer: &Answer) -> bool {
    matches!(
        answer.reason.as_str(),
        "routing_loop" | "no_route" | "too_big" | "ttl_exceeded"
    )
}

impl Difference {
    /// For an operator: what to report.
    pub fn report(&self) -> String {
        let text = |answer| serde_json::to_string(answer).unwrap_or_default();
        format!(
            "this is a bug of kube-shunt, please report it: the eBPF programs and the copy of the path in memory disagree\n  \
             programs: {}\n  memory:   {}",
            text(&self.kernel),
            text(&self.memory)
        )
    }
}
