//! What the node itself is told at start: netfilter's connection tracking (SEMANTICS 10.6), and how late the kernel may kill us
//! (13.16). Our own flows need none of it; the node's firewall and what is masqueraded do.
//!
//! Where the agent may not write (a pod with a read-only /proc/sys), it says so and goes on: a proxy with other timeouts is
//! better than none.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use crate::config::ConntrackConfig;

/// Where sysctls are, and the hash table of netfilter.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/proc/sys/net/netfilter`.
    pub netfilter: PathBuf,
    /// `/sys/module/nf_conntrack/parameters/hashsize`.
    pub hash_size: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            netfilter: "/proc/sys/net/netfilter".into(),
            hash_size: "/sys/module/nf_conntrack/parameters/hashsize".into(),
        }
    }
}

/// Sets what differs; the problems, one sentence each. Without connection tracking there is nothing to set.
pub fn conntrack(config: &ConntrackConfig, processors: u32, places: &Places) -> Vec<String> {
    if !places.netfilter.is_dir() {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (name, value) in wanted(config, processors) {
        let file = places.netfilter.join(name);
        problems.extend(set(&file, value, false));
        if name == MAX {
            // A table that is four times as full as it has buckets is slow.
            problems.extend(set(&places.hash_size, value / 4, true));
        }
    }
    problems
}

const MAX: &str = "nf_conntrack_max";

/// The sysctls and their values, in order.
fn wanted(config: &ConntrackConfig, processors: u32) -> Vec<(&'static str, u64)> {
    let ConntrackConfig {
        max_per_core,
        min,
        tcp_established,
        tcp_close_wait,
        tcp_be_liberal,
        udp,
        udp_stream,
    } = *config;
    let max = u64::from(max_per_core) * u64::from(processors);
    let max = (max > 0).then(|| max.max(min.into()));
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs()).filter(|time| *time > 0);
    let all = [
        (MAX, max),
        (
            "nf_conntrack_tcp_timeout_established",
            seconds(tcp_established),
        ),
        (
            "nf_conntrack_tcp_timeout_close_wait",
            seconds(tcp_close_wait),
        ),
        ("nf_conntrack_tcp_be_liberal", tcp_be_liberal.then_some(1)),
        ("nf_conntrack_udp_timeout", seconds(udp)),
        ("nf_conntrack_udp_timeout_stream", seconds(udp_stream)),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// Writes `value` unless it is there already, or, with `raise`, more than it.
fn set(file: &Path, value: u64, raise: bool) -> Option<String> {
    let now = match fs::read_to_string(file) {
        Ok(text) => text.trim().parse::<u64>().ok(),
        // Not every kernel has each of them, and namespaces show fewer.
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("cannot read {}: {error}", file.display())),
    };
    if now.is_some_and(|now| now == value || raise && now > value) {
        return None;
    }
    match fs::write(file, value.to_string()) {
        Ok(()) => {
            info!(file = %file.display(), before = ?now, value, "set");
            None
        }
        Err(error) => Some(format!(
            "cannot set {} to {value}: {error}; it stays {now:?}",
            file.display()
        )),
    }
}

/// The kernel kills processes with a lower value later.
pub fn oom_score(file: &Path, value: i32) -> Option<String> {
    let now = fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if now == Some(value) {
        return None;
    }
    let written = fs::write(file, value.to_string());
    written.err().map(|error| {
        format!(
            "cannot set {} to {value}: {error}; it stays {now:?}",
            file.display()
        )
    })
}

/// Both, on this machine.
pub fn apply(config: &ConntrackConfig, oom_score_adj: i32) {
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
    let processors = online
        .ok()
        .flatten()
        .and_then(|count| u32::try_from(count).ok());
    let mut problems = conntrack(config, processors.unwrap_or(1), &Places::default());
    problems.extend(oom_score(
        Path::new("/proc/self/oom_score_adj"),
        oom_score_adj,
    ));
    for problem in problems {
        warn!("{problem}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(dir: &Path, files: &[(&str, u64)]) -> Places {
        for (name, value) in files {
            fs::write(dir.join(name), format!("{value}\n")).unwrap();
        }
        Places {
            netfilter: dir.to_owned(),
            hash_size: dir.join("hashsize"),
        }
    }

    fn read(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name))
            .unwrap()
            .trim()
            .to_owned()
    }

    #[test]
    fn semantics_10_6_values_above_zero_that_differ_are_set_and_the_hash_only_grows() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            (MAX, 1_000),
            ("hashsize", 500),
            ("nf_conntrack_tcp_timeout_established", 432_000),
            ("nf_conntrack_udp_timeout", 30),
        ];
        let places = places(dir.path(), &files);
        let config = ConntrackConfig {
            max_per_core: 32_768,
            min: 131_072,
            tcp_established: Some(Duration::from_hours(24)),
            tcp_close_wait: Some(Duration::from_hours(1)),
            udp: Some(Duration::ZERO),
            ..ConntrackConfig::default()
        };
        assert_eq!(conntrack(&config, 2, &places), Vec::<String>::new());
        assert_eq!(
            read(dir.path(), MAX),
            "131072",
            "the minimum wins with two processors"
        );
        assert_eq!(read(dir.path(), "hashsize"), "32768");
        assert_eq!(
            read(dir.path(), "nf_conntrack_tcp_timeout_established"),
            "86400"
        );
        assert_eq!(
            read(dir.path(), "nf_conntrack_udp_timeout"),
            "30",
            "0 leaves it alone"
        );
        assert!(
            !dir.path()
                .join("nf_conntrack_tcp_timeout_close_wait")
                .exists(),
            "what is not there is not made"
        );
        fs::write(dir.path().join("hashsize"), "999999").unwrap();
        conntrack(&config, 8, &places);
        assert_eq!(
            (
                read(dir.path(), MAX).as_str(),
                read(dir.path(), "hashsize").as_str()
            ),
            ("262144", "999999")
        );
    }

    #[test]
    fn semantics_10_6_no_maximum_per_core_leaves_the_maximum_alone() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path(), &[(MAX, 7)]);
        let config = ConntrackConfig {
            min: 131_072,
            ..ConntrackConfig::default()
        };
        assert!(conntrack(&config, 2, &places).is_empty());
        assert_eq!(read(dir.path(), MAX), "7");
    }

    #[test]
    fn what_cannot_be_written_is_said_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(MAX)).unwrap();
        let places = places(dir.path(), &[]);
        let config = ConntrackConfig {
            max_per_core: 1,
            ..ConntrackConfig::default()
        };
        assert_eq!(conntrack(&config, 2, &places).len(), 1);
        assert!(oom_score(&dir.path().join("none/at/all"), -999).is_some());
        let file = dir.path().join("oom");
        assert!(oom_score(&file, -999).is_none());
        assert_eq!(fs::read_to_string(file).unwrap(), "-999");
    }
}
