//! How long to wait before the server is tried again: doubling, bounded, jittered.

use std::time::{Duration, Instant};

/// First wait.
const FIRST: Duration = Duration::from_millis(100);

/// The waits of one watch.
///
/// The bound is a few seconds, where client-go's is 30 and more: while the API server restarts, every second of waiting is a
/// second in which connections go to backends that are gone. Three small requests per node every few seconds do not
/// hurt a starting server, and the jitter spreads them.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
    last: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(max: Duration) -> Self {
        Self {
            next: FIRST.min(max),
            max,
            last: None,
        }
    }

    /// The server answered.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.max);
    }

    /// The wait after an error at `now`: between half of the step and the whole of it.
    ///
    /// A quiet watch gives no sign that it works, so errors far apart are taken as separate outages.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let apart = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) > self.max * 10);
        if apart {
            self.reset();
        }
        self.last = Some(now);
        let step = self.next;
        self.next = (step * 2).min(self.max);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Whether the next wait is the first of an outage.
    pub(super) fn fresh(&self) -> bool {
        self.next <= FIRST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(3);

    #[test]
    fn waits_double_to_the_bound_and_are_jittered() {
        let mut backoff = Backoff::new(MAX);
        let now = Instant::now();
        let mut step = FIRST;
        for _ in 0..20 {
            let wait = backoff.wait(now);
            assert!(
                wait >= step / 2 && wait <= step,
                "{wait:?} is not in {:?}..={step:?}",
                step / 2
            );
            step = (step * 2).min(MAX);
        }
        let distinct: std::collections::BTreeSet<Duration> =
            (0..32).map(|_| backoff.wait(now)).collect();
        assert!(distinct.len() > 16, "no jitter: {distinct:?}");
    }

    #[test]
    fn answer_and_long_quiet_start_over() {
        let (mut backoff, now) = (Backoff::new(MAX), Instant::now());
        for _ in 0..10 {
            backoff.wait(now);
        }
        assert!(!backoff.fresh());
        backoff.reset();
        assert!(backoff.wait(now) <= FIRST);
        for _ in 0..10 {
            backoff.wait(now);
        }
        assert!(backoff.wait(now + MAX * 11) <= FIRST);
    }
}
