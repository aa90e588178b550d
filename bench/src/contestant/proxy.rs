//! A contestant on a node: started, waited for, ended.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use integration::agent::{Agent, AgentOptions};
use integration::rival::kube_proxy::KubeProxy;
use integration::rival::{Mode, configuration, write_configuration};
use integration::topology::Node;
use integration::topology::addresses::pod_networks;
use integration::wait;
use serde_json::json;

use super::Contestant;
use crate::interrupt;

/// Where the Services come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// An API server, by this kubeconfig.
    Api(&'a Path),
    /// A directory of manifests; kube-shunt only.
    Manifests(&'a Path),
}

/// What runs on the node.
#[derive(Debug)]
pub enum Proxy {
    /// Nothing.
    None,
    /// kube-shunt.
    Agent(Box<Agent>),
    /// kube-proxy.
    KubeProxy(Box<KubeProxy>),
}

/// How to start a contestant.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Where the Services come from.
    pub source: Source<'a>,
    /// Folder of its files: configuration, log.
    pub dir: &'a Path,
    /// Where an agent pins.
    pub bpf_root: &'a Path,
    /// Whether kube-proxy may sync all over again from time to time. Not beside the samples of others.
    pub resync: bool,
}

impl Proxy {
    /// Starts `contestant` on `node`; does not wait. An error is a reason to leave it out.
    pub fn start(contestant: Contestant, node: &Node, how: &Start<'_>) -> Result<Self> {
        std::fs::create_dir_all(how.dir).with_context(|| format!("make {}", how.dir.display()))?;
        match contestant {
            Contestant::Direct => Ok(Self::None),
            Contestant::Beside | Contestant::KubeShunt | Contestant::KubeShuntConntrack => {
                agent(node, how, AgentOptions::production())
            }
            Contestant::HostRouting | Contestant::HostRoutingConntrack => {
                let options = AgentOptions::production().with("host-routing", "bpf");
                agent(node, how, options)
            }
            Contestant::KubeShuntXdp => {
                agent(node, how, AgentOptions::production().with("xdp", "eth0"))
            }
            Contestant::IptablesLegacy => kube_proxy(node, how, "iptables", Some("legacy")),
            Contestant::IptablesNft => kube_proxy(node, how, "iptables", Some("nft")),
            Contestant::Nftables => kube_proxy(node, how, "nftables", None),
            Contestant::Ipvs => {
                kernel_has_ipvs()?;
                kube_proxy(node, how, "ipvs", None)
            }
        }
    }

    /// Waits until every Service is in the kernel, at most `limit`.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Agent(agent) => agent.wait_ready(),
            Self::KubeProxy(proxy) => {
                let ended = wait::until("the first sync", limit, || {
                    if interrupt::asked() {
                        return Ok(interrupt::check());
                    }
                    proxy.synced()
                });
                // The last complaint says nothing that the limit does not.
                let Ok(ended) = ended else {
                    bail!("the first sync took longer than {} s", limit.as_secs())
                };
                ended.with_context(|| proxy.tail())
            }
        }
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Agent(agent) => agent.pid(),
            Self::KubeProxy(proxy) => proxy.pid(),
        }
    }

    /// Ends it and removes what it left in the kernel. kube-proxy's own clean-up takes minutes where there are many rules.
    pub fn end(self) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Agent(agent) => {
                drop(agent);
                Ok(())
            }
            Self::KubeProxy(proxy) => proxy.remove(),
        }
    }

    /// Ends it and leaves its rules in the kernel: for a node that goes away, or on which it starts again.
    pub fn abandon(self) -> Result<()> {
        match self {
            Self::KubeProxy(proxy) => proxy.abandon(),
            other => other.end(),
        }
    }
}

fn agent(node: &Node, how: &Start<'_>, options: AgentOptions) -> Result<Proxy> {
    // Without an API server the manifests are read; with one they are not looked at.
    let (manifests, kubeconfig) = match how.source {
        Source::Api(kubeconfig) => (how.dir, Some(kubeconfig.to_owned())),
        Source::Manifests(dir) => (dir, None),
    };
    let mut options = AgentOptions {
        kubeconfig,
        ..options
    };
    if matches!(how.source, Source::Manifests(_)) {
        // For 100,000 Services of ten endpoints, of each family.
        options = options.with("map-backends-entries", "2097152");
    }
    let agent = Agent::start(&node.host, manifests, how.dir, how.bpf_root, &options)?;
    Ok(Proxy::Agent(Box::new(agent)))
}

fn kube_proxy(node: &Node, how: &Start<'_>, mode: &str, flavour: Option<&str>) -> Result<Proxy> {
    let Source::Api(kubeconfig) = how.source else {
        bail!("kube-proxy needs an API server")
    };
    let tools = flavour
        .map(|flavour| iptables(flavour, &how.dir.join("tools")))
        .transpose()?;
    let (v4, v6) = pod_networks(node.number());
    let base = if mode == "nftables" {
        Mode::Nftables
    } else {
        Mode::Iptables
    };
    let mut config = configuration(base, kubeconfig, [&v4, &v6]);
    config["mode"] = mode.into();
    if !how.resync {
        for section in ["iptables", "nftables", "ipvs"] {
            config[section] = json!({ "syncPeriod": "1h" });
        }
    }
    let path = how.dir.join("kube-proxy.yaml");
    write_configuration(&path, &config, false)?;
    let proxy = KubeProxy::spawn(&node.host, how.dir, &path, tools.as_deref())?;
    Ok(Proxy::KubeProxy(Box::new(proxy)))
}

/// A folder in which `iptables` and its siblings are those of `flavour` (Debian's alternatives, for one process).
fn iptables(flavour: &str, dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    for family in ["iptables", "ip6tables"] {
        for action in ["", "-save", "-restore"] {
            let program = find(&format!("{family}-{flavour}{action}"))
                .with_context(|| format!("no {family}-{flavour}{action}"))?;
            let link = dir.join(format!("{family}{action}"));
            if !link.is_symlink() {
                symlink(program, link)?;
            }
        }
    }
    Ok(dir.to_owned())
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}

fn kernel_has_ipvs() -> Result<()> {
    // Loads it where it is a module; where it is neither module nor built in, nothing is there afterwards.
    let _loaded = std::process::Command::new("modprobe").arg("ip_vs").output();
    ensure!(
        Path::new("/proc/net/ip_vs").exists(),
        "this kernel has no ip_vs"
    );
    Ok(())
}
