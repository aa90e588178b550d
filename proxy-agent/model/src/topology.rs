//! Which endpoints get traffic: topology hints, readiness, termination (SEMANTICS section 5).

use crate::endpoint::{Candidate, Facts};

/// Which of the two sets are asked for (SEMANTICS 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) cluster: bool,
    pub(crate) local: bool,
}

/// What is in the sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Selected {
    /// There is an endpoint somewhere that could be used (SEMANTICS 5.5).
    pub(crate) has_endpoints: bool,
    /// localEndpoints is not empty.
    pub(crate) has_local: bool,
}

/// Marks the members of clusterEndpoints and localEndpoints.
pub(crate) fn select<A>(candidates: &mut [Candidate<A>], wanted: Wanted) -> Selected {
    let (ready, allowed) = (Facts::READY, hint_mode(candidates));
    if wanted.cluster {
        let any_ready = candidates
            .iter()
            .any(|candidate| candidate.facts.has(ready));
        for Candidate { facts, .. } in candidates.iter_mut() {
            let chosen = if any_ready {
                facts.has(ready) && facts.has(allowed)
            } else {
                facts.usable()
            };
            *facts = facts.with(Facts::IN_CLUSTER, chosen);
        }
    }
    let local_ready = ready.with(Facts::LOCAL, true);
    let any_ready = candidates
        .iter()
        .any(|candidate| candidate.facts.has(local_ready));
    let mut has_local = false;
    for Candidate { facts, .. } in candidates.iter_mut().filter(|_| wanted.local) {
        let chosen = if any_ready {
            facts.has(local_ready)
        } else {
            facts.has(Facts::LOCAL) && facts.usable()
        };
        *facts = facts.with(Facts::IN_LOCAL, chosen);
        has_local |= chosen;
    }
    Selected {
        has_endpoints: candidates.iter().any(|candidate| candidate.facts.usable()),
        has_local,
    }
}

/// The hint that a ready endpoint must have to be in clusterEndpoints (SEMANTICS 5.2).
fn hint_mode<A>(candidates: &[Candidate<A>]) -> Facts {
    let all = |hint| ready(candidates).all(|facts| facts.has(hint));
    let any = |hint| ready(candidates).any(|facts| facts.has(hint));
    if all(Facts::NODE_HINT) && any(Facts::FOR_NODE) {
        Facts::FOR_NODE
    } else if all(Facts::ZONE_HINT) && any(Facts::FOR_ZONE) {
        Facts::FOR_ZONE
    } else {
        Facts::default()
    }
}

fn ready<A>(candidates: &[Candidate<A>]) -> impl Iterator<Item = Facts> {
    candidates
        .iter()
        .map(|candidate| candidate.facts)
        .filter(|facts| facts.has(Facts::READY))
}
