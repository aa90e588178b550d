//! How fast and at what cost changes of the cluster get into the kernel: cold start, one change, many changes, restart.
//!
//! One contestant after the other, alone on the measured node; each has the machine, the API server and the objects to itself.

mod marker;
mod storm;
mod watch;
mod writer;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use integration::topology::Node;
use integration::wait::monotonic_ns;

use super::usage::{self, Peak};
use crate::contestant::{Contestant, Proxy, Source, Start};
use crate::context::Context;
use crate::feed::Feed;
use crate::interrupt;
use crate::quiet::{Own, Watch};
use crate::record::{Better, LeftOut, Outcome, Record, Sample};
use crate::services::{NODE, Numbered, PORT};
use crate::statistics::quantile;
use marker::Marker;
use watch::Events;
use writer::Writer;

/// As on the command line.
const WORKLOAD: &str = "programming";
/// The figure that says whether a proxy comes up at all.
const COLD_START: &str = "cold start to the last Service";
const CONTESTANTS: [Contestant; 5] = [
    Contestant::KubeShunt,
    Contestant::IptablesLegacy,
    Contestant::IptablesNft,
    Contestant::Nftables,
    Contestant::Ipvs,
];

/// Measures all contestants one after the other with the Services that are in the API server.
pub fn run(context: &Context, feed: &mut Feed) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for contestant in CONTESTANTS {
        interrupt::check()?;
        let services = feed.services();
        context.say(&format!(
            "programming: {services} Services, {}",
            contestant.title()
        ));
        let mut bench = Bench {
            context,
            feed: &*feed,
            contestant,
            records: Vec::new(),
            late: None,
        };
        if let Err(error) = bench.run() {
            interrupt::check()?;
            let reason = format!("{error:#}");
            let out = LeftOut::new(WORKLOAD, contestant, services, reason);
            let out = match bench.late {
                Some(limit) => LeftOut {
                    variant: COLD_START.to_owned(),
                    at_least: Some(limit.as_secs_f64()),
                    ..out
                },
                None => out,
            };
            outcomes.push(out.into());
        }
        outcomes.extend(bench.records.into_iter().map(Outcome::Measured));
        sweep(&feed.cluster.b, contestant)?;
    }
    Ok(outcomes)
}

/// Rules that kube-proxy left: its own clean-up takes minutes where there are many.
fn sweep(node: &Node, contestant: Contestant) -> Result<()> {
    if !contestant.is_kube_proxy() {
        return Ok(());
    }
    node.host.run("nft", &["flush", "ruleset"])?;
    if contestant == Contestant::IptablesLegacy {
        let empty = "for restore in iptables-legacy-restore ip6tables-legacy-restore; do \
            printf '*nat\\nCOMMIT\\n*filter\\nCOMMIT\\n*mangle\\nCOMMIT\\n' | $restore; done";
        node.host.run("sh", &["-c", empty])?;
    }
    Ok(())
}

/// One contestant at one number of Services.
struct Bench<'a> {
    context: &'a Context,
    feed: &'a Feed,
    contestant: Contestant,
    records: Vec<Record>,
    /// The limit that its first start exceeded.
    late: Option<Duration>,
}

impl Bench<'_> {
    fn run(&mut self) -> Result<()> {
        let api = &self.feed.plane.client;
        let marker = Marker::start(api, &self.feed.cluster.b)?;
        let dir = self.feed.cluster.state.dir.join(WORKLOAD);
        let proxy = self.cold_starts(&marker, &dir.join(format!("{:?}", self.contestant)))?;
        if let Err(error) = self.changing(&marker, &proxy) {
            proxy.abandon()?;
            return Err(error);
        }
        self.restart(&marker, proxy)
    }

    fn changing(&mut self, marker: &Marker, proxy: &Proxy) -> Result<()> {
        let pid = proxy.pid().context("the proxy does not run")?;
        let [all, own] = usage::resident_mib(pid)?;
        self.one("memory of the process", "MiB", all);
        let variant = "memory of the process, without files and the kernel's maps";
        self.one(variant, "MiB", own);
        let events = Events::start(&self.feed.plane.client)?;
        let writer = Writer::start(&self.feed.cluster.router, &self.feed.kubeconfig()?)?;
        self.changes(marker, &events, &writer, pid)?;
        // Of few Services an API server takes no thousand changes a second.
        if self.context.plan.sizes.last() == Some(&self.feed.services()) {
            self.storm(marker, &events, &writer, pid)?;
        }
        Ok(())
    }

    fn add(&mut self, variant: &str, unit: &str, better: Better, samples: Vec<Sample>) {
        let services = self.feed.services();
        let record = Record::new(WORKLOAD, variant, self.contestant, services, unit, better);
        self.records.push(record.with(samples));
    }

    fn one(&mut self, variant: &str, unit: &str, value: f64) {
        self.add(variant, unit, Better::Lower, vec![Sample::quiet(value)]);
    }

    fn start(&self, dir: &Path) -> Result<Proxy> {
        let kubeconfig = self.feed.kubeconfig()?;
        let node = &self.feed.cluster.b;
        debug_assert_eq!(node.name(), NODE);
        Proxy::start(
            self.contestant,
            node,
            &Start {
                source: Source::Api(&kubeconfig),
                dir,
                bpf_root: node.bpf_root(),
                resync: true,
            },
        )
    }

    /// From the start of the process until a pod's connection to the last Service is answered. The last one goes on.
    fn cold_starts(&mut self, marker: &Marker, dir: &Path) -> Result<Proxy> {
        let plan = &self.context.plan;
        let last = Numbered::v4(self.feed.services().saturating_sub(1));
        // What takes long is not repeated often: the whole run has an hour.
        let end = Instant::now() + plan.budget;
        let [mut times, mut cpu, mut peaks, mut kernel] = [const { Vec::<Sample>::new() }; 4];
        loop {
            interrupt::check()?;
            let before = usage::kernel_mib()?;
            let watch = Watch::begin(Own::Tree);
            let start = monotonic_ns();
            let mut proxy = self.start(dir)?;
            let pid = proxy.pid().context("the proxy does not run")?;
            let peak = Peak::of(pid);
            let reached = marker.reach((last.cluster_ip(), PORT).into(), plan.limit);
            let disturbed = watch.end().disturbs();
            let sample = |value| Sample { value, disturbed };
            let reached = match reached.and_then(|at| proxy.wait_ready(plan.limit).map(|()| at)) {
                Ok(at) => at,
                Err(error) => {
                    proxy.abandon()?;
                    let took = Duration::from_nanos(monotonic_ns() - start);
                    if took < plan.limit || !times.is_empty() {
                        return Err(error.context("the last Service"));
                    }
                    self.late = Some(plan.limit);
                    bail!(
                        "not up within {} s, so nothing else was measured",
                        plan.limit.as_secs()
                    );
                }
            };
            times.push(sample(seconds(reached.saturating_sub(start))));
            cpu.push(sample(usage::cpu_seconds(pid)?));
            kernel.push(sample(usage::kernel_mib()? - before));
            peaks.push(sample(peak.mib()));
            if times.len() > usize::try_from(plan.rounds)? || Instant::now() > end {
                let lower = Better::Lower;
                self.add(COLD_START, "s", lower, times);
                self.add("cold start: CPU time of the process", "s", lower, cpu);
                self.add(
                    "cold start: peak memory with its children",
                    "MiB",
                    lower,
                    peaks,
                );
                self.add(
                    "cold start: more memory in the kernel",
                    "MiB",
                    lower,
                    kernel,
                );
                return Ok(proxy);
            }
            proxy.abandon()?;
            sweep(&self.feed.cluster.b, self.contestant)?;
        }
    }

    /// Changes of one endpoint, one after the other.
    fn changes(
        &mut self,
        marker: &Marker,
        events: &Events,
        writer: &Writer,
        pid: u32,
    ) -> Result<()> {
        let plan = &self.context.plan;
        let most = if plan.quick { 100 } else { 1_000 };
        let end = Instant::now() + plan.budget;
        let before = usage::cpu_seconds(pid)?;
        let watch = Watch::begin(Own::Tree);
        let mut taken = Vec::new();
        for _ in 0..most {
            interrupt::check()?;
            if !taken.is_empty() && Instant::now() > end {
                break;
            }
            taken.push(self.change(marker, events, writer)?);
        }
        let disturbed = watch.end().disturbs();
        let cpu = (usage::cpu_seconds(pid)? - before) / f64::from(u32::try_from(taken.len())?);
        for (what, pick) in PICKS {
            let times: Vec<f64> = taken.iter().map(pick).collect();
            for (name, fraction) in [("p50", 0.5), ("p99", 0.99)] {
                let value = quantile(&times, fraction).context("no change")?;
                let sample = Sample { value, disturbed };
                let variant = format!("one endpoint changes, {what}: {name}");
                self.add(&variant, "ms", Better::Lower, vec![sample]);
                if let Some(record) = self.records.last_mut() {
                    record.note = format!("of {} changes", taken.len());
                }
            }
        }
        self.one(
            "one endpoint changes: CPU time of the process",
            "ms",
            cpu * 1_000.0,
        );
        Ok(())
    }

    /// One change, seen by another watcher and by a client.
    fn change(&self, marker: &Marker, events: &Events, writer: &Writer) -> Result<Change> {
        let (limit, index) = (self.context.plan.limit, events.other());
        std::thread::scope(|scope| {
            let client = scope.spawn(|| marker.answered_by(index, limit));
            let written = writer.put(Marker::path(), &Marker::slice(index));
            let seen = written.and_then(|asked| Ok((asked, events.of(index)?)));
            let effect = client
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let (asked, event) = seen?;
            Ok(Change {
                asked,
                event,
                effect,
            })
        })
    }

    /// The process is killed and starts again over what the kernel has: until a change after that takes effect.
    fn restart(&mut self, marker: &Marker, proxy: Proxy) -> Result<()> {
        let dir = self.feed.cluster.state.dir.join(WORKLOAD);
        let dir = dir.join(format!("{:?}", self.contestant));
        let limit = self.context.plan.limit;
        let watch = Watch::begin(Own::Tree);
        let (start, proxy) = match proxy {
            Proxy::Agent(mut agent) => {
                agent.kill()?;
                let start = monotonic_ns();
                agent.restart()?;
                (start, Proxy::Agent(agent))
            }
            other => {
                other.abandon()?;
                (monotonic_ns(), self.start(&dir)?)
            }
        };
        // While no proxy had it: the new one must find out by itself.
        let changed = self.change_alone(marker, limit);
        let disturbed = watch.end().disturbs();
        let value = seconds(changed?.saturating_sub(start));
        let sample = Sample { value, disturbed };
        let variant = "restart with what the kernel holds, until a change takes effect";
        self.add(variant, "s", Better::Lower, vec![sample]);
        // What kube-proxy leaves is swept.
        proxy.abandon()
    }

    fn change_alone(&self, marker: &Marker, limit: Duration) -> Result<u64> {
        let api = &self.feed.plane.client;
        let now = marker.answered_by(0, Duration::from_millis(200)).is_ok();
        let index = u8::from(now);
        api.patch(&Marker::path(), &Marker::change(index))?;
        marker.answered_by(index, limit)
    }
}

/// What happened when, in nanoseconds.
struct Change {
    asked: u64,
    event: u64,
    effect: u64,
}

/// A name, and the milliseconds that it means.
type Pick = (&'static str, fn(&Change) -> f64);

/// What is told of changes. The client may notice before the other watcher: then nothing is left of the first time, and only the
/// second one, which has the API server's time in it too, tells contestants apart.
const PICKS: [Pick; 2] = [
    ("watch event to packets", |change| {
        seconds(change.effect.saturating_sub(change.event)) * 1_000.0
    }),
    ("API write to packets", |change| {
        seconds(change.effect.saturating_sub(change.asked)) * 1_000.0
    }),
];

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}
