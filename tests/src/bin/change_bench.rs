//! Time from an endpoint's change to its effect in the kernel, and the agent's memory, at a number of Services.
//!
//! No test: the figures of a shared machine are for reading. `change_bench [SERVICES [CHANGES]]`, 1000 and 500 if not given;
//! as root, with a release build of the agent. The feed is a directory of manifests, so no API server's time is in it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::maps::Frontends;
use integration::probe::Proto;
use integration::requirements;
use integration::topology::{Cluster, Family, Options, at};
use integration::wait::monotonic_ns;

/// A change that takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(10);
/// Services in one file: a directory of a hundred thousand files would measure the file system.
const PER_FILE: u32 = 100;

fn main() -> Result<()> {
    requirements::check()?;
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u32>());
    let services = numbers.next().transpose()?.unwrap_or(1_000);
    let changes = numbers.next().transpose()?.unwrap_or(500);

    let mut cluster = Cluster::new(Options::default())?;
    let endpoints = cluster.endpoints();
    let web = Service::new("web", 1).node_port(30_080);
    cluster.manifests.service(&web, &endpoints)?;
    for first in (1..services).step_by(PER_FILE as usize) {
        let end = services.min(first + PER_FILE);
        let yaml: String = (first..end).map(many).collect();
        cluster.manifests.write(&format!("many-{first}"), &yaml)?;
    }
    let start = Instant::now();
    cluster
        .a
        .start_agent(cluster.manifests.dir(), &AgentOptions::production())?;
    cluster.a.agent()?.wait_ready()?;
    println!(
        "{services} Services of 10 endpoints: ready {} ms after the start",
        start.elapsed().as_millis()
    );

    let frontends = Frontends::open(cluster.a.bpf_root())?;
    let vip = at(web.ip(Family::V4), web.port);
    let mut times = Vec::new();
    for change in 0..changes {
        // Out and in again, in turn.
        let kept = if change % 2 == 0 { 3 } else { 4 };
        times.push(time(
            &cluster,
            &frontends,
            &web,
            vip,
            endpoints.split_at(kept).0,
        )?);
    }
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
            / 1_000
    };
    println!(
        "one endpoint changes, file to kernel: median {} us, p99 {} us, of {changes} changes",
        at(50),
        at(99)
    );
    println!(
        "memory of the agent: {}",
        memory(cluster.a.agent()?.pid().context("no agent")?)?
    );
    Ok(())
}

/// Writes the endpoints and spins until the kernel has them; nanoseconds.
fn time(
    cluster: &Cluster,
    frontends: &Frontends,
    web: &Service,
    vip: std::net::SocketAddr,
    endpoints: &[Endpoint],
) -> Result<u64> {
    let wanted = u32::try_from(endpoints.len())?;
    let holds = || -> Result<bool> {
        let counts = frontends
            .counts(vip.ip(), vip.port(), Proto::Tcp)?
            .context("the frontend is gone")?;
        Ok(counts.iter().all(|&count| count == wanted))
    };
    let start = monotonic_ns();
    cluster.manifests.slice(web, Family::V4, endpoints)?;
    while !holds()? {
        ensure!(
            monotonic_ns() - start < u64::try_from(LIMIT.as_nanos())?,
            "not in the kernel after {LIMIT:?}"
        );
        std::thread::sleep(Duration::from_micros(20));
    }
    Ok(monotonic_ns() - start)
}

/// A Service with ten endpoints.
fn many(number: u32) -> String {
    let [_, _, high, low] = number.to_be_bytes();
    let endpoint = |host| {
        format!(
            "- addresses: [\"10.{host}.{high}.{low}\"]\n  nodeName: node-b\n  conditions: {{ready: true, serving: true, terminating: false}}\n"
        )
    };
    let endpoints = (1..=10).map(endpoint).collect::<Vec<_>>().concat();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: many-{number}, namespace: default}}\nspec:\n  clusterIP: 10.97.{high}.{low}\n  clusterIPs: [10.97.{high}.{low}]\n  ipFamilies: [IPv4]\n  ports: [{{name: http, port: 80, protocol: TCP}}]\n\
        ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: many-{number}, namespace: default, labels: {{kubernetes.io/service-name: many-{number}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080, protocol: TCP}}]\nendpoints:\n{endpoints}"
    )
}

/// What of a process is in memory, in words.
fn memory(pid: u32) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or("?").trim().to_owned()
    };
    Ok(format!(
        "{} resident, of it {} its own and {} of files, {} shared with the kernel (maps)",
        value("VmRSS:"),
        value("RssAnon:"),
        value("RssFile:"),
        value("RssShmem:")
    ))
}
