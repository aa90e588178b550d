//! The same Services through the real kube-proxy and through kube-shunt: what clients see must be the same, in the mode that
//! both run in, but for what docs/differences.md lists.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use integration::agent::AgentOptions;
use integration::control_plane::frame::{Api, with_control_plane};
use integration::place::Place;
use integration::rival::cluster::Case;
use integration::rival::kube_proxy::{self, KubeProxy};
use integration::rival::outcome::Source;
use integration::rival::{Mode, configuration, outcome, write_configuration};
use integration::topology::addresses::pod_networks;
use proxy_common::sim::rng::Rng;

/// Services of one run.
const SERVICES: u8 = 12;

#[test]
fn clients_see_the_same_as_with_kube_proxy_in_nftables_mode() {
    compare("nftables", Mode::Nftables);
}

#[test]
fn clients_see_the_same_as_with_kube_proxy_in_iptables_mode() {
    compare("iptables", Mode::Iptables);
}

fn compare(test: &str, mode: Mode) {
    if !kube_proxy::available(test) {
        return;
    }
    with_control_plane(|api| {
        api.register_nodes()?;
        let seed = seed()?;
        let mut rng = Rng::new(seed);
        let cases: Vec<Case> = (1..=SERVICES)
            .map(|index| Case::random(&mut rng, index, api.cluster))
            .collect();
        for case in &cases {
            case.create(&api.plane.client)
                .with_context(|| case.summary.clone())?;
        }
        // No endpoint: kube-proxy leaves it to the CNI whether a pod reaches itself.
        api.cluster.a.plug_pod(&api.cluster.state)?;
        let mut theirs = by_kube_proxy(api, mode, &cases, None)?;
        let mut ours = by_kube_shunt(api, mode, &cases, None)?;
        // On a busy machine an answer that is late looks like none: that, and nothing else, is asked with patience.
        let doubtful = outcome::doubtful(&theirs, &ours);
        if !doubtful.is_empty() {
            theirs.extend(by_kube_proxy(api, mode, &cases, Some(&doubtful))?);
            ours.extend(by_kube_shunt(api, mode, &cases, Some(&doubtful))?);
        }
        let differences = outcome::differences(&theirs, &ours);
        let answered = theirs.values().filter(|seen| seen.is_answered()).count();
        ensure!(
            answered * 4 > theirs.len(),
            "too little was answered to compare"
        );
        println!(
            "{test} mode, seed {seed}: {} connections of {SERVICES} Services compared, {answered} answered, {} differ",
            theirs.len(),
            differences.len()
        );
        let summaries: Vec<&str> = cases.iter().map(|case| &*case.summary).collect();
        ensure!(
            differences.is_empty(),
            "seed {seed}: {} of {} connections differ:\n{}\nServices:\n{}",
            differences.len(),
            theirs.len(),
            differences.join("\n"),
            summaries.join("\n")
        );
        Ok(())
    });
}

/// Which random Services: those of `KUBE_SHUNT_SEED`, or always the same.
fn seed() -> Result<u64> {
    match std::env::var("KUBE_SHUNT_SEED") {
        Ok(number) => number
            .parse()
            .with_context(|| format!("KUBE_SHUNT_SEED={number}: not a number")),
        Err(_unset) => Ok(1),
    }
}

/// A pod and a process of the node, and the client outside.
fn clients<'a>(api: &'a Api<'_>) -> Result<[(&'a Place, Source); 3]> {
    let pod = api.cluster.a.pods.last().context("a node without pods")?;
    Ok([
        (&pod.place, Source::Compared),
        // It has one address towards each pod, and the two proxies choose among them at different times.
        (&api.cluster.a.host, Source::Ignored),
        (&api.cluster.client, Source::Compared),
    ])
}

fn by_kube_proxy(
    api: &Api<'_>,
    mode: Mode,
    cases: &[Case],
    only: Option<&BTreeSet<String>>,
) -> Result<outcome::Picture> {
    let config = config_file(api, mode, false)?;
    let dir = &api.cluster.state.dir;
    let proxy = KubeProxy::start(&api.cluster.a.host, dir, &config)?;
    let picture = outcome::look(cases, &clients(api)?, only)?;
    proxy.remove()?;
    Ok(picture)
}

fn by_kube_shunt(
    api: &mut Api<'_>,
    mode: Mode,
    cases: &[Case],
    only: Option<&BTreeSet<String>>,
) -> Result<outcome::Picture> {
    let config = config_file(api, mode, true)?;
    let options = AgentOptions {
        kubeconfig: Some(api.plane.admin_kubeconfig()?),
        ..AgentOptions::default()
    }
    .with("config", &config.display().to_string());
    let manifests = api.cluster.manifests.dir().to_owned();
    api.cluster.a.start_agent(&manifests, &options)?;
    api.cluster.a.agent()?.wait_ready()?;
    let picture = outcome::look(cases, &clients(api)?, only)?;
    // Ends it, and takes away what it left.
    api.cluster.a.agent = None;
    Ok(picture)
}

fn config_file(api: &Api<'_>, mode: Mode, ours: bool) -> Result<std::path::PathBuf> {
    let kubeconfig = api.plane.admin_kubeconfig()?;
    let (v4, v6) = pod_networks(api.cluster.a.number());
    let name = if ours { "kube-shunt" } else { "kube-proxy" };
    let path = api.cluster.state.dir.join(format!("{name}.yaml"));
    write_configuration(&path, &configuration(mode, &kubeconfig, [&v4, &v6]), ours)?;
    Ok(path)
}
