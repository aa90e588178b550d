//! Rounds in which every contestant has its turn, in another order each time: what drifts hits all of them alike.

use anyhow::Result;
use proxy_common::sim::rng::Rng;

use crate::context::Context;
use crate::interrupt;
use crate::quiet::{Own, Watch};
use crate::record::{LeftOut, Outcome, Record, Sample};

/// Samples in a row that may fail before a contestant is left out.
const HOPELESS: u32 = 2;

/// One who takes part: measures once, a value for each record.
pub struct Contender<'a> {
    records: Vec<Record>,
    measure: Box<dyn FnMut() -> Result<Vec<f64>> + 'a>,
    failed: u32,
    out: Option<String>,
}

impl<'a> Contender<'a> {
    /// `measure` returns as many values as there are `records`, in their order.
    pub fn new(records: Vec<Record>, measure: impl FnMut() -> Result<Vec<f64>> + 'a) -> Self {
        Self {
            records,
            measure: Box::new(measure),
            failed: 0,
            out: None,
        }
    }

    /// Quiet samples so far.
    fn quiet(&self) -> usize {
        self.records
            .first()
            .map_or(0, |record| record.quiet().len())
    }

    /// One turn. The first is a warm-up: measured and forgotten.
    fn turn(&mut self, context: &Context, warm_up: bool, own: Own) -> Result<()> {
        if self.out.is_some() {
            return Ok(());
        }
        let watch = Watch::begin(own);
        let measured = (self.measure)();
        let disturbed = watch.end().disturbs();
        // What ends with the run is no failure of the contestant's.
        interrupt::check()?;
        match measured {
            Ok(values) => {
                self.failed = 0;
                if !warm_up {
                    for (record, value) in self.records.iter_mut().zip(values) {
                        record.samples.push(Sample { value, disturbed });
                    }
                }
            }
            Err(error) => {
                for record in &mut self.records {
                    record.failed += 1;
                    context.say(&format!(
                        "a sample of {}, {}, failed: {error:#}",
                        record.contestant.title(),
                        record.variant
                    ));
                }
                self.failed += 1;
                if self.failed >= HOPELESS {
                    self.out = Some(format!("{error:#}"));
                }
            }
        }
        Ok(())
    }

    fn outcomes(self) -> Vec<Outcome> {
        let Some(reason) = self.out else {
            return self.records.into_iter().map(Outcome::Measured).collect();
        };
        let left_out = |record: Record| LeftOut {
            workload: record.workload,
            variant: record.variant,
            contestant: record.contestant,
            services: record.services,
            reason: reason.clone(),
            at_least: None,
        };
        self.records
            .into_iter()
            .map(|record| left_out(record).into())
            .collect()
    }
}

/// A warm-up, the plan's rounds, and more of them while somebody has fewer quiet samples than half of them.
pub fn run(
    context: &Context,
    own: Own,
    mut contenders: Vec<Contender<'_>>,
) -> Result<Vec<Outcome>> {
    let plan = &context.plan;
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut rng = Rng::new(plan.seed);
    let wanted = usize::try_from(plan.rounds / 2 + 1)?;
    for round in 0..=plan.rounds + plan.extra_rounds {
        let is_extra = round > plan.rounds;
        let enough = |one: &Contender<'_>| one.out.is_some() || one.quiet() >= wanted;
        if is_extra && contenders.iter().all(enough) {
            break;
        }
        shuffle(&mut order, &mut rng);
        for &index in &order {
            if let Some(contender) = contenders.get_mut(index) {
                contender.turn(context, round == 0, own)?;
            }
        }
    }
    Ok(contenders
        .into_iter()
        .flat_map(Contender::outcomes)
        .collect())
}

/// Fisher and Yates.
fn shuffle(order: &mut [usize], rng: &mut Rng) {
    for end in (1..order.len()).rev() {
        let other = rng.below(end + 1);
        order.swap(end, other);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::contestant::Contestant;
    use crate::plan::Plan;
    use crate::record::Better;

    fn records(variant: &str) -> Vec<Record> {
        let contestant = Contestant::Direct;
        vec![Record::new(
            "w",
            variant,
            contestant,
            1,
            "us",
            Better::Lower,
        )]
    }

    fn context() -> Context {
        let plan = Plan {
            rounds: 3,
            extra_rounds: 0,
            ..Plan::new(&[], true, 1)
        };
        Context::new(plan)
    }

    #[test]
    fn all_take_turns_and_the_warm_up_does_not_count() {
        let turns = RefCell::new(Vec::new());
        let contender = |name: &'static str| {
            let turns = &turns;
            Contender::new(records(name), move || {
                turns.borrow_mut().push(name);
                Ok(vec![1.0])
            })
        };
        let all = vec![contender("a"), contender("b")];
        let outcomes = run(&context(), Own::Tree, all).unwrap();
        let turns = turns.borrow();
        assert_eq!(turns.len(), 8, "a warm-up and three rounds of two");
        for round in turns.chunks(2) {
            assert_ne!(
                round[0], round[1],
                "each has one turn in each round: {turns:?}"
            );
        }
        for outcome in outcomes {
            let Outcome::Measured(record) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(record.samples.len(), 3);
        }
    }

    #[test]
    fn who_fails_again_and_again_is_left_out_with_the_reason() {
        let fails = Contender::new(records("a"), || anyhow::bail!("gone"));
        let outcomes = run(&context(), Own::Tree, vec![fails]).unwrap();
        let [Outcome::LeftOut(left_out)] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert_eq!(left_out.reason, "gone");
    }

    #[test]
    fn one_failure_costs_one_sample_only() {
        let mut turn = 0;
        let once = Contender::new(records("a"), move || {
            turn += 1;
            anyhow::ensure!(turn != 2, "once");
            Ok(vec![1.0])
        });
        let outcomes = run(&context(), Own::Tree, vec![once]).unwrap();
        let [Outcome::Measured(record)] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert_eq!((record.samples.len(), record.failed), (2, 1));
    }

    #[test]
    fn the_seed_decides_the_order() {
        let order = |seed| {
            let mut order: Vec<usize> = (0..20).collect();
            shuffle(&mut order, &mut Rng::new(seed));
            order
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(3);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..20), "nobody is lost");
    }
}
