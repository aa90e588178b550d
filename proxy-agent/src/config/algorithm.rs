//! Names of the ways to choose a backend, ours and those of ipvs.

use proxy_model::policy::Algorithm;

/// What `ipvs.scheduler` may be.
pub(crate) const SCHEDULERS: &str =
    "must be rr, wrr, lc, wlc, lblc, lblcr, sed, nq, sh, mh, dh or empty";

/// The algorithm nearest to a scheduler of ipvs; an empty name is ipvs' own default, rr.
pub(crate) fn of_scheduler(name: &str) -> Option<Algorithm> {
    match name {
        "" | "rr" | "wrr" => Some(Algorithm::RoundRobin),
        "lc" | "wlc" | "lblc" | "lblcr" | "sed" | "nq" => Some(Algorithm::LeastConnections),
        "sh" | "mh" | "dh" => Some(Algorithm::Maglev),
        _ => None,
    }
}

/// Our name of an algorithm, as in the annotation.
pub(crate) fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Random => "random",
        Algorithm::RoundRobin => "round-robin",
        Algorithm::Maglev => "maglev",
        Algorithm::LeastConnections => "least-connections",
    }
}

/// The algorithm of that name.
pub(crate) fn of_name(text: &str) -> Result<Algorithm, String> {
    [
        Algorithm::Random,
        Algorithm::RoundRobin,
        Algorithm::Maglev,
        Algorithm::LeastConnections,
    ]
    .into_iter()
    .find(|&algorithm| name(algorithm) == text)
    .ok_or_else(|| "must be random, round-robin, maglev or least-connections".to_owned())
}
