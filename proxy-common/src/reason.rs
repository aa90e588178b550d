//! Why the path did what it did: one counter for each, by hook. Numbers are stable; docs/metrics.md lists them.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal;)*) => {
        /// Outcome of a packet or a socket call.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// All reasons, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The metric label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// The reason with this number.
            #[inline]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// Nothing of ours: passed untouched.
    NotOurs = 0, "not_ours";
    /// A packet of a known flow was translated.
    Established = 1, "established";
    /// A new connection was given a backend.
    NewFlow = 2, "new_flow";
    /// The first packet of a connection came again.
    Retransmitted = 3, "retransmitted";
    /// No endpoints: rejected with port unreachable or ECONNREFUSED (SEMANTICS 7.1).
    NoEndpoints = 4, "no_endpoints";
    /// Endpoints exist, but the policy leaves none for this client: dropped (SEMANTICS 7.2).
    NoLocalEndpoints = 5, "no_local_endpoints";
    /// No free source port towards this backend.
    SnatPortsExhausted = 6, "snat_ports_exhausted";
    /// FLOWS is full: the connection was not taken.
    FlowTableFull = 7, "flow_table_full";
    /// The headers are cut short or contradict themselves: passed untouched.
    Malformed = 8, "malformed";
    /// TTL or hop limit ended here.
    TtlExceeded = 9, "ttl_exceeded";
    /// Larger than the outgoing device's MTU: answered with "too big".
    TooBig = 10, "too_big";
    /// No route to the backend or client: handed to the stack.
    NoRoute = 11, "no_route";
    /// An ICMP error about a translated packet was translated.
    IcmpTranslated = 12, "icmp_translated";
    /// An answer lost a race against another backend's answer for the same client tuple.
    TupleTaken = 13, "tuple_taken";
    /// A map holds something that must not be there; handed to the stack.
    Inconsistent = 14, "inconsistent";
    /// The helper that edits the packet failed: dropped, it may be half written.
    EditFailed = 15, "edit_failed";
    /// A UDP flow's backend was gone, and another was chosen.
    Rebalanced = 16, "rebalanced";
    /// A fragment whose first part was not seen: handed to the stack.
    FragmentUnknown = 17, "fragment_unknown";
    /// Left to the stack because this hook cannot finish it (XDP to TC, or no neighbour yet).
    Deferred = 18, "deferred";
    /// The client is in none of the loadBalancerSourceRanges: dropped (SEMANTICS 4.7).
    SourceRangeDenied = 19, "source_range_denied";
    /// A port of a `ClusterIP` that no Service has: rejected (SEMANTICS 4.10).
    UnknownPort = 20, "unknown_port";
    /// An address of a `ServiceCIDR` that no Service has: dropped (SEMANTICS 4.10).
    UnallocatedAddress = 21, "unallocated_address";
    /// ICMP echo to an address of a Service with endpoints was answered.
    EchoAnswered = 22, "echo_answered";
    /// A packet to an unserved port of a Service's address would have left by the device it came in by: dropped.
    RoutingLoop = 23, "routing_loop";
}

/// Where a counter was counted.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hook {
    /// TC ingress.
    TcIngress = 0,
    /// TC egress.
    TcEgress = 1,
    /// XDP.
    Xdp = 2,
    /// Socket hooks.
    Socket = 3,
}

impl Hook {
    /// All hooks, by number.
    pub const ALL: &'static [Self] = &[Self::TcIngress, Self::TcEgress, Self::Xdp, Self::Socket];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::TcIngress => "tc_ingress",
            Self::TcEgress => "tc_egress",
            Self::Xdp => "xdp",
            Self::Socket => "socket",
        }
    }
}

/// Index of COUNTERS.
#[inline]
pub const fn counter_index(reason: Reason, hook: Hook) -> u32 {
    reason as u32 * 4 + hook as u32
}

/// Entries of COUNTERS: room for 64 reasons.
pub const COUNTERS: u32 = 256;
