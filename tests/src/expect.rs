//! What a client must have seen, compared with what it saw.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail};

use crate::place::Place;
use crate::probe::{Failure, Report, Request, process};

/// Enough requests that one of two or three backends misses all of them once in millions of runs. Four need twice as many.
pub const MANY: u32 = 40;

/// Faults that a verdict lists.
const SHOWN: usize = 24;

/// Collects what went wrong in a matrix of checks, so that one failure does not hide the others.
#[derive(Debug, Default)]
pub struct Checks {
    faults: String,
    done: usize,
}

impl Checks {
    /// Runs `request` at `place`: all requests are answered, by exactly `servers`, which see `client`; the client sees whom it addressed.
    pub fn answered(
        &mut self,
        what: &str,
        place: &Place,
        request: &Request,
        servers: &[&str],
        client: IpAddr,
    ) {
        let fault = process::ask(place, request)
            .and_then(|report| answered(&report, request.to, servers, Some(client)));
        self.note(what, place, request, fault);
    }

    /// As [`Checks::answered`], whatever source address the servers see.
    pub fn answered_any_source(
        &mut self,
        what: &str,
        place: &Place,
        request: &Request,
        servers: &[&str],
    ) {
        let fault = process::ask(place, request)
            .and_then(|report| answered(&report, request.to, servers, None));
        self.note(what, place, request, fault);
    }

    /// Runs `request` at `place`: every request fails like this, within `within_ms` if given.
    pub fn fails(&mut self, what: &str, place: &Place, request: &Request, failure: Failure) {
        let fault = process::ask(place, request).and_then(|report| failed(&report, failure));
        self.note(what, place, request, fault);
    }

    /// Adds the outcome of another check.
    pub fn note(&mut self, what: &str, place: &Place, request: &Request, outcome: Result<()>) {
        self.done += 1;
        if let Err(error) = outcome {
            let Request { proto, to, .. } = request;
            // A String takes everything.
            let _never = writeln!(
                self.faults,
                "{what}: {} -> {to} {}: {error:#}",
                place.name,
                proto.name()
            );
        }
    }

    /// Fails with all faults.
    ///
    /// # Panics
    ///
    /// If nothing was checked: a test without checks proves nothing.
    pub fn verdict(self) -> Result<()> {
        assert!(self.done > 0, "a test without checks proves nothing");
        let faults: Vec<&str> = self.faults.lines().collect();
        if faults.is_empty() {
            return Ok(());
        }
        bail!(
            "{} of {} checks failed, the first:\n{}",
            faults.len(),
            self.done,
            faults.split_at(faults.len().min(SHOWN)).0.join("\n")
        )
    }
}

/// All requests were answered by exactly `servers`, and the client saw `to` at the other end.
pub fn answered(
    report: &Report,
    to: SocketAddr,
    servers: &[&str],
    client: Option<IpAddr>,
) -> Result<()> {
    let failures: Vec<Failure> = report.failures().collect();
    let seen: BTreeSet<&str> = report
        .answers()
        .map(|answer| answer.name.as_str())
        .collect();
    if !failures.is_empty() {
        bail!(
            "{} of {} requests failed: {:?}; answered by {seen:?}",
            failures.len(),
            report.attempts.len(),
            failures.iter().collect::<BTreeSet<_>>()
        );
    }
    if seen != servers.iter().copied().collect() {
        bail!("answered by {seen:?}, not by {servers:?}");
    }
    for answer in report.answers() {
        if answer.peer != to {
            bail!("the client sees {} at the other end", answer.peer);
        }
        if client.is_some_and(|client| answer.client.ip() != client) {
            bail!(
                "{} sees {} as its client, not {client:?}",
                answer.name,
                answer.client
            );
        }
    }
    Ok(())
}

/// Every request failed with `failure`.
pub fn failed(report: &Report, failure: Failure) -> Result<()> {
    for attempt in &report.attempts {
        if attempt.outcome.as_ref().err() != Some(&failure) {
            bail!("{:?} instead of {failure:?}", attempt.outcome);
        }
    }
    Ok(())
}
