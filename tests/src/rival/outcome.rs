//! What clients see of a Service: who answers, from whom, or how they fail. And how two such pictures differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;

use super::cluster::Case;
use crate::expect::MANY;
use crate::place::Place;
use crate::probe::{Failure, Proto, Report, Request, process};
use crate::topology::at;

/// Nothing on these networks takes longer, unless it was dropped.
const QUICK_MS: u64 = 300;
/// Longer than TCP waits before it repeats its first packet, twice.
const PATIENCE_MS: u64 = 4_000;

/// Whoever it is that a client with session affinity keeps to.
const ONE: &str = "always the same";

/// What one client saw at one address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    servers: BTreeSet<String>,
    failures: BTreeSet<Failure>,
    /// Whether servers saw the client's own address, and whether they saw another.
    own_source: BTreeSet<bool>,
}

impl Outcome {
    /// Whether somebody answered.
    pub fn is_answered(&self) -> bool {
        !self.servers.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            servers,
            failures,
            own_source,
        } = self;
        if !servers.is_empty() {
            write!(f, "answered by {servers:?}, own source {own_source:?}")?;
        }
        if !failures.is_empty() {
            write!(f, " failures {failures:?}")?;
        }
        Ok(())
    }
}

/// Whether it matters which address of a client servers see, and in which way it gets no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// It must be the client's own with both proxies, or with neither.
    Compared,
    /// It does not: a process of the node.
    Ignored,
}

/// What all clients saw, by a description of the connection.
pub type Picture = BTreeMap<String, Outcome>;

/// Has each of `clients` try every target of `cases` over TCP and UDP. `only`: those connections alone, with patience from the first.
pub fn look(
    cases: &[Case],
    clients: &[(&Place, Source)],
    only: Option<&BTreeSet<String>>,
) -> Result<Picture> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = clients
            .iter()
            .map(|(client, source)| scope.spawn(move || look_from(cases, client, *source, only)))
            .collect();
        let mut picture = Picture::new();
        for worker in workers {
            let seen = worker
                .join()
                .map_err(|_panic| anyhow::anyhow!("a client panicked"))??;
            picture.extend(seen);
        }
        Ok(picture)
    })
}

fn look_from(
    cases: &[Case],
    client: &Place,
    source: Source,
    only: Option<&BTreeSet<String>>,
) -> Result<Picture> {
    let first = if only.is_some() {
        PATIENCE_MS
    } else {
        QUICK_MS
    };
    let mut picture = Picture::new();
    for case in cases {
        for target in &case.targets {
            for proto in Proto::BOTH {
                let to = at(target.ip, target.port);
                let key = format!("{} -> {} {to} {}", client.name, target.what, proto.name());
                if only.is_some_and(|only| !only.contains(&key)) {
                    continue;
                }
                let request = |count, patience| Request::new(proto, to, count).timeout_ms(patience);
                let mut report = process::ask(client, &request(2, first))?;
                // What is answered is asked often enough to meet every backend, and with patience: netfilter may drop one of two
                // packets that make the same connection at once, and TCP repeats it after a second.
                if report.answers().next().is_some() {
                    report = process::ask(client, &request(MANY, PATIENCE_MS))?;
                }
                let mut seen = outcome(&report, source);
                if case.sticky && seen.servers.len() == 1 {
                    seen.servers = [ONE.to_owned()].into();
                }
                picture.insert(key, seen);
            }
        }
    }
    Ok(picture)
}

fn outcome(report: &Report, source: Source) -> Outcome {
    Outcome {
        servers: report.answers().map(|answer| answer.name.clone()).collect(),
        failures: report
            .failures()
            .map(|failure| kind(failure, source))
            .collect(),
        own_source: report
            .answers()
            .filter(|_| source == Source::Compared)
            .map(|answer| answer.client.ip() == answer.local.ip())
            .collect(),
    }
}

/// Processes of the node: kube-proxy rejects and drops what they send in ways that reach them as a time-out, EPERM or
/// ECONNREFUSED, by family, protocol and mode; kube-shunt lets the call fail at once (docs/differences.md).
fn kind(failure: Failure, source: Source) -> Failure {
    match (source, failure) {
        // From outside to an unserved port in iptables mode: with kube-proxy the packet goes to and fro until its TTL ends.
        (Source::Compared, Failure::Unreachable) => Failure::Timeout,
        (Source::Compared, other) => other,
        (Source::Ignored, _) => Failure::Other,
    }
}

/// Of the connections that differ those where one proxy's client heard nothing, which on a busy machine may be an answer that was late
/// for the first question's short limit. Any other difference was seen, and asking again could only hide it.
pub fn doubtful(theirs: &Picture, ours: &Picture) -> BTreeSet<String> {
    let is_silent = |picture: &Picture, key: &String| {
        picture.get(key).is_some_and(|outcome| {
            let late = [Failure::Timeout, Failure::Other];
            !outcome.is_answered() && late.iter().any(|kind| outcome.failures.contains(kind))
        })
    };
    let mut keys = differing(theirs, ours);
    keys.retain(|key| is_silent(theirs, key) || is_silent(ours, key));
    keys
}

/// The connections that `theirs` and `ours` show differently.
fn differing(theirs: &Picture, ours: &Picture) -> BTreeSet<String> {
    let keys = theirs.keys().chain(ours.keys());
    keys.filter(|key| theirs.get(*key) != ours.get(*key))
        .cloned()
        .collect()
}

/// The same with what they show, for messages.
pub fn differences(theirs: &Picture, ours: &Picture) -> Vec<String> {
    differing(theirs, ours)
        .iter()
        .map(|key| {
            let show = |picture: &Picture| {
                picture
                    .get(key)
                    .map_or_else(|| "not asked".to_owned(), ToString::to_string)
            };
            format!(
                "{key}\n    kube-proxy: {}\n    kube-shunt: {}",
                show(theirs),
                show(ours)
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_is_doubtful() {
        let by = |server: &str| {
            let servers = [server.to_owned()].into();
            let outcome = Outcome {
                servers,
                ..Outcome::default()
            };
            Picture::from([("a".to_owned(), outcome)])
        };
        let failed = |failure: Failure| {
            let failures = [failure].into();
            let outcome = Outcome {
                failures,
                ..Outcome::default()
            };
            Picture::from([("a".to_owned(), outcome)])
        };
        assert_eq!(doubtful(&by("one"), &failed(Failure::Timeout)).len(), 1);
        assert!(doubtful(&failed(Failure::Timeout), &failed(Failure::Timeout)).is_empty());
        assert!(doubtful(&by("one"), &by("two")).is_empty());
        assert!(doubtful(&by("one"), &failed(Failure::Refused)).is_empty());
    }

    #[test]
    fn a_missing_or_different_outcome_is_a_difference() {
        let picture = |failure: Failure| {
            let outcome = Outcome {
                failures: [failure].into(),
                ..Outcome::default()
            };
            Picture::from([("a".to_owned(), outcome)])
        };
        let refused = picture(Failure::Refused);
        assert!(differences(&refused, &refused).is_empty());
        assert_eq!(differences(&refused, &picture(Failure::Timeout)).len(), 1);
        assert_eq!(differences(&refused, &Picture::new()).len(), 1);
    }
}
