//! How fast a change of endpoints reaches the kernel, seen from the map and from traffic.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::maps::Frontends;
use integration::probe::process::Talk;
use integration::probe::{Proto, Report, Request};
use integration::topology::addresses::cluster_ip;
use integration::topology::{Cluster, Family, at};
use integration::wait::monotonic_ns;

use crate::manifests::{ALL_OF_WEB, WEB, WEB_ENDPOINTS, WEB_WITHOUT_B2};

/// The pod that comes and goes.
const POD: &str = "pod-b2";
/// Times it does each.
const ROUNDS: usize = 10;
/// Requests that run beside a change: they must last longer than it.
const REQUESTS: u32 = 400;
/// A change that takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Times {
    kernel: Vec<u64>,
    traffic: Vec<u64>,
}

/// Takes the pod out and in again, and times both.
pub(crate) fn measure(cluster: &Cluster) -> Result<String> {
    let frontends = Frontends::open(cluster.a.bpf_root())?;
    let (mut out, mut into) = (Times::default(), Times::default());
    let (mut requests, mut failed) = (0, 0);
    for _ in 0..ROUNDS {
        for (yaml, backends, times) in [(WEB_WITHOUT_B2, 3, &mut out), (ALL_OF_WEB, 4, &mut into)] {
            let report = change(cluster, &frontends, yaml, backends, times)?;
            requests += report.attempts.len();
            failed += report.failures().count();
        }
    }
    let mut text = String::from(
        "from the change of the file               in the kernel after       seen by clients after\n",
    );
    for (what, times) in [
        ("one endpoint less (4 -> 3)", &mut out),
        ("one endpoint more (3 -> 4)", &mut into),
    ] {
        writeln!(
            text,
            "{what:36}  {:>24}  {:>24}",
            spread(&mut times.kernel),
            spread(&mut times.traffic)
        )?;
    }
    writeln!(
        text,
        "\nmedian (slowest) of {ROUNDS}; {requests} requests from pod-a1 ran meanwhile, {failed} of them failed"
    )?;
    ensure!(failed == 0, "{text}");
    Ok(text)
}

/// One change, under traffic from a pod of node-a.
fn change(
    cluster: &Cluster,
    frontends: &Frontends,
    yaml: &str,
    backends: u32,
    times: &mut Times,
) -> Result<Report> {
    let vip = at(cluster_ip(Family::V4, WEB.0), 80);
    let client = cluster.a.pods.first().context("node-a has no pods")?;
    let talk = Talk::start(&client.place, &Request::new(Proto::Tcp, vip, REQUESTS))?.talking()?;
    let start = monotonic_ns();
    cluster.manifests.write(WEB_ENDPOINTS, yaml)?;
    let in_kernel = loop {
        let counts = frontends
            .counts(vip.ip(), vip.port(), Proto::Tcp)?
            .context("the frontend is gone")?;
        let now = monotonic_ns();
        if counts.iter().all(|&count| count == backends) {
            break now;
        }
        ensure!(
            now - start < LIMIT.as_nanos().try_into()?,
            "the change is not in the kernel after {LIMIT:?}: {counts:?}"
        );
        // Finer than wait::until: this is what is measured. Long enough to leave the agent its CPU.
        std::thread::sleep(Duration::from_micros(20));
    };
    let report = talk.finish()?;
    times.kernel.push(in_kernel - start);
    // A new pod: its first answer. A pod that left: the end of the last connection made to it.
    let answers = report.attempts.iter().filter(|attempt| {
        attempt.at_ns > start
            && attempt
                .outcome
                .as_ref()
                .is_ok_and(|answer| answer.name == POD)
    });
    let seen = if backends == 4 {
        answers.map(|attempt| attempt.at_ns).min()
    } else {
        answers.map(|attempt| attempt.at_ns).max()
    };
    times.traffic.extend(seen.map(|seen| seen - start));
    Ok(report)
}

fn spread(times: &mut [u64]) -> String {
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(&median), Some(&slowest)) => format!("{} ({}) ms", millis(median), millis(slowest)),
        _ => "not seen".to_owned(),
    }
}

fn millis(ns: u64) -> String {
    format!("{}.{:02}", ns / 1_000_000, ns / 10_000 % 100)
}
