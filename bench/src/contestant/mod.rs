//! Who is compared, and how each is started on a node.

mod proxy;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use proxy::{Proxy, Source, Start};

/// A way for a client to get to a backend.
#[derive(
    ValueEnum, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug,
)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// The pod's own address, without any proxy on the node: the limit.
    Direct,
    /// The same on a node with kube-shunt: what the agent costs packets that are no Service's.
    Beside,
    /// The agent as an operator gets it: packets of pods and of outside by TC, the node's own processes by socket hooks.
    KubeShunt,
    /// The same, with netfilter's conntrack active on the node for other reasons.
    KubeShuntConntrack,
    /// The agent with `--host-routing bpf`: connections to pods of the node go past its stack.
    HostRouting,
    /// The same, with netfilter's conntrack active.
    HostRoutingConntrack,
    /// The agent with `--xdp` on the node's uplink.
    KubeShuntXdp,
    /// kube-proxy, mode iptables, with iptables-legacy.
    IptablesLegacy,
    /// kube-proxy, mode iptables, with iptables-nft.
    IptablesNft,
    /// kube-proxy, mode nftables.
    Nftables,
    /// kube-proxy, mode ipvs.
    Ipvs,
}

impl Contestant {
    /// The real kube-proxy, in all its modes.
    pub const KUBE_PROXY: [Self; 4] = [
        Self::IptablesLegacy,
        Self::IptablesNft,
        Self::Nftables,
        Self::Ipvs,
    ];

    /// For people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Beside => "direct, beside kube-shunt",
            Self::KubeShunt => "kube-shunt",
            Self::KubeShuntConntrack => "kube-shunt, conntrack active",
            Self::HostRouting => "kube-shunt, hostRouting bpf",
            Self::HostRoutingConntrack => "kube-shunt, hostRouting bpf, conntrack active",
            Self::KubeShuntXdp => "kube-shunt + XDP",
            Self::IptablesLegacy => "kube-proxy iptables (legacy)",
            Self::IptablesNft => "kube-proxy iptables (nft)",
            Self::Nftables => "kube-proxy nftables",
            Self::Ipvs => "kube-proxy ipvs",
        }
    }

    /// Whether its clients ask the pods by their own addresses.
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::Beside)
    }

    /// Whether its packets go through our agent's programs.
    pub const fn is_kube_shunt(self) -> bool {
        matches!(
            self,
            Self::KubeShunt
                | Self::KubeShuntConntrack
                | Self::HostRouting
                | Self::HostRoutingConntrack
                | Self::KubeShuntXdp
        )
    }

    /// Whether somebody else's rules make netfilter track its packets.
    pub const fn with_conntrack(self) -> bool {
        matches!(self, Self::KubeShuntConntrack | Self::HostRoutingConntrack)
    }

    /// Whether it is the peer.
    pub const fn is_kube_proxy(self) -> bool {
        matches!(
            self,
            Self::IptablesLegacy | Self::IptablesNft | Self::Nftables | Self::Ipvs
        )
    }
}
