//! What the kernel tells about the programs that are loaded. In this machine they are ours, but for one.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;

/// The program of the other ends of the nodes' links ([`integration::bpf::Foreign`]).
const FOREIGN: &str = "foreign";

/// Tells for each program how many instructions the verifier walked: its figure for complexity. Kernels below 5.16
/// keep that to themselves; their figure is the instructions that are left after verification.
pub(crate) fn report() -> Result<()> {
    let mut counts = BTreeMap::new();
    for program in loaded_programs() {
        let program = program.context("list programs")?;
        let name = program.name_as_str().unwrap_or_default().to_owned();
        if name == FOREIGN {
            continue;
        }
        let walked = program.verified_instruction_count();
        let left = program.size_translated().map(|bytes| bytes / 8);
        let count = walked
            .filter(|&count| count > 0)
            .or(left)
            .unwrap_or_default();
        // Both agents load the same object.
        counts.insert(name, count);
    }
    ensure!(!counts.is_empty(), "the kernel lists no programs");
    for (name, count) in counts {
        super::tell(&format!("program {name} {count}"));
    }
    Ok(())
}
