//! The operator's choices (SEMANTICS 3.1, 3.3, 9.4, 15, 23), read from the configuration documents.

use std::net::IpAddr;

use serde_json::Value;

use crate::json::{at, text, texts};
use crate::net::{Net, address};
use crate::node::Node;

/// Whose observable behaviour is followed where kube-proxy's modes differ (SEMANTICS 23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Also without a mode.
    #[default]
    Nftables,
    /// `mode: iptables`.
    Iptables,
}

/// How the pods of this node are known (SEMANTICS 9.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Detect {
    /// By the device that a connection enters by: kube-shunt's own way, and those by a device's name.
    #[default]
    Device,
    /// By the source address: the first network of each family.
    Source(Source),
}

/// The network of pods in each family: IPv4, IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source([Option<Net>; 2]);

/// What holds for all Services.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of the configuration files, one by one"
)]
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Whose behaviour.
    pub profile: Profile,
    /// The local detector.
    pub detect: Detect,
    /// Masquerade every connection to a cluster IP.
    pub masquerade_all: bool,
    /// Masquerade exactly where kube-proxy does, not only where answers would not return.
    pub like_kube_proxy: bool,
    mode: String,
    node_port_addresses: Vec<String>,
    no_localhost: bool,
    pub(crate) no_external_ips: bool,
    pub(crate) no_node_hints: bool,
    bind: Option<IpAddr>,
}

impl Config {
    /// Reads the documents, a `KubeProxyConfiguration` and a `KubeShuntConfiguration`, in any order; both may be missing.
    pub fn parse(documents: &[Value], node: &Node) -> Self {
        let mut config = Self::default();
        for document in documents {
            match text(document, "kind") {
                "KubeProxyConfiguration" => config.kube_proxy(document, node),
                "KubeShuntConfiguration" => {
                    config.like_kube_proxy = text(document, "sourceIP") == "kube-proxy";
                }
                _ => {}
            }
        }
        config
    }

    fn kube_proxy(&mut self, document: &Value, node: &Node) {
        text(document, "mode").clone_into(&mut self.mode);
        let iptables = self.mode == "iptables";
        self.profile = if iptables {
            Profile::Iptables
        } else {
            Profile::Nftables
        };
        let section = if self.mode == "nftables" {
            "nftables"
        } else {
            "iptables"
        };
        self.masquerade_all = at(document, &format!("{section}.masqueradeAll")) == true;
        self.no_localhost = at(document, "iptables.localhostNodePorts") == false;
        self.node_port_addresses = texts(document, "nodePortAddresses")
            .map(str::to_owned)
            .collect();
        self.no_external_ips = at(document, "featureGates.AllowServiceExternalIPs") == false;
        self.no_node_hints = at(document, "featureGates.PreferSameTrafficDistribution") == false;
        self.bind = address(text(document, "bindAddress")).filter(|bind| !bind.is_unspecified());
        let cluster: Vec<Net> = text(document, "clusterCIDR")
            .split(',')
            .filter_map(Net::parse)
            .collect();
        self.detect = match text(document, "detectLocalMode") {
            "ClusterCIDR" => Detect::Source(Source::first(&cluster)),
            "NodeCIDR" => Detect::Source(Source::first(&node.pod_nets)),
            "" if !cluster.is_empty() => Detect::Source(Source::first(&cluster)),
            _ => Detect::Device,
        };
    }

    /// The node's primary address in the family of `like` (SEMANTICS 13.4).
    pub(crate) fn primary(&self, node: &Node, like: IpAddr) -> Option<IpAddr> {
        self.bind
            .filter(|bind| bind.is_ipv4() == like.is_ipv4())
            .or_else(|| node.primary(like))
    }

    /// `NodePort`s answer on this address (SEMANTICS 3.1 to 3.3).
    pub(crate) fn serves_node_ports(&self, node: &Node, address: IpAddr) -> bool {
        if !node.owns(address) {
            return false;
        }
        let nets = self.node_port_nets(node, address);
        let all = nets.is_empty() || nets.iter().any(Net::everything);
        let named = !all && nets.iter().any(|net| net.contains(address));
        if !address.is_loopback() {
            return all || named;
        }
        // Whoever names loopback wants it; else only the modes that include it in "all" have it.
        match self.mode.as_str() {
            "" | "iptables" if address.is_ipv4() && self.no_localhost => false,
            "" => all || named,
            "iptables" if address.is_ipv4() => all || named,
            _ => named,
        }
    }

    /// The networks of the family of `like` that `nodePortAddresses` names; none: all addresses.
    fn node_port_nets(&self, node: &Node, like: IpAddr) -> Vec<Net> {
        let defaults = if self.mode == "nftables" {
            vec!["primary".to_owned()]
        } else {
            vec![]
        };
        let entries = if self.node_port_addresses.is_empty() {
            &defaults
        } else {
            &self.node_port_addresses
        };
        let nets = entries.iter().flat_map(|entry| match entry.as_str() {
            "all" => vec![Net::parse("0.0.0.0/0"), Net::parse("::/0")],
            "localhost" => vec![Net::parse("127.0.0.0/8"), Net::parse("::1/128")],
            "primary" => vec![
                self.primary(node, like)
                    .filter(|address| !address.is_loopback())
                    .map(Net::host),
            ],
            net => vec![Net::parse(net)],
        });
        nets.flatten()
            .filter(|net| net.v4() == like.is_ipv4())
            .collect()
    }
}

impl Source {
    /// Only the first network of a family counts (SEMANTICS 9.4).
    fn first(nets: &[Net]) -> Self {
        let of = |v4: bool| nets.iter().copied().find(|net| net.v4() == v4);
        Self([of(true), of(false)])
    }

    /// There is a network in the family of `like`: else nobody is detected.
    pub(crate) fn works(&self, like: IpAddr) -> bool {
        self.0[usize::from(like.is_ipv6())].is_some()
    }

    /// The address is a pod's.
    pub(crate) fn knows(&self, address: IpAddr) -> bool {
        self.0.iter().flatten().any(|net| net.contains(address))
    }
}
