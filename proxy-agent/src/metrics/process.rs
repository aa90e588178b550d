//! The process itself, under the names every Prometheus client uses.

use std::time::SystemTime;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads /proc/self at scrape time.
#[derive(Debug)]
pub struct ProcessCollector {
    started: f64,
}

impl Default for ProcessCollector {
    /// Make it at start: its own age is the process's.
    fn default() -> Self {
        Self {
            started: super::unix_seconds(SystemTime::now()),
        }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            kibibytes(&status, "VmRSS:"),
        )?;
        gauge(
            "process_virtual_memory_bytes",
            "Virtual memory",
            kibibytes(&status, "VmSize:"),
        )?;
        gauge(
            "process_start_time_seconds",
            "Unix time of the start",
            self.started,
        )?;
        gauge("process_open_fds", "Open file descriptors", open_fds())?;
        gauge(
            "process_max_fds",
            "Most file descriptors allowed",
            max_fds(),
        )?;
        let cpu = ConstCounter::new(cpu_seconds());
        // The encoder adds _total.
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "User and system CPU time",
            None,
            cpu.metric_type(),
        )?)
    }
}

/// A line of /proc/self/status, which is in KiB whatever the page size.
fn kibibytes(status: &str, field: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .map_or(0.0, |kib: f64| kib * 1024.0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of descriptors is far below 2^52"
)]
fn open_fds() -> f64 {
    // One of them is the directory being read.
    std::fs::read_dir("/proc/self/fd")
        .map_or(0.0, |entries| entries.count().saturating_sub(1) as f64)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "unlimited is 2^64 - 1, and Prometheus shows it as 1.8e19 everywhere"
)]
fn max_fds() -> f64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0.0, |(soft, _hard)| soft as f64)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of CPU time stay below 2^52 for a century"
)]
fn cpu_seconds() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
    })
}
