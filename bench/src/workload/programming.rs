//! How fast and at what cost changes of the cluster get into the kernel.

use anyhow::Result;

use crate::context::Context;
use crate::feed::Feed;
use crate::record::Outcome;

/// Measures all contestants one after the other with the Services that are in the API server.
pub fn run(context: &Context, feed: &mut Feed) -> Result<Vec<Outcome>> {
    context.say(&format!(
        "programming: {} Services: not there yet",
        feed.services()
    ));
    Ok(Vec::new())
}
