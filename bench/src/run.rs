//! A run from beginning to end: sizes from small to large, at each the traffic side by side, then one proxy after the other.

use anyhow::Result;

use crate::arena::Arena;
use crate::contestant::Source;
use crate::context::Context;
use crate::feed::Feed;
use crate::plan::Subset;
use crate::record::Outcome;
use crate::workload;

/// Measures what the plan wants.
pub fn run(context: &Context) -> Result<Vec<Outcome>> {
    let plan = &context.plan;
    let mut outcomes = Vec::new();
    if plan.wants_any(Subset::needs_api) {
        let mut feed = Feed::start(context)?;
        let traffic = plan.wants_any(Subset::is_traffic);
        let mut arena = traffic
            .then(|| Arena::new(context, Some(&feed)))
            .transpose()?;
        for &services in &plan.sizes {
            feed.load(context, services)?;
            if let Some(arena) = &mut arena {
                arena.start(context, Source::Api(&feed.kubeconfig()?), services)?;
                outcomes.extend(side_by_side(context, arena)?);
                arena.stop()?;
            }
            if plan.wants(Subset::Programming) {
                outcomes.extend(workload::programming::run(context, &mut feed)?);
            }
        }
    }
    if plan.wants(Subset::Connections) && plan.sizes.iter().all(|&size| size < plan.huge) {
        outcomes.extend(huge(context)?);
    }
    if plan.wants(Subset::Program) {
        outcomes.extend(workload::program::run(context)?);
    }
    if plan.wants(Subset::Scale) {
        outcomes.extend(workload::scale::run(context)?);
    }
    Ok(outcomes)
}

/// New connections among more Services than an API server could be filled with, through kube-shunt alone.
fn huge(context: &Context) -> Result<Vec<Outcome>> {
    let services = context.plan.huge;
    let mut arena = Arena::new(context, None)?;
    let dir = arena.folder("feed")?;
    workload::scale::feed(&dir, services)?;
    arena.start(context, Source::Manifests(&dir), services)?;
    let outcomes = workload::connections::run(context, &arena)?;
    arena.stop()?;
    Ok(outcomes)
}

/// The traffic that the plan wants.
fn side_by_side(context: &Context, arena: &mut Arena) -> Result<Vec<Outcome>> {
    let plan = &context.plan;
    let mut outcomes = Vec::new();
    if plan.wants(Subset::Connections) {
        outcomes.extend(workload::connections::run(context, arena)?);
    }
    if plan.wants(Subset::Established) {
        outcomes.extend(workload::established::run(context, arena)?);
    }
    if plan.wants(Subset::Packets) {
        outcomes.extend(workload::packets::run(context, arena)?);
    }
    Ok(outcomes)
}
