//! What every workload is given: the plan, and somewhere to say how far it is.

use std::time::Instant;

use crate::plan::Plan;

/// A run.
#[derive(Debug)]
pub struct Context {
    /// What to measure.
    pub plan: Plan,
    start: Instant,
}

impl Context {
    /// Begins now.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            start: Instant::now(),
        }
    }

    /// A line of progress with the time since the start.
    pub fn say(&self, what: &str) {
        println!("[{:6.1} s] {what}", self.start.elapsed().as_secs_f64());
    }

    /// Since the start.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}
