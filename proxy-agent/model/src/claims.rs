//! Which `ServicePort` has a frontend, when several want it. The oldest Service wins, and hands over when it goes.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::PortIndex;
use crate::family::Family;
use crate::view::FrontendKind;
use proxy_common::key::FrontendKey;

/// A `ServicePort`'s wish for a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) port: PortIndex,
    pub(crate) kind: FrontendKind,
}

/// All wishes of one family.
#[derive(Clone, Debug)]
pub(crate) struct Claims<A> {
    winners: BTreeMap<FrontendKey<A>, Claim>,
    losers: BTreeMap<FrontendKey<A>, Vec<Claim>>,
    released: BTreeSet<FrontendKey<A>>,
}

impl<A: Family> Claims<A> {
    pub(crate) const fn new() -> Self {
        Self {
            winners: BTreeMap::new(),
            losers: BTreeMap::new(),
            released: BTreeSet::new(),
        }
    }

    /// Who has the frontend.
    pub(crate) fn winner(&self, key: &FrontendKey<A>) -> Option<Claim> {
        self.winners.get(key).copied()
    }

    /// Wishes for `key`. Of two ports the one with the smaller `rank` gets it. Returns the other one.
    pub(crate) fn claim<R: Ord>(
        &mut self,
        key: FrontendKey<A>,
        claim: Claim,
        rank: impl Fn(PortIndex) -> R,
    ) -> Option<PortIndex> {
        let Some(winner) = self.winners.get_mut(&key) else {
            self.winners.insert(key, claim);
            return None;
        };
        let losers = self.losers.get(&key).into_iter().flatten();
        // One port may ask twice: an external IP that is a load balancer's too.
        if winner.port == claim.port || losers.into_iter().any(|loser| loser.port == claim.port) {
            return None;
        }
        let loser = if rank(claim.port) < rank(winner.port) {
            // The new winner may find no room; then nobody else looks after what the maps hold for the old one.
            self.released.insert(key);
            std::mem::replace(winner, claim)
        } else {
            claim
        };
        let other = if loser == claim {
            winner.port
        } else {
            loser.port
        };
        self.losers.entry(key).or_default().push(loser);
        Some(other)
    }

    /// Gives a wish up. Returns the port that has the frontend now, if it changed hands.
    pub(crate) fn release<R: Ord>(
        &mut self,
        key: FrontendKey<A>,
        port: PortIndex,
        rank: impl Fn(PortIndex) -> R,
    ) -> Option<PortIndex> {
        let losers = self.losers.get_mut(&key);
        let is_winner = self
            .winners
            .get(&key)
            .is_some_and(|winner| winner.port == port);
        if is_winner {
            self.winners.remove(&key);
            self.released.insert(key);
        }
        let losers = losers?;
        losers.retain(|loser| loser.port != port);
        let mut heir = None;
        if is_winner
            && let Some(best) =
                (0..losers.len()).min_by_key(|&at| losers.get(at).map(|loser| rank(loser.port)))
        {
            let claim = losers.swap_remove(best);
            self.winners.insert(key, claim);
            heir = Some(claim.port);
        }
        if losers.is_empty() {
            self.losers.remove(&key);
        }
        heir
    }

    /// Frontends that were given up since the last call: the maps may still hold them for nobody.
    pub(crate) fn take_released(&mut self) -> BTreeSet<FrontendKey<A>> {
        std::mem::take(&mut self.released)
    }

    /// Has a frontend of the maps looked at by the next plan, whoever wants it.
    pub(crate) fn look_at(&mut self, key: FrontendKey<A>) {
        self.released.insert(key);
    }
}
