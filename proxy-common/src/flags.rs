//! Flag words of the map values, as transparent integers with named bits.

macro_rules! flags {
    ($(#[$doc:meta])* $name:ident: $int:ty { $($(#[$bit_doc:meta])* $bit:ident = $value:expr,)* }) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $int);

        impl $name {
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)*

            /// Whether all bits of `other` are set.
            #[inline]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Both words' bits.
            #[inline]
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    };
}

flags! {
    /// Bits of [`crate::value::Frontend`].
    FrontendFlags: u32 {
        /// The frontend is a `NodePort` (kept under the unspecified address).
        NODE_PORT = 1 << 0,
        /// externalIP, load-balancer IP or `NodePort`, not `ClusterIP`.
        EXTERNAL = 1 << 1,
        /// The `ServicePort` has no endpoint at all: an empty slice rejects. Without it an empty slice drops (SEMANTICS 7.1, 7.2).
        REJECT = 1 << 2,
        /// Only clients of the set [`crate::value::Frontend::ranges`] may connect; others are dropped (SEMANTICS 4.7).
        RANGES = 1 << 3,
        /// With `RANGES`: processes of this node are not among them, by the node's primary address.
        HOST_DENIED = 1 << 4,
        /// `Inside`'s slice is localEndpoints, not clusterEndpoints.
        LOCAL_INSIDE = 1 << 5,
        /// The same for `Outside`.
        LOCAL_OUTSIDE = 1 << 6,
        /// The same for `Host`.
        LOCAL_HOST = 1 << 7,
        /// kube-proxy would masquerade connections of `Inside` (SEMANTICS 9.2).
        MASQUERADE_INSIDE = 1 << 8,
        /// The same for `Outside`.
        MASQUERADE_OUTSIDE = 1 << 9,
        /// The same for `Host`.
        MASQUERADE_HOST = 1 << 10,
        /// Backends take turns. Without an algorithm's bit the choice is random.
        ROUND_ROBIN = 1 << 11,
        /// The backend is looked up in the set's Maglev table, by source address.
        MAGLEV = 1 << 12,
        /// Of two random backends the one with fewer open connections.
        LEAST_CONNECTIONS = 1 << 13,
        /// A `NodePort` that is found on every address of this node, not only where `NodePort`s are served (SEMANTICS 3.6).
        EVERYWHERE = 1 << 14,
    }
}

flags! {
    /// Bits of [`crate::value::Backend`].
    BackendFlags: u16 {
        /// The endpoint runs on this node (`nodeName` is ours).
        LOCAL = 1 << 0,
    }
}

flags! {
    /// Bits of [`crate::value::Flow`].
    FlowFlags: u16 {
        /// The entry translates answers (backend to client). Without it: requests.
        REPLY = 1 << 0,
        /// The source is translated too, to an address of this node: the answer is translated at ingress, not at egress.
        SNAT = 1 << 1,
        /// The packet leaves by a route lookup of our own and never enters the stack: its answer is translated at ingress.
        REDIRECT = 1 << 2,
        /// The packet goes back out of the device it came in by (a pod that reaches itself).
        HAIRPIN = 1 << 3,
        /// The packet is marked for netfilter's masquerade.
        MASQUERADE = 1 << 4,
        /// The connection is counted in [`crate::value::BackendState::active`].
        COUNTED = 1 << 5,
        /// The backend runs on this node. Only in what EMBRYOS keeps under a client's own tuple.
        LOCAL = 1 << 6,
        /// The low bits of the number of the device that the client's packets come by; see [`FlowFlags::by`].
        DEVICE = 0xff << 8,
    }
}

impl FlowFlags {
    /// [`Self::DEVICE`] for the device `ifindex`.
    #[inline]
    pub const fn by(ifindex: u32) -> Self {
        Self(((ifindex & 0xff) as u16) << 8)
    }

    /// Whether the client's packets come by the device `ifindex`, as far as few bits can tell.
    #[inline]
    pub const fn is_by(self, ifindex: u32) -> bool {
        self.0 & Self::DEVICE.0 == Self::by(ifindex).0
    }

    /// Whether what the entry is for is translated at egress: answers that the stack carries, to clients whose address was kept.
    #[inline]
    pub const fn at_egress(self) -> bool {
        self.has(Self::REPLY) && !self.has(Self::SNAT) && !self.has(Self::REDIRECT)
    }
}

flags! {
    /// Bits of [`crate::value::Device`].
    DeviceFlags: u32 {
        /// The other end is a pod.
        POD = 1 << 0,
        /// Carries a node address or a default route.
        NODE = 1 << 1,
        /// vxlan, geneve, ipip, gre, wireguard.
        OVERLAY = 1 << 2,
        /// Has no link-layer header.
        L3 = 1 << 3,
        /// Packets may be redirected out of it: covered by our programs, and its route says all that a packet needs.
        REDIRECT = 1 << 4,
        /// Our XDP program runs here, so XDP may send frames out of it.
        XDP = 1 << 5,
        /// What enters here comes from a pod of this node, as far as policies care (SEMANTICS 9.4); see [`detect`].
        INSIDE = 1 << 6,
        /// One end of a pair: packets may be handed to the other end, in a pod, at once (veth, netkit).
        PEER = 1 << 7,
    }
}

flags! {
    /// Value of ADDRS: what an address is to us. 127.0.0.1 and `::1` stand for all loopback addresses there.
    AddrFlags: u32 {
        /// `NodePort`s are served on this address (nodePortAddresses).
        NODE_PORT = 1 << 0,
        /// An address of this node.
        NODE = 1 << 1,
        /// FRONTENDS has this very address: a `ClusterIP`, external IP or load-balancer IP.
        VIRTUAL = 1 << 2,
        /// A connection to a port of it that no Service has is rejected (SEMANTICS 4.10, nftables mode).
        REJECT_UNKNOWN = 1 << 3,
        /// Some port of it has endpoints: ICMP echo is answered.
        ECHO = 1 << 4,
    }
}

/// Values of [`crate::value::Flow::state`], bits. What the client did is in the low byte and what the backend did in the high
/// one: each is written by its own direction's packets, so two processors that meet in one entry lose nothing.
pub mod flow_state {
    /// A FIN of the client was seen.
    pub const FIN_CLIENT: u16 = 1 << 0;
    /// A RST of the client was seen.
    pub const RST_CLIENT: u16 = 1 << 1;
    /// A FIN of the backend was seen.
    pub const FIN_BACKEND: u16 = 1 << 8;
    /// A RST of the backend was seen.
    pub const RST_BACKEND: u16 = 1 << 9;
    /// The backend has answered.
    pub const REPLIED: u16 = 1 << 10;

    /// Whether nothing more than retransmissions can follow.
    #[inline]
    pub const fn closed(state: u16) -> bool {
        state & (RST_CLIENT | RST_BACKEND) != 0
            || state & (FIN_CLIENT | FIN_BACKEND) == FIN_CLIENT | FIN_BACKEND
    }
}

/// Bits of [`crate::value::Settings::features`]: what the running kernel can do.
pub mod feature {
    /// `bpf_set_retval` (5.18): hooks can return an errno of their choice.
    pub const SET_RETVAL: u32 = 1 << 0;
    /// `bpf_ktime_get_coarse_ns` (5.11).
    pub const COARSE_CLOCK: u32 = 1 << 1;
    /// `bpf_get_netns_cookie` in cgroup `sock_addr` hooks (5.7).
    pub const NETNS_COOKIE: u32 = 1 << 2;
    /// Nothing is recorded: no flow, no affinity, no turn. For `explain`, which runs the programs over the live maps.
    pub const DRY_RUN: u32 = 1 << 3;
    /// Sources are masqueraded by the MASQUERADE bits of a frontend and for hairpins, never else (`sourceIP: kube-proxy`).
    pub const EXACT_MASQUERADE: u32 = 1 << 4;
    /// Connections to pods of this node are handed to them past the stack, and so are the answers (`hostRouting: bpf`).
    pub const HOST_ROUTING: u32 = 1 << 5;
}

/// Values of [`crate::value::Settings::detect`]: how a packet is known to come from a pod of this node (SEMANTICS 9.4).
pub mod detect {
    /// By the device it entered: [`super::DeviceFlags::INSIDE`].
    pub const DEVICE: u32 = 0;
    /// By its source address: element 0 of CIDRS.
    pub const CIDR: u32 = 1;
    /// Not at all: nobody is a local pod.
    pub const NONE: u32 = 2;
}
