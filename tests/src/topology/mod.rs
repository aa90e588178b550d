//! A cluster of two nodes and an outside client, IPv4 and IPv6 everywhere.
//!
//! ```text
//!   client 203.0.113.10 ── router 172.18.0.1 ──┬── node-a 172.18.0.2, pods 10.244.1.0/24 behind the bridge cni0
//!   2001:db8:77::10        fd00:18::1          └── node-b 172.18.0.3, pods 10.244.2.0/24 on routed veths
//! ```
//!
//! The router also sends the `ClusterIPs` and external addresses to node-a, as BGP would.

pub mod addresses;
pub mod fabric;
pub mod node;
pub mod pod;
pub mod state;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};

use crate::agent::AgentOptions;
use crate::cgroup::Cgroup;
use crate::manifests::{Endpoint, Manifests, Service};
use crate::maps::Frontends;
use crate::netns::Namespace;
use crate::place::Place;
use crate::probe::Proto;
use crate::wait::{self, SOON};

pub use addresses::Family;
pub use fabric::Fabric;
pub use node::{Node, Style};
pub use pod::Pod;
pub use state::State;

/// What a cluster is like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How pod traffic crosses between the nodes.
    pub fabric: Fabric,
    /// Pods on each node, each with a server on [`addresses::POD_PORT`].
    pub pods: u8,
    /// Whether node-a is the machine's initial namespace, as nodes are; only in virtual machines of ours.
    pub initial: bool,
    /// Whether bridged traffic of node-a passes netfilter, as kubeadm sets it.
    pub bridge_netfilter: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fabric: Fabric::Native,
            pods: 2,
            initial: false,
            bridge_netfilter: true,
        }
    }
}

/// Two nodes, a router and a client. Everything goes when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// Pods behind a Linux bridge; strict reverse-path filter.
    pub a: Node,
    /// Pods on routed veths, as Calico makes them; no reverse-path filter.
    pub b: Node,
    /// Outside of the cluster, one hop away from the nodes.
    pub client: Place,
    /// Between all of them.
    pub router: Place,
    /// What the agents read.
    pub manifests: Manifests,
    /// Names, directories, and the lock that says we live. Dropped last.
    pub state: State,
}

impl Cluster {
    /// A cluster of its own, for a test. Removes what dead tests left behind.
    pub fn new(options: Options) -> Result<Self> {
        State::remove_leftovers();
        Self::build(options, State::for_test()?)
    }

    /// A cluster under `state`'s names.
    pub fn build(options: Options, state: State) -> Result<Self> {
        let names = ["router", "client", "node-a", "node-b"];
        let full = names.map(|name| state.name(name));
        let spaces = if options.initial {
            let [router, client, a, b] = full;
            let mut spaces = Namespace::create_all(&[router, client, b])?;
            spaces.insert(2, Namespace::initial(&a)?);
            spaces
        } else {
            Namespace::create_all(&full)?
        };
        let mut places = names.into_iter().zip(spaces).map(|(name, ns)| {
            let cgroup = Cgroup::create(&format!("{}/{name}", state.prefix))?;
            Ok::<_, anyhow::Error>(Place::new(name, Arc::new(ns), Arc::new(cgroup)))
        });
        let mut next = || places.next().context("a namespace is missing").flatten();
        let (router, client) = (next()?, next()?);
        let a = Node::new(next()?, Style::Bridge, &state);
        let b = Node::new(next()?, Style::Routed, &state);
        drop(places);
        fabric::wire(&router, &client, &[&a, &b])?;
        let manifests = Manifests::create(&state.dir.join("manifests"))?;
        let mut cluster = Self {
            a,
            b,
            client,
            router,
            manifests,
            state,
        };
        for node in [&mut cluster.a, &mut cluster.b] {
            node.prepare(options.bridge_netfilter)?;
        }
        fabric::join(options.fabric, &cluster.a, &cluster.b)?;
        for _ in 0..options.pods {
            cluster.a.add_pod(&cluster.state)?;
            cluster.b.add_pod(&cluster.state)?;
        }
        cluster.manifests.nodes(&[&cluster.a, &cluster.b])?;
        Ok(cluster)
    }

    /// Starts an agent on both nodes and waits until both are ready.
    pub fn start_agents(&mut self, options: &AgentOptions) -> Result<()> {
        // Both start at the same time; then each is waited for.
        for node in [&mut self.a, &mut self.b] {
            node.start_agent(self.manifests.dir(), options)?;
        }
        self.a.agent()?.wait_ready()?;
        self.b.agent()?.wait_ready()
    }

    /// Both nodes.
    pub fn nodes(&self) -> [&Node; 2] {
        [&self.a, &self.b]
    }

    /// All pods.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.nodes().into_iter().flat_map(|node| &node.pods)
    }

    /// Writes the endpoints of `service` and waits until both kernels have `count` of them.
    pub fn scale(&self, service: &Service, endpoints: &[Endpoint], count: u32) -> Result<()> {
        self.manifests.endpoints(service, endpoints)?;
        self.programmed(service, count)
    }

    /// Waits until both kernels have `count` endpoints at every frontend of `service`, whose policies are not Local, and nothing of
    /// what was there before.
    pub fn programmed(&self, service: &Service, count: u32) -> Result<()> {
        for node in self.nodes() {
            let frontends = Frontends::open(node.bpf_root())?;
            wait::until("the endpoints are in the kernel", SOON, || {
                for proto in Proto::BOTH {
                    for (ip, port) in service.frontends() {
                        let counts = frontends.counts(ip, port, proto)?;
                        ensure!(counts == Some([count; 3]), "{ip}:{port}: {counts:?}");
                    }
                }
                Ok(())
            })?;
            let agent = node.agent.as_ref().context("no agent was started")?;
            agent.settle()?;
        }
        Ok(())
    }

    /// All pods as endpoints that are ready.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.pods().map(Endpoint::pod).collect()
    }

    /// The first pod of each node.
    pub fn first_pods(&self) -> Result<[&Pod; 2]> {
        match (&self.a.pods[..], &self.b.pods[..]) {
            ([a, ..], [b, ..]) => Ok([a, b]),
            _ => bail!("a node has no pods"),
        }
    }

    /// Where the client is.
    pub fn client_ip(&self, family: Family) -> IpAddr {
        family.pick(addresses::CLIENT4, addresses::CLIENT6)
    }

    /// Leaves everything running and returns its names.
    pub fn keep(self) -> State {
        let state = self.state.clone_names();
        // Namespaces, processes and programs stay; `State::remove` finds them by name.
        std::mem::forget(self);
        state
    }
}

/// Every family with every transport.
pub fn matrix() -> impl Iterator<Item = (Family, Proto)> {
    Family::BOTH
        .into_iter()
        .flat_map(|family| Proto::BOTH.map(|proto| (family, proto)))
}

/// `ip`:`port`.
pub fn at(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}
