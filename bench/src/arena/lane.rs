//! One contestant's cluster: its proxy on node-b, backends behind it and on node-a, clients in a pod, on the node and outside.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use integration::bpf::{Foreign, Hook};
use integration::place::Place;
use integration::probe::Proto;
use integration::topology::addresses::POD_PORT;
use integration::topology::{Cluster, Family, Node, Options};

use super::order::{Order, To};
use super::relay::Relay;
use crate::contestant::{Contestant, Proxy, Source, Start};
use crate::services::{CROSS_CHECK, Edge, LOCAL, PORT, REMOTE};
use crate::traffic::process::Server;

/// Processor of clients.
pub const CLIENT_CPU: usize = 0;
/// Processor of servers.
pub const SERVER_CPU: usize = 1;

/// Who connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// A pod of the measured node.
    Pod,
    /// A process of that node.
    Node,
    /// Somebody outside of the cluster.
    Outside,
}

/// A contestant in a cluster of its own.
#[derive(Debug)]
pub struct Lane {
    /// Who.
    pub contestant: Contestant,
    /// Why it does not take part at the present number of Services.
    pub out: Option<String>,
    proxy: Option<Proxy>,
    order: Order,
    /// Its cluster.
    pub cluster: Cluster,
    _servers: [Server; 2],
    _relay: Option<Relay>,
    far_end: Option<Foreign>,
}

impl Lane {
    /// Makes the cluster, with routes to all endpoints and servers behind them; no proxy yet.
    pub(super) fn new(contestant: Contestant, api: Option<&Place>) -> Result<Self> {
        let mut cluster = Cluster::new(Options {
            pods: 0,
            ..Options::default()
        })?;
        cluster.a.plug_pod(&cluster.state)?;
        cluster.b.plug_pod(&cluster.state)?;
        cluster.b.plug_pod(&cluster.state)?;
        let servers = [
            serve(&cluster, &cluster.b, LOCAL)?,
            serve(&cluster, &cluster.a, REMOTE)?,
        ];
        for (family, network) in Family::BOTH.into_iter().zip(REMOTE) {
            let far = cluster.a.ip(family);
            cluster
                .b
                .host
                .ip(&format!("route add {network} via {far}\n"))?;
        }
        let relay = api
            .map(|api| Relay::start(&cluster.router, api))
            .transpose()?;
        let far_end = (contestant == Contestant::KubeShuntXdp)
            .then(|| make_veth_take_xdp(&cluster))
            .transpose()?;
        Ok(Self {
            contestant,
            out: None,
            proxy: None,
            order: Order::default(),
            cluster,
            _servers: servers,
            _relay: relay,
            far_end,
        })
    }

    /// The node with the proxy.
    pub const fn node(&self) -> &Node {
        &self.cluster.b
    }

    /// Starts the proxy without waiting; whoever cannot start is out.
    pub(super) fn start(&mut self, source: Source<'_>) {
        let dir = self.dir();
        let how = Start {
            source,
            dir: &dir,
            bpf_root: self.cluster.b.bpf_root(),
            resync: false,
        };
        match Proxy::start(self.contestant, &self.cluster.b, &how) {
            Ok(proxy) => (self.proxy, self.out) = (Some(proxy), None),
            Err(error) => self.out = Some(reason(&error)),
        }
    }

    /// Waits for the proxy's first sync, at most until `limit` after `start`; whoever takes longer is out, and ended.
    pub(super) fn wait(&mut self, start: Instant, limit: Duration, services: u32) -> Result<()> {
        let Some(proxy) = &mut self.proxy else {
            return Ok(());
        };
        let left = limit.saturating_sub(start.elapsed());
        let ready = proxy
            .wait_ready(left)
            .and_then(|()| self.find_order(services));
        if let Err(error) = ready {
            self.out = Some(if start.elapsed() < limit {
                reason(&error)
            } else {
                let limit = limit.as_secs();
                format!("not up within {limit} s, beside the others")
            });
            eprintln!("{}: {error:#}", self.contestant.title());
            self.stop()?;
        }
        Ok(())
    }

    /// Ends the proxy. Its rules stay in the kernel until the cluster goes: the next size's are built on them.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.proxy.take().map_or(Ok(()), Proxy::abandon)
    }

    /// Which Services are before and behind all others.
    fn find_order(&mut self, services: u32) -> Result<()> {
        let tools = match self.contestant {
            Contestant::IptablesLegacy => ["iptables-legacy-save", "ip6tables-legacy-save"],
            Contestant::IptablesNft => ["iptables-nft-save", "ip6tables-nft-save"],
            _ => {
                self.order = Order::of_names(services);
                return Ok(());
            }
        };
        let [v4, v6] = tools.map(|tool| self.cluster.b.host.run(tool, &["-t", "nat"]));
        self.order = Order::of_chains(&[v4?, v6?]);
        Ok(())
    }

    /// Files of the proxy.
    pub fn dir(&self) -> PathBuf {
        self.cluster.state.dir.join("proxy")
    }

    /// Where the agent pins.
    pub fn bpf_root(&self) -> &Path {
        self.cluster.b.bpf_root()
    }

    /// Takes away the program at the far end of the uplink that stands for a NIC's driver, so that another can be there.
    pub fn take_far_end(&mut self) -> bool {
        self.far_end.take().is_some()
    }

    /// Puts it back if it `was` there.
    pub fn restore_far_end(&mut self, was: bool) -> Result<()> {
        self.far_end = was.then(|| make_veth_take_xdp(&self.cluster)).transpose()?;
        Ok(())
    }

    /// Where the client `from` is.
    pub fn client(&self, from: From) -> Result<&Place> {
        Ok(match from {
            From::Pod => &self.cluster.b.pods.get(1).context("no client pod")?.place,
            From::Node => &self.cluster.b.host,
            From::Outside => &self.cluster.client,
        })
    }

    /// The address of a public tool's server; without a proxy that of a backend.
    pub fn cross_check(&self) -> SocketAddr {
        let (edge, family) = (Edge::Local, Family::V4);
        let ip = match self.contestant {
            Contestant::Direct => edge.endpoint(family, 0),
            _ => edge.cluster_ip(family),
        };
        SocketAddr::new(ip, CROSS_CHECK)
    }

    /// Where the backends on the measured node are.
    pub fn server(&self) -> Result<&Place> {
        Ok(&self.cluster.b.pods.first().context("no pod")?.place)
    }

    /// Where a client of `contestant` finds `to`: for whoever has no proxy all the backends, whom a Service would lead it to.
    pub fn addresses(
        &self,
        contestant: Contestant,
        to: To,
        family: Family,
        proto: Proto,
    ) -> Result<Vec<SocketAddr>> {
        let target = self.order.find(to, family, proto)?;
        if contestant.is_direct() {
            let at = |ip| SocketAddr::new(ip, POD_PORT);
            return Ok(target.endpoints(family).into_iter().map(at).collect());
        }
        let frontend = match to {
            To::ClusterIp(_) | To::Edge(..) => target.cluster_ip(family).zip(Some(PORT)),
            To::NodePort(..) => Some(self.cluster.b.ip(family)).zip(target.node_port()),
        };
        let (ip, port) = frontend.with_context(|| format!("{target:?} has none for {to:?}"))?;
        Ok(vec![SocketAddr::new(ip, port)])
    }
}

/// What a reader of a table needs: the cause, without the logs that came with it.
fn reason(error: &anyhow::Error) -> String {
    error.root_cause().to_string()
}

/// Brings `networks` to the first pod of `node`, which answers for all of them.
fn serve(cluster: &Cluster, node: &Node, networks: [&str; 2]) -> Result<Server> {
    let pod = node.pods.first().context("a node without pods")?;
    let device = if node.name() == cluster.b.name() {
        format!("dev {} onlink", pod.device)
    } else {
        String::new()
    };
    for (family, network) in Family::BOTH.into_iter().zip(networks) {
        let (near, far) = (pod.ip(family), node.ip(family));
        node.host
            .ip(&format!("route add {network} via {near} {device}\n"))?;
        pod.place
            .ip(&format!("route add local {network} dev lo\n"))?;
        cluster
            .router
            .ip(&format!("route add {network} via {far}\n"))?;
    }
    Server::start(&pod.place, POD_PORT, SERVER_CPU)
}

/// veth hands over packets whose checksum the sender has not filled in yet, and takes transmitted frames only where the far end has an
/// XDP program too.
fn make_veth_take_xdp(cluster: &Cluster) -> Result<Foreign> {
    let device = cluster.b.name();
    cluster
        .router
        .run("ethtool", &["-K", device, "tx", "off"])?;
    let mut pass = Foreign::xdp()?;
    pass.attach(&cluster.router, device, Hook::Xdp)?;
    Ok(pass)
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{}: {error:#}", self.contestant.title());
        }
    }
}
