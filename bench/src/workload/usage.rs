//! What a proxy costs: CPU time and memory of its process and of those it calls, and memory of the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Between two looks at the memory of a process and its children.
const EVERY: Duration = Duration::from_millis(20);
/// Milliseconds of a tick of /proc.
const TICK_MS: f64 = 10.0;

/// Seconds of CPU that `pid`, and those of its children that have ended, have used.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_name, fields) = stat.rsplit_once(')').context("a stat without a name")?;
    // proc(5) counts from 1 with pid: utime is 14, cstime 17; what follows the name begins with 3.
    let times = fields.split_whitespace().skip(11).take(4);
    let ticks: f64 = times.filter_map(|time| time.parse::<f64>().ok()).sum();
    Ok(ticks * TICK_MS / 1_000.0)
}

/// MiB of `pid` that are in memory: all, and without the kernel's maps and the program's file.
pub(super) fn resident_mib(pid: u32) -> Result<[f64; 2]> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(["VmRSS:", "RssAnon:"].map(|name| kib(&status, name) / 1_024.0))
}

/// MiB of memory that the kernel holds for itself.
pub(super) fn kernel_mib() -> Result<f64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let parts = ["Slab:", "VmallocUsed:", "Percpu:", "PageTables:"];
    Ok(parts.iter().map(|name| kib(&meminfo, name)).sum::<f64>() / 1_024.0)
}

fn kib(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Follows the memory of a process and its descendants until it is asked for the peak.
#[derive(Debug)]
pub(super) struct Peak {
    stop: Arc<AtomicBool>,
    kib: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Peak {
    /// From now on.
    pub(super) fn of(pid: u32) -> Self {
        let (stop, kib) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let thread = std::thread::spawn({
            let (stop, kib) = (Arc::clone(&stop), Arc::clone(&kib));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    kib.fetch_max(tree_kib(pid), Ordering::Relaxed);
                    std::thread::park_timeout(EVERY);
                }
            }
        });
        Self {
            stop,
            kib,
            thread: Some(thread),
        }
    }

    /// MiB.
    pub(super) fn mib(self) -> f64 {
        f64::from(u32::try_from(self.kib.load(Ordering::Relaxed)).unwrap_or(u32::MAX)) / 1_024.0
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                eprintln!("the look at a proxy's memory panicked");
            }
        }
    }
}

/// KiB of `root` and all its descendants.
fn tree_kib(root: u32) -> u64 {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in all {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, fields)| {
            let parent = fields.split_whitespace().nth(1)?;
            parent.parse::<u32>().ok()
        });
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let (mut seen, mut open, mut sum) = (BTreeSet::from([root]), vec![root], 0.0);
    while let Some(pid) = open.pop() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        sum += kib(&status, "VmRSS:");
        let found = children.get(&pid).into_iter().flatten();
        open.extend(found.copied().filter(|child| seen.insert(*child)));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "KiB of one machine's memory"
    )]
    let sum = sum as u64;
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_so_has_the_kernel() {
        let me = std::process::id();
        let [all, own] = resident_mib(me).unwrap();
        assert!(all > own && own > 0.0, "{all} {own}");
        assert!(kernel_mib().unwrap() > 1.0);
        assert!(cpu_seconds(me).unwrap() >= 0.0);
        assert!(tree_kib(me) > 0);
    }
}
