//! The agent's own Node where a change of it means a new start.

use anyhow::bail;
use tokio::sync::watch;

use crate::objects::NodeFacts;
use crate::tasks::Shutdown;

/// With detectLocalMode `NodeCIDR`, ends the agent when podCIDRs that it works with change (SEMANTICS 13.5): its supervisor
/// starts it with the new ones. That they are allocated late is no change.
pub async fn pod_cidrs(
    mut node: watch::Receiver<Option<NodeFacts>>,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut used: Vec<String> = Vec::new();
    loop {
        let facts = node.borrow_and_update().clone();
        let now = facts.map(|facts| facts.pod_cidrs).unwrap_or_default();
        if used.is_empty() {
            used = now;
        } else if !now.is_empty() && now != used {
            bail!(
                "the Node's podCIDRs changed from {used:?} to {now:?}, and detectLocalMode is NodeCIDR: a new start is needed"
            );
        }
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            Ok(()) = node.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Tasks;

    fn facts(cidrs: &[&str]) -> NodeFacts {
        let pod_cidrs = cidrs.iter().map(|cidr| (*cidr).to_owned()).collect();
        NodeFacts {
            pod_cidrs,
            ..NodeFacts::default()
        }
    }

    #[tokio::test]
    async fn semantics_13_5_changed_pod_cidrs_end_the_agent_and_late_ones_do_not() {
        let (node, seen) = watch::channel(None);
        let mut tasks = Tasks::default();
        tasks.spawn("node", pod_cidrs(seen, tasks.shutdown()));
        let changes = async {
            for cidrs in [&[][..], &["10.1.0.0/24"], &["10.1.0.0/24"], &[]] {
                node.send_replace(Some(facts(cidrs)));
                tokio::task::yield_now().await;
            }
            node.send_replace(Some(facts(&["10.2.0.0/24"])));
            std::future::pending().await
        };
        let error = tasks.run(changes).await.expect_err("they changed");
        let text = format!("{error:#}");
        assert!(
            text.contains("10.1.0.0/24") && text.contains("10.2.0.0/24"),
            "{text}"
        );
    }
}
