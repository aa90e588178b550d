//! Who answers: the eBPF programs in the kernel, or the same path in memory. Both are asked the same way.

use proxy_common::explain;

/// What a program did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on, as it now is.
    On,
    /// It leaves by a device: redirected, or back where it came from.
    Away,
    /// It is gone.
    Gone,
}

/// What a program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What becomes of the packet.
    pub end: End,
    /// The packet.
    pub bytes: Vec<u8>,
    /// Its mark: the program's own bits only.
    pub mark: u32,
    /// What the program found, by [`explain::Fact`].
    pub facts: [u32; explain::FACTS],
}

impl Left {
    /// A fact; 0 where there is none.
    pub fn fact(&self, fact: explain::Fact) -> u32 {
        self.facts.get(fact as usize).copied().unwrap_or_default()
    }
}

/// Runs the programs over a node's maps; nothing is recorded.
pub trait Body {
    /// Puts an Ethernet frame in at TC ingress of a device. Of the backends to choose from, number `candidate` is taken, modulo their number.
    fn packet(&mut self, device: u32, frame: &[u8], candidate: u32) -> anyhow::Result<Left>;

    /// Makes a socket call; `bytes` of what is left hold the answer.
    fn call(&mut self, call: &explain::Question, candidate: u32) -> anyhow::Result<Left>;
}
