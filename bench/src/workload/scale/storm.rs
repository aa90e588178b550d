//! A thousand changes a second for a minute, by files: more than the API server of a small machine takes.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use integration::maps::Frontends;
use integration::topology::Cluster;
use integration::wait::monotonic_ns;

use super::files::{ALONE, replace};
use super::{Measured, WORKLOAD, record, until};
use crate::contestant::Contestant;
use crate::context::Context;
use crate::interrupt;
use crate::quiet::{Own, Watch};
use crate::record::{Better, Record, Sample};
use crate::services::{ENDPOINTS, Numbered};
use crate::statistics::quantile;
use crate::workload::usage;

/// Changes in a second.
pub(super) const RATE: u32 = 1_000;
/// Between two looks at how far behind the agent is.
const PAUSE: Duration = Duration::from_millis(100);

impl Measured {
    /// Changes of [`ALONE`] Services in turn. Meanwhile the first one changes too, and is looked for in the kernel.
    pub(super) fn storm(
        &self,
        context: &Context,
        cluster: &Cluster,
        dir: &Path,
        services: u32,
    ) -> Result<Vec<Record>> {
        context.say(&format!("scale: {RATE} changes a second"));
        let frontends = Frontends::open(cluster.b.bpf_root())?;
        let pid = self.agent.pid().context("no agent")?;
        let lasts = context.plan.storm;
        let (before, watch) = (usage::cpu_seconds(pid)?, Watch::begin(Own::Tree));
        let writer = write_for(dir.to_owned(), services.min(ALONE), lasts);
        let (mut times, mut count) = (Vec::new(), ENDPOINTS);
        while !writer.is_finished() {
            interrupt::check()?;
            // One less, and whole again.
            count = 2 * ENDPOINTS - 1 - count;
            let text = Numbered::v4(0).slice(count).to_string();
            let start = monotonic_ns();
            replace(dir, 0, &text)?;
            until(&frontends, 0, count, start)?;
            times.push(Duration::from_nanos(monotonic_ns() - start).as_secs_f64() * 1_000.0);
            std::thread::park_timeout(PAUSE);
        }
        let written = writer
            .join()
            .map_err(|_panic| anyhow!("the writer panicked"))??;
        until(&frontends, written.last.0, written.last.1, monotonic_ns())?;
        let disturbed = watch.end().disturbs();
        let cpu = usage::cpu_seconds(pid)? - before;
        let took = written.took.as_secs_f64();
        let sample = |value| vec![Sample { value, disturbed }];
        let of = |fraction| quantile(&times, fraction).context("no change");
        let variant = |what: &str| format!("many changes by files: {what}");
        let lower = |what: &str, unit, value| record(&variant(what), services, unit, sample(value));
        let rate = f64::from(written.files) / took;
        let (ours, higher) = (Contestant::KubeShunt, Better::Higher);
        let reached = Record::new(WORKLOAD, variant("reached"), ours, services, "1/s", higher);
        let [all, _own] = usage::resident_mib(pid)?;
        Ok(vec![
            reached.with(sample(rate)),
            lower("file to kernel, p50", "ms", of(0.5)?),
            lower("file to kernel, p99", "ms", of(0.99)?),
            lower("processors used", "", cpu / took),
            lower("memory of the process after them", "MiB", all),
        ])
    }
}

/// What a writer did.
struct Written {
    files: u32,
    took: Duration,
    /// The last Service that was changed, and its endpoints.
    last: (u32, u32),
}

/// Changes the Services from the second to number `services` in turn, [`RATE`] a second or what the file system takes.
fn write_for(dir: PathBuf, services: u32, lasts: Duration) -> JoinHandle<Result<Written>> {
    std::thread::spawn(move || {
        let start = Instant::now();
        let (mut files, mut last) = (0, (0, ENDPOINTS));
        loop {
            let due = Duration::from_secs(1) * files / RATE;
            if due.max(start.elapsed()) >= lasts || interrupt::asked() {
                break;
            }
            std::thread::park_timeout(due.saturating_sub(start.elapsed()));
            let others = services.saturating_sub(1).max(1);
            let (number, turn) = (1 + files % others, files / others);
            last = (number, ENDPOINTS - (turn + 1) % 2);
            replace(
                &dir,
                number,
                &Numbered::v4(number).slice(last.1).to_string(),
            )?;
            files += 1;
        }
        Ok(Written {
            files,
            took: start.elapsed(),
            last,
        })
    })
}
