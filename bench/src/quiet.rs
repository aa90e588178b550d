//! Whether anything but the benchmark used the machine during a sample.
//!
//! Counted is the CPU time of all processes that are not the run's own, and of a hypervisor that ran others (steal). The time of a
//! process that ended is in its parent's sums, so processes that came and went meanwhile count too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// More than this part of one processor, used by others during a sample, disturbs it.
const TOLERATED: f64 = 0.1;
/// Less than this is never told apart from the resolution of the kernel's accounts.
const RESOLUTION: Duration = Duration::from_millis(20);

/// Which processes are the run's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Own {
    /// This process and all its descendants.
    Tree,
    /// Those of them with one of these names: what idles beside a sample must not run during it.
    Named(&'static [&'static str]),
}

/// One process, of /proc/PID/stat.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Process {
    pid: u32,
    parent: u32,
    name: String,
    /// Its own and its reaped children's user and system time, in ticks.
    ticks: u64,
}

/// The machine's accounts at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Accounts {
    others: u64,
    steal: u64,
}

/// A sample under way.
#[derive(Debug)]
pub struct Watch {
    own: Own,
    start: Instant,
    before: Accounts,
}

/// What others did during a sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Load {
    /// CPU time of others.
    pub others: Duration,
    /// Time that the hypervisor gave to others.
    pub steal: Duration,
    /// How long the sample took.
    pub during: Duration,
}

impl Watch {
    /// Begins.
    pub fn begin(own: Own) -> Self {
        Self {
            own,
            before: Accounts::read(own),
            start: Instant::now(),
        }
    }

    /// Ends.
    pub fn end(self) -> Load {
        let during = self.start.elapsed();
        let after = Accounts::read(self.own);
        let used =
            |after: u64, before: u64| Duration::from_millis(after.saturating_sub(before) * TICK_MS);
        Load {
            others: used(after.others, self.before.others),
            steal: used(after.steal, self.before.steal),
            during,
        }
    }
}

/// Milliseconds of a tick of /proc: `USER_HZ` is 100 on every architecture that we know.
const TICK_MS: u64 = 10;

impl Load {
    /// Whether it spoils the sample.
    pub fn disturbs(&self) -> bool {
        let limit = self.during.mul_f64(TOLERATED).max(RESOLUTION);
        self.others > limit || self.steal > limit
    }
}

impl Accounts {
    fn read(own: Own) -> Self {
        let processes = processes();
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            others: others(&processes, std::process::id(), own),
            steal: steal(&stat),
        }
    }
}

fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
        })
        // It may have ended meanwhile; then its parent has its time.
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| process(&stat))
        .collect()
}

/// Reads a line of /proc/PID/stat. The name may hold blanks and brackets.
fn process(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (pid, name) = head.split_once(" (")?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // proc(5) counts from 1 with pid: utime is 14, cstime 17; `fields` begins with number 3.
    let times = fields.get(11..15)?;
    Some(Process {
        pid: pid.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        name: name.to_owned(),
        ticks: times
            .iter()
            .filter_map(|time| time.parse::<u64>().ok())
            .sum(),
    })
}

/// Ticks of all processes but those of `me` that `own` says; kernel threads work for everybody and do not count.
fn others(processes: &[Process], me: u32, own: Own) -> u64 {
    const KTHREADD: u32 = 2;

    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut tree = BTreeSet::from([me]);
    let mut open = vec![me];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if tree.insert(child.pid) {
                open.push(child.pid);
            }
        }
    }
    let is_own = |process: &Process| {
        tree.contains(&process.pid)
            && match own {
                Own::Tree => true,
                Own::Named(names) => process.pid == me || names.contains(&&*process.name),
            }
    };
    processes
        .iter()
        .filter(|process| process.parent != KTHREADD && process.pid != KTHREADD)
        .filter(|process| !is_own(process))
        .map(|process| process.ticks)
        .sum()
}

/// Ticks that the hypervisor took, of /proc/stat.
fn steal(stat: &str) -> u64 {
    stat.lines()
        .find_map(|line| line.strip_prefix("cpu "))
        .and_then(|line| line.split_whitespace().nth(7)?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pid: u32, parent: u32, name: &str, ticks: u64) -> Process {
        Process {
            pid,
            parent,
            name: name.to_owned(),
            ticks,
        }
    }

    fn machine() -> Vec<Process> {
        vec![
            one(1, 0, "init", 1),
            one(2, 0, "kthreadd", 1_000),
            one(3, 2, "kworker", 1_000),
            one(10, 1, "proxy-bench", 20),
            one(11, 10, "proxy-bench", 30),
            one(12, 11, "etcd", 40),
            one(50, 1, "rustc", 500),
        ]
    }

    #[test]
    fn the_runs_own_processes_and_kernel_threads_are_not_others() {
        assert_eq!(others(&machine(), 10, Own::Tree), 501);
    }

    #[test]
    fn what_should_idle_counts_as_another() {
        assert_eq!(others(&machine(), 10, Own::Named(&["proxy-bench"])), 541);
    }

    #[test]
    fn a_name_with_blanks_and_brackets_is_read() {
        let line = "7 (a (b) c) S 3 7 7 0 -1 4194304 100 200 0 0 5 6 7 8 20 0 1 0 12345 1000 200";
        assert_eq!(process(line), Some(one(7, 3, "a (b) c", 26)));
        assert_eq!(process("7 (cut"), None);
    }

    #[test]
    fn steal_is_the_eighth_figure() {
        assert_eq!(
            steal("cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1 1 1 1 1 1 1 1"),
            88
        );
        assert_eq!(steal(""), 0);
    }

    #[test]
    fn a_tenth_of_a_processor_disturbs() {
        let load = |others, steal| Load {
            others: Duration::from_millis(others),
            steal: Duration::from_millis(steal),
            during: Duration::from_secs(1),
        };
        assert!(!load(100, 100).disturbs());
        assert!(load(110, 0).disturbs());
        assert!(load(0, 110).disturbs());
        let short = Load {
            during: Duration::from_millis(1),
            ..load(20, 20)
        };
        assert!(!short.disturbs(), "two ticks are below the resolution");
    }

    #[test]
    fn this_process_is_found_and_its_time_grows() {
        let me = std::process::id();
        let mine = || {
            let found = processes();
            found.iter().find(|one| one.pid == me).map(|one| one.ticks)
        };
        let before = mine().unwrap();
        while mine().unwrap() == before {
            std::hint::spin_loop();
        }
    }
}
