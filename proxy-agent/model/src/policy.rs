//! What the operator chose for all Services: the observable differences between proxies (SEMANTICS 9.4, 23).

use std::net::IpAddr;

/// A network and the length of its prefix.
pub type Network = (IpAddr, u8);

/// Choices that hold for all Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whose observable behaviour is followed where kube-proxy's modes differ.
    pub profile: Profile,
    /// How pods of this node are told from everybody else.
    pub detect_local: DetectLocal,
    /// Masquerade connections to cluster IPs from everywhere (SEMANTICS 9.2).
    pub masquerade_all: bool,
    /// Which sources are masqueraded.
    pub source_ip: SourceIp,
    /// The algorithm of Services without the annotation `kube-shunt.io/algorithm`.
    pub algorithm: Algorithm,
    /// Serve no `spec.externalIPs` (feature gate `AllowServiceExternalIPs` is off, SEMANTICS 2.3).
    pub ignore_external_ips: bool,
    /// Use no node hints (feature gate `PreferSameTrafficDistribution` is off, SEMANTICS 5.2).
    pub ignore_node_hints: bool,
    /// Overrides the primary address of the Node object in its family (bindAddress, SEMANTICS 13.4).
    pub node_ip: Option<IpAddr>,
}

/// The differences of SEMANTICS 23 that are not about `NodePort` addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// kube-proxy's nftables mode, also without a mode: unknown ports of cluster IPs are rejected, unallocated addresses of
    /// `ServiceCIDR`s dropped, sources outside the ranges dropped also without endpoints.
    #[default]
    Nftables,
    /// kube-proxy's iptables mode: unknown ports and addresses pass; without endpoints everybody is rejected.
    Iptables,
}

/// SEMANTICS 9.4. A mode without data for a family detects nobody there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DetectLocal {
    /// By the kind of the device a packet enters; kube-shunt's own.
    #[default]
    Device,
    /// By source address: the first network per family of `clusterCIDR`.
    ClusterCidr(Vec<Network>),
    /// By source address: the Node's `spec.podCIDRs`.
    NodeCidr,
    /// By the name of the device (`BridgeInterface`, `InterfaceNamePrefix`): the kernel side marks the devices.
    Interface,
}

/// Which sources are masqueraded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceIp {
    /// Only where answers would not return otherwise.
    #[default]
    Preserve,
    /// Exactly where kube-proxy does (SEMANTICS 9.2).
    KubeProxy,
}

/// How a backend is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Uniform.
    #[default]
    Random,
    /// In turn.
    RoundRobin,
    /// By the client's address, nearly the same when backends change.
    Maglev,
    /// Of two random ones the one with fewer open connections.
    LeastConnections,
}

impl Algorithm {
    /// The algorithm of that name, as the annotation `kube-shunt.io/algorithm` has it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "random" => Some(Self::Random),
            "round-robin" => Some(Self::RoundRobin),
            "maglev" => Some(Self::Maglev),
            "least-connections" => Some(Self::LeastConnections),
            _ => None,
        }
    }
}
