//! What was compared: a test that asks nothing proves nothing.

use std::collections::BTreeMap;
use std::fmt;

use proxy_oracle::{Answer, Flow};

/// Counts of clusters, flows and answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) clusters: usize,
    pub(crate) flows: usize,
    /// By verdict and reason.
    verdicts: BTreeMap<String, usize>,
    /// By where the flow began, family and protocol.
    origins: BTreeMap<String, usize>,
    masqueraded: usize,
    /// More than one backend to choose from.
    chosen: usize,
    with_affinity: usize,
}

impl Tally {
    /// One more flow, answered alike by all.
    pub(crate) fn note(&mut self, flow: &Flow, answer: &Answer) {
        self.flows += 1;
        let verdict = format!("{:?} {:?}", answer.verdict, answer.reason).to_lowercase();
        *self.verdicts.entry(verdict).or_default() += 1;
        let from = flow.from.map_or("untold".to_owned(), |from| {
            format!("{from:?}").to_lowercase()
        });
        let family = if flow.dst.is_ipv4() { "IPv4" } else { "IPv6" };
        for word in [from, family.to_owned(), flow.proto.to_string()] {
            *self.origins.entry(word).or_default() += 1;
        }
        self.masqueraded += usize::from(answer.masquerade);
        self.chosen += usize::from(answer.backends.len() > 1);
        self.with_affinity += usize::from(answer.affinity.is_some());
    }

    /// Takes over another's counts.
    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            clusters,
            flows,
            verdicts,
            origins,
            masqueraded,
            chosen,
            with_affinity,
        } = other;
        self.clusters += clusters;
        self.flows += flows;
        for (mine, theirs) in [(&mut self.verdicts, verdicts), (&mut self.origins, origins)] {
            for (word, count) in theirs {
                *mine.entry(word).or_default() += count;
            }
        }
        self.masqueraded += masqueraded;
        self.chosen += chosen;
        self.with_affinity += with_affinity;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            clusters,
            flows,
            verdicts,
            origins,
            masqueraded,
            chosen,
            with_affinity,
        } = self;
        let words = |counts: &BTreeMap<String, usize>| {
            let words: Vec<String> = counts
                .iter()
                .map(|(word, count)| format!("{word} {count}"))
                .collect();
            words.join(", ")
        };
        writeln!(f, "{clusters} clusters, {flows} flows compared")?;
        writeln!(f, "  {}", words(verdicts))?;
        writeln!(f, "  {}", words(origins))?;
        write!(
            f,
            "  masqueraded {masqueraded}, with a choice of backends {chosen}, with affinity {with_affinity}"
        )
    }
}
