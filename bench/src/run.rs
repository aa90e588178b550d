//! A run from beginning to end: sizes from small to large, at each the traffic side by side, then one proxy after the other.
//!
//! What fails is reported and left out; the rest goes on. Only an interrupt ends a run early.

use anyhow::Result;

use crate::arena::Arena;
use crate::contestant::{Contestant, Source};
use crate::context::Context;
use crate::feed::Feed;
use crate::interrupt;
use crate::plan::Subset;
use crate::record::{LeftOut, Outcome};
use crate::workload;

/// A run under way.
struct Run<'a> {
    context: &'a Context,
    outcomes: Vec<Outcome>,
}

/// Measures what the plan wants.
pub fn run(context: &Context) -> Result<Vec<Outcome>> {
    let plan = &context.plan;
    let mut run = Run {
        context,
        outcomes: Vec::new(),
    };
    if plan.wants_any(Subset::needs_api) {
        run.with_api()?;
    }
    if plan.sizes.iter().all(|&size| size < plan.huge) {
        run.huge()?;
    }
    run.attempt(Subset::Program, 0, || workload::program::run(context))?;
    run.attempt(Subset::Scale, plan.huge, || workload::scale::run(context))?;
    Ok(run.outcomes)
}

impl Run<'_> {
    fn with_api(&mut self) -> Result<()> {
        let context = self.context;
        let plan = &context.plan;
        let mut feed = Feed::start(context)?;
        let traffic = plan.wants_any(Subset::is_traffic);
        let mut arena = traffic
            .then(|| Arena::new(context, Some(&feed)))
            .transpose()?;
        for &services in &plan.sizes {
            feed.load(context, services)?;
            let wanted =
                plan.wants_any(|subset| subset.is_traffic() && plan.wants_at(subset, services));
            if let Some(arena) = arena.as_mut().filter(|_| wanted) {
                feed.with_ipv6(context, || {
                    arena.start(context, Source::Api(&feed.kubeconfig()?), services)?;
                    self.side_by_side(arena)?;
                    arena.stop()
                })?;
            }
            self.attempt(Subset::Programming, services, || {
                workload::programming::run(context, &mut feed)
            })?;
        }
        Ok(())
    }

    /// Traffic among more Services than an API server could be filled with, through kube-shunt alone.
    fn huge(&mut self) -> Result<()> {
        let (plan, services) = (&self.context.plan, self.context.plan.huge);
        let is_wanted = |one: &Subset| one.is_traffic() && plan.wants_at(*one, services);
        let wanted: Vec<Subset> = plan.subsets.iter().copied().filter(is_wanted).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let arena = huge_arena(self.context, services);
        interrupt::check()?;
        match arena {
            Ok(mut arena) => {
                self.side_by_side(&mut arena)?;
                arena.stop()
            }
            Err(error) => {
                for subset in wanted {
                    self.leave_out(subset, services, &error);
                }
                Ok(())
            }
        }
    }

    /// The traffic that the plan wants.
    fn side_by_side(&mut self, arena: &mut Arena) -> Result<()> {
        let (context, services) = (self.context, arena.services());
        self.attempt(Subset::Connections, services, || {
            workload::connections::run(context, arena)
        })?;
        self.attempt(Subset::Established, services, || {
            workload::established::run(context, arena)
        })?;
        self.attempt(Subset::Packets, services, || {
            workload::packets::run(context, arena)
        })
    }

    /// Does `work` if the plan wants it. What it fails with is a reason to leave it out.
    fn attempt(
        &mut self,
        subset: Subset,
        services: u32,
        work: impl FnOnce() -> Result<Vec<Outcome>>,
    ) -> Result<()> {
        if !self.context.plan.wants_at(subset, services) {
            return Ok(());
        }
        let worked = work();
        interrupt::check()?;
        match worked {
            Ok(outcomes) => self.outcomes.extend(outcomes),
            Err(error) => self.leave_out(subset, services, &error),
        }
        Ok(())
    }

    /// Tells why `subset` was not measured.
    fn leave_out(&mut self, subset: Subset, services: u32, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        self.context
            .say(&format!("{} is left out: {reason}", subset.name()));
        let all = LeftOut::new(subset.name(), Contestant::KubeShunt, services, reason);
        self.outcomes.push(all.into());
    }
}

/// kube-shunt with `services` Services of a feed.
fn huge_arena(context: &Context, services: u32) -> Result<Arena> {
    let mut arena = Arena::new(context, None)?;
    let dir = arena.folder("feed")?;
    workload::scale::feed(&dir, services)?;
    arena.start(context, Source::Manifests(&dir), services)?;
    Ok(arena)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn after(work: fn() -> Result<Vec<Outcome>>) -> Vec<Outcome> {
        let context = Context::new(Plan::new(&[Subset::Program], true, 1));
        let mut run = Run {
            context: &context,
            outcomes: Vec::new(),
        };
        run.attempt(Subset::Program, 0, work).unwrap();
        // The plan does not want it.
        run.attempt(Subset::Scale, 0, work).unwrap();
        run.outcomes
    }

    #[test]
    fn what_fails_is_left_out_with_its_reason() {
        let outcomes = after(|| anyhow::bail!("no such luck"));
        let [Outcome::LeftOut(left_out)] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert_eq!(
            (&*left_out.workload, &*left_out.reason),
            ("program", "no such luck")
        );
    }

    #[test]
    fn only_what_the_plan_wants_is_done() {
        let some = || {
            let one = LeftOut::new("program", Contestant::Direct, 0, "");
            Ok(vec![one.into()])
        };
        assert_eq!(after(some).len(), 1);
    }
}
