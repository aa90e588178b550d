//! A run from beginning to end: sizes from small to large, at each the traffic side by side, then one proxy after the other.

use anyhow::Result;

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
        for &services in &plan.sizes {
            feed.load(context, services)?;
            if plan.wants(Subset::Programming) {
                outcomes.extend(workload::programming::run(context, &mut feed)?);
            }
        }
    }
    if plan.wants(Subset::Scale) {
        outcomes.extend(workload::scale::run(context)?);
    }
    Ok(outcomes)
}
