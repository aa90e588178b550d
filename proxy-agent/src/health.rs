//! Health as kube-proxy means it (SEMANTICS 11.2): is an update stuck, and may load balancers use this node.
//!
//! Holds a few timestamps behind a lock that is never held for more than a copy. Knows no HTTP.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

/// What the Node object says about new load-balancer traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// There is none and none is expected (`--manifests`).
    NotExpected,
    /// It was not seen yet, or was deleted.
    Missing,
    /// It is being deleted, or the autoscaler will.
    Leaving,
    /// It is there to stay.
    Here,
}

impl NodeState {
    /// Whether load balancers may send new connections.
    pub fn eligible(self) -> bool {
        matches!(self, Self::NotExpected | Self::Here)
    }
}

#[derive(Clone, Copy, Debug)]
struct Facts {
    /// When the oldest change that no sync has taken yet arrived.
    queued: Option<Instant>,
    /// When the oldest change of the sync that runs, or of those that failed, arrived.
    taken: Option<Instant>,
    last_updated: Timestamp,
    synced: bool,
    devices: bool,
    node: NodeState,
}

/// Shared by the tasks that know something and the server that tells it.
#[derive(Debug)]
pub struct Health {
    timeout: Duration,
    facts: Mutex<Facts>,
}

/// One answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the kernel last equalled the cluster; now, if it does.
    pub last_updated: String,
    /// The time of the answer.
    pub current_time: String,
    /// Only in /healthz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_eligible: Option<bool>,
    /// The sync works; the node may still not be eligible.
    pub healthy: bool,
    /// The verdict: the HTTP code.
    #[serde(skip)]
    pub ok: bool,
    /// Why not; kube-proxy says no reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// By family; both are one sync here.
    pub status: Status,
}

/// Both families.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// IPv4.
    #[serde(rename = "IPv4")]
    pub ipv4: FamilyStatus,
    /// IPv6; absent where the kernel has none, as in kube-proxy.
    #[serde(rename = "IPv6", skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<FamilyStatus>,
}

/// One family.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyStatus {
    /// As in [`Report`].
    pub last_updated: String,
    /// No update is stuck.
    pub healthy: bool,
}

impl Health {
    /// Nothing is queued at start, so the agent is alive (not yet ready).
    pub fn new(timeout: Duration, node: NodeState) -> Self {
        let facts = Facts {
            queued: None,
            taken: None,
            last_updated: Timestamp::now(),
            synced: false,
            devices: false,
            node,
        };
        Self {
            timeout,
            facts: Mutex::new(facts),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Facts) -> T) -> T {
        // A panic elsewhere ends the process; the facts are plain values and stay readable until then.
        act(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A change arrived.
    pub fn queued(&self, at: Instant) {
        self.with(|facts| facts.queued = earliest(facts.queued, Some(at)));
    }

    /// A sync begins with all that is queued.
    pub fn taken(&self) {
        self.with(|facts| facts.taken = earliest(facts.taken, facts.queued.take()));
    }

    /// The changes were taken in; they cannot be applied before the first lists are complete, so nothing is late.
    pub fn accumulated(&self) {
        self.with(|facts| facts.taken = None);
    }

    /// The sync succeeded.
    pub fn applied(&self) {
        self.with(|facts| {
            facts.taken = None;
            facts.last_updated = Timestamp::now();
        });
    }

    /// The kernel holds the whole cluster for the first time.
    pub fn synced(&self) {
        self.with(|facts| facts.synced = true);
    }

    /// Every device that should carry our programs does for the first time. A pod that starts later is no reason to take the
    /// whole node out of service; coverage is a metric.
    pub fn devices_covered(&self) {
        self.with(|facts| facts.devices = true);
    }

    /// What the Node object says.
    pub fn node(&self, state: NodeState) {
        self.with(|facts| facts.node = state);
    }

    /// /healthz: may load balancers send new connections here?
    pub fn healthz(&self, now: Instant) -> Report {
        let facts = self.with(|facts| *facts);
        let stuck = self.stuck(&facts, now);
        let starting = match facts {
            Facts { synced: false, .. } => Some("the first sync is not done"),
            Facts { devices: false, .. } => Some("the network devices are not covered yet"),
            _ => None,
        };
        let node = match facts.node {
            NodeState::Missing => Some("the Node object was not seen, or was deleted"),
            NodeState::Leaving => Some("the node is being removed"),
            NodeState::Here | NodeState::NotExpected => None,
        };
        let works = stuck.or(starting);
        Report {
            ok: works.or(node).is_none(),
            reason: works.or(node),
            node_eligible: Some(facts.node.eligible()),
            ..report(&facts, works, stuck.is_none())
        }
    }

    /// /livez: would a restart help? Also what health-check node ports ask.
    pub fn livez(&self, now: Instant) -> Report {
        let facts = self.with(|facts| *facts);
        let stuck = self.stuck(&facts, now);
        report(&facts, stuck, stuck.is_none())
    }

    fn stuck(&self, facts: &Facts, now: Instant) -> Option<&'static str> {
        let oldest = earliest(facts.queued, facts.taken)?;
        (now.saturating_duration_since(oldest) >= self.timeout)
            .then_some("an update waits to be applied for too long")
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

/// `problem` is about the agent; the node's eligibility is added by the caller.
fn report(facts: &Facts, problem: Option<&'static str>, family_healthy: bool) -> Report {
    let now = Timestamp::now();
    let last_updated = facts.last_updated.to_string();
    let family = FamilyStatus {
        last_updated: last_updated.clone(),
        healthy: family_healthy,
    };
    Report {
        // kube-proxy tells "now" when healthy; monitors compare the two.
        last_updated: if problem.is_none() {
            now.to_string()
        } else {
            last_updated
        },
        current_time: now.to_string(),
        node_eligible: None,
        healthy: problem.is_none(),
        ok: problem.is_none(),
        reason: problem,
        status: Status {
            ipv4: family.clone(),
            ipv6: has_ipv6().then_some(family),
        },
    }
}

/// Whether the kernel speaks IPv6 at all (SEMANTICS 13.3).
fn has_ipv6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    fn ready() -> Health {
        let health = Health::new(TIMEOUT, NodeState::Here);
        health.synced();
        health.devices_covered();
        health
    }

    /// (healthz, livez)
    fn verdicts(health: &Health, now: Instant) -> (bool, bool) {
        (health.healthz(now).ok, health.livez(now).ok)
    }

    #[test]
    fn not_ready_before_first_sync_and_devices_but_alive() {
        let now = Instant::now();
        let health = Health::new(TIMEOUT, NodeState::NotExpected);
        assert_eq!(verdicts(&health, now), (false, true));
        health.synced();
        assert_eq!(verdicts(&health, now), (false, true));
        health.devices_covered();
        assert_eq!(verdicts(&health, now), (true, true));
    }

    #[test]
    fn semantics_11_2_update_unapplied_for_the_timeout_is_unhealthy_and_not_a_moment_earlier() {
        let (health, start) = (ready(), Instant::now());
        health.queued(start);
        health.queued(start + Duration::from_secs(59));
        let just_before = start + Duration::from_millis(59_999);
        assert_eq!(verdicts(&health, just_before), (true, true));
        assert_eq!(
            verdicts(&health, start + TIMEOUT),
            (false, false),
            "the oldest counts"
        );
        health.taken();
        assert_eq!(
            verdicts(&health, start + TIMEOUT),
            (false, false),
            "taking is not applying"
        );
        health.applied();
        assert_eq!(verdicts(&health, start + TIMEOUT), (true, true));
    }

    #[test]
    fn failed_sync_keeps_counting_from_its_oldest_change() {
        let (health, start) = (ready(), Instant::now());
        health.queued(start);
        health.taken();
        health.queued(start + Duration::from_secs(50));
        health.taken();
        assert!(!health.livez(start + TIMEOUT).healthy);
    }

    #[test]
    fn change_that_arrives_during_a_sync_is_not_cleared_by_it() {
        let (health, start) = (ready(), Instant::now());
        health.queued(start);
        health.taken();
        health.queued(start + Duration::from_secs(1));
        health.applied();
        assert!(
            !health
                .livez(start + TIMEOUT + Duration::from_secs(1))
                .healthy
        );
    }

    #[test]
    fn idle_agent_is_healthy_for_ever() {
        assert_eq!(
            verdicts(&ready(), Instant::now() + Duration::from_secs(1_000_000)),
            (true, true)
        );
    }

    #[test]
    fn semantics_11_2_node_that_leaves_drains_but_lives() {
        let (health, now) = (ready(), Instant::now());
        for (state, eligible) in [
            (NodeState::Missing, false),
            (NodeState::Leaving, false),
            (NodeState::Here, true),
            (NodeState::NotExpected, true),
        ] {
            health.node(state);
            assert_eq!(verdicts(&health, now), (eligible, true), "{state:?}");
            let report = health.healthz(now);
            assert_eq!(report.node_eligible, Some(eligible));
            assert!(report.healthy, "the agent itself works");
        }
    }

    #[test]
    fn semantics_11_2_body_has_kube_proxys_fields() {
        let (health, now) = (ready(), Instant::now());
        health.node(NodeState::Leaving);
        let body = serde_json::to_value(health.healthz(now)).unwrap();
        for field in [
            "lastUpdated",
            "currentTime",
            "nodeEligible",
            "healthy",
            "status",
            "reason",
        ] {
            assert!(body.get(field).is_some(), "{field} is missing in {body}");
        }
        assert_eq!(body["status"]["IPv4"]["healthy"], true);
        assert_eq!(body["status"].get("IPv6").is_some(), has_ipv6());
        assert!(body.get("ok").is_none(), "{body}");
        let body = serde_json::to_value(health.livez(now)).unwrap();
        assert!(
            body.get("nodeEligible").is_none() && body["healthy"] == true,
            "{body}"
        );
    }
}
