//! What the planner knows of this node.

use std::net::IpAddr;

use proxy_common::addr::Addr;

use crate::family::{Range, range};
use crate::policy::{DetectLocal, Network, Policy};

/// This node, as its Node object shows it. Empty before it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Empty when unknown.
    pub(crate) zone: Box<str>,
    /// Internal addresses, then external ones.
    pub(crate) addresses: Box<[IpAddr]>,
    pub(crate) pod_cidrs: Box<[Network]>,
}

impl Node {
    /// The node's address of family `A`; a loopback address if none is known (SEMANTICS 13.4).
    pub(crate) fn primary<A: Addr>(&self, policy: &Policy) -> A {
        let known = policy.node_ip.iter().chain(&self.addresses);
        known
            .copied()
            .find_map(A::from_ip)
            .unwrap_or_else(A::loopback)
    }

    /// The range that local pods' addresses are in, where they are known by it (SEMANTICS 9.4).
    pub(crate) fn local_range<A: Addr>(&self, policy: &Policy) -> Option<Range<A>> {
        let ranges = match &policy.detect_local {
            DetectLocal::ClusterCidr(ranges) => &**ranges,
            DetectLocal::NodeCidr => &*self.pod_cidrs,
            DetectLocal::Device | DetectLocal::Interface => &[],
        };
        ranges.iter().copied().find_map(range)
    }

    /// Whether local pods of family `A` can be told from others.
    pub(crate) fn detects<A: Addr>(&self, policy: &Policy) -> bool {
        match policy.detect_local {
            DetectLocal::Device | DetectLocal::Interface => true,
            DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr => {
                self.local_range::<A>(policy).is_some()
            }
        }
    }
}
