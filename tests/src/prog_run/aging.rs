//! The programs that delete connections that are over: no packets for them, but batches of keys.

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};

use super::Kernel;

/// IPv4's first.
const PROGRAMS: [&str; 2] = ["age_v4", "age_v6"];

impl Kernel {
    /// Loads the programs.
    pub fn load_aging(&mut self) -> Result<()> {
        for name in PROGRAMS {
            let found = self.ebpf.program_mut(name);
            let program: &mut SchedClassifier = found.context("no such program")?.try_into()?;
            program.load().with_context(|| format!("load {name}"))?;
        }
        Ok(())
    }

    /// Runs the one of the family on a batch of keys (see `proxy_common::path::hook::age`); how many entries went.
    pub fn age(&self, v6: bool, batch: &[u8]) -> Result<u32> {
        let found = self.ebpf.program(PROGRAMS[usize::from(v6)]);
        let program: &SchedClassifier = found.context("no such program")?.try_into()?;
        let outcome = program.test_run(TestRunOptions {
            data_in: Some(batch),
            ..TestRunOptions::new()
        });
        Ok(outcome.context("test run")?.return_value)
    }
}
