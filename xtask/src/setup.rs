//! `cargo xtask setup`: installs what other commands need. Quick when nothing is missing: it only looks.

use anyhow::{Result, bail};

use crate::{ebpf, packages, parts, shell};

/// Programs that clusters, their tests and downloads call, and the packages that they are in.
const CLUSTER_PROGRAMS: [(&str, &str); 6] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("ethtool", "ethtool"),
    ("setpriv", "util-linux"),
    ("curl", "curl"),
];
/// What kube-proxy calls.
const PEER_PROGRAMS: [(&str, &str); 3] = [
    ("iptables", "iptables"),
    ("ipset", "ipset"),
    ("conntrack", "conntrack"),
];
/// Linking Rust programs.
const BUILD_PACKAGES: [&str; 2] = ["gcc", "libc6-dev"];

/// Everything for every command but vm-test, whose qemu and kernels are only fetched when it runs.
pub(crate) fn run() -> Result<()> {
    build_tools()?;
    cluster_tools()?;
    let mut errors = control_plane();
    errors.extend(chart_tools());
    errors.extend(peer());
    for error in &errors {
        shell::note(&format!("{error:#}"));
    }
    if !errors.is_empty() {
        bail!(
            "{} part(s) for tests could not be had; the tests that need them will be skipped",
            errors.len()
        );
    }
    shell::heading("everything is in place");
    Ok(())
}

/// What compiling needs.
pub(crate) fn build_tools() -> Result<()> {
    if shell::find_program("cc").is_none() {
        packages::install(&BUILD_PACKAGES)?;
    }
    ebpf::ensure_tools()
}

/// What running clusters needs.
pub(crate) fn cluster_tools() -> Result<()> {
    install_programs(&CLUSTER_PROGRAMS)?;
    // Some tests look at the kernel with it and skip themselves without; Ubuntu packages it in other ways.
    if shell::find_program("bpftool").is_none()
        && let Err(error) = packages::install(&["bpftool"])
    {
        shell::note(&format!("no bpftool: {error:#}"));
    }
    Ok(())
}

/// etcd, kube-apiserver, kube-controller-manager; what could not be had.
pub(crate) fn control_plane() -> Vec<anyhow::Error> {
    parts::ensure(parts::CONTROL_PLANE)
}

/// kube-proxy; why it could not be had.
pub(crate) fn peer() -> Vec<anyhow::Error> {
    let mut errors = parts::ensure(parts::PEER);
    errors.extend(install_programs(&PEER_PROGRAMS).err());
    errors
}

fn install_programs(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| shell::find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages::install(&missing)
}

/// The public tool that the benchmark's own client is checked with; why it could not be had.
pub(crate) fn cross_check() -> Vec<anyhow::Error> {
    Vec::from_iter(install_programs(&[("iperf3", "iperf3")]).err())
}

/// helm; why it could not be had.
pub(crate) fn chart_tools() -> Vec<anyhow::Error> {
    parts::ensure(parts::CHART)
}
