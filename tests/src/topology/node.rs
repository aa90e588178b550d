//! A node: its pod network, its pods, its agent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::State;
use super::addresses::{self, Family, POD_PORT};
use super::fabric::SWITCH_MAC;
use super::pod::Pod;
use crate::agent::{Agent, AgentOptions};
use crate::netns::Namespace;
use crate::place::Place;
use crate::probe::process::Server;

/// How pods are connected to their node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Ports of the bridge `cni0`, which has the gateway's address; no hairpin mode. Strict reverse-path filter.
    Bridge,
    /// A veth with a route to the pod; the host's end has no address and answers ARP for all. No reverse-path filter.
    Routed,
}

/// A node of a [`super::Cluster`].
#[derive(Debug)]
pub struct Node {
    /// The agent, once started. Dropped before what it serves.
    pub agent: Option<Agent>,
    /// Its pods, in the order they were added.
    pub pods: Vec<Pod>,
    /// The node's own network namespace.
    pub host: Place,
    /// How its pods are connected.
    pub style: Style,
    /// Its address.
    pub addr4: Ipv4Addr,
    /// Its address.
    pub addr6: Ipv6Addr,
    dir: PathBuf,
    bpf_root: PathBuf,
    added: u8,
}

impl Node {
    pub(super) fn new(host: Place, style: Style, state: &State) -> Self {
        let number = match style {
            Style::Bridge => 1,
            Style::Routed => 2,
        };
        let (addr4, addr6) = addresses::node(number);
        let (dir, bpf_root) = (state.dir.join(&host.name), state.bpf_root(&host.name));
        Self {
            agent: None,
            pods: Vec::new(),
            host,
            style,
            addr4,
            addr6,
            dir,
            bpf_root,
            added: 0,
        }
    }

    /// Its number in addresses.
    pub const fn number(&self) -> u8 {
        match self.style {
            Style::Bridge => 1,
            Style::Routed => 2,
        }
    }

    /// Its name as Kubernetes knows it.
    pub fn name(&self) -> &str {
        &self.host.name
    }

    /// Its address.
    pub fn ip(&self, family: Family) -> IpAddr {
        family.pick(self.addr4, self.addr6)
    }

    /// Where its agent pins.
    pub fn bpf_root(&self) -> &Path {
        &self.bpf_root
    }

    /// The pod network, without pods.
    pub(super) fn prepare(&self, bridge_netfilter: bool) -> Result<()> {
        let filter = if self.style == Style::Bridge {
            "1"
        } else {
            "0"
        };
        self.host.sysctl(&[
            ("ipv4/conf/all/rp_filter", filter),
            ("ipv4/conf/default/rp_filter", filter),
            ("ipv4/conf/eth0/rp_filter", filter),
        ])?;
        let ((gateway4, gateway6), (pods4, pods6)) = (
            addresses::pod(self.number(), 0),
            addresses::pod_networks(self.number()),
        );
        match self.style {
            Style::Bridge => {
                self.host.ip(&format!(
                    "link add cni0 address {SWITCH_MAC} type bridge forward_delay 0 mcast_snooping 0
                    addr add {gateway4}/24 dev cni0
                    addr add {gateway6}/64 dev cni0 nodad
                    link set cni0 up\n"
                ))?;
                let value = if bridge_netfilter { "1" } else { "0" };
                self.host.sysctl(&[
                    ("bridge/bridge-nf-call-iptables", value),
                    ("bridge/bridge-nf-call-ip6tables", value),
                ])
            }
            // As Calico: addresses of the block that no pod has must not leave by the default route.
            Style::Routed => self.host.ip(&format!(
                "route add blackhole {pods4}\nroute add blackhole {pods6}\n"
            )),
        }
    }

    /// Adds a pod with a server on [`POD_PORT`]; returns its index in `pods`.
    pub fn add_pod(&mut self, state: &State) -> Result<usize> {
        let index = self.plug_pod(state)?;
        let pod = self.pods.get_mut(index).context("the pod is gone")?;
        pod.serve(POD_PORT)?;
        Ok(index)
    }

    /// Adds a pod without any process in it; returns its index in `pods`.
    pub fn plug_pod(&mut self, state: &State) -> Result<usize> {
        self.added += 1;
        let name = format!(
            "pod-{}{}",
            self.name().trim_start_matches("node-"),
            self.added
        );
        let ns = Namespace::create_all(&[state.name(&name)])?
            .pop()
            .context("no namespace")?;
        let place = Place::new(name, Arc::new(ns), Arc::clone(self.host.cgroup()));
        self.pods.push(Pod::plug(self, place, self.added)?);
        Ok(self.pods.len() - 1)
    }

    /// Starts a server in the node's own namespace, as a pod with hostNetwork has.
    pub fn serve(&self, name: &str, port: u16) -> Result<Server> {
        Server::start(&self.host, name, port)
    }

    /// Starts the agent without waiting for it.
    pub fn start_agent(&mut self, manifests: &Path, options: &AgentOptions) -> Result<()> {
        self.agent = Some(Agent::start(
            &self.host,
            manifests,
            &self.dir,
            &self.bpf_root,
            options,
        )?);
        Ok(())
    }

    /// The agent.
    pub fn agent(&mut self) -> Result<&mut Agent> {
        self.agent
            .as_mut()
            .with_context(|| format!("no agent was started on {}", self.host.name))
    }
}
