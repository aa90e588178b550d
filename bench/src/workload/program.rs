//! Nanoseconds per packet of each eBPF program: `BPF_PROG_TEST_RUN` less an empty program, by hook, family and kind of packet.

use anyhow::Result;
use integration::prog_bench::{self, ROUNDS};

use crate::contestant::Contestant;
use crate::context::Context;
use crate::plan::Subset;
use crate::quiet::{Own, Watch};
use crate::record::{Better, Outcome, Record, Sample};

/// Measures the programs by themselves; no cluster is there.
pub fn run(context: &Context) -> Result<Vec<Outcome>> {
    context.say("program: nanoseconds per packet");
    let rounds = if context.plan.quick { 5 } else { ROUNDS };
    let watch = Watch::begin(Own::Tree);
    let figures = prog_bench::measure(rounds, &[])?;
    // All cases take turns in every round: what disturbs one disturbs all.
    let disturbed = watch.end().disturbs();
    let record = |figure: prog_bench::Figure| {
        let samples = figure.nanoseconds.into_iter();
        Record::new(
            Subset::Program.name(),
            figure.name,
            Contestant::KubeShunt,
            0,
            "ns",
            Better::Lower,
        )
        .with(samples.map(|value| Sample { value, disturbed }))
        .into()
    };
    Ok(figures.into_iter().map(record).collect())
}
