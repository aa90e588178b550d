//! Default capacities and timeouts, each with its why. The agent can override the map sizes.

/// FRONTENDS per family: 100,000 Services with a `ClusterIP` and a `NodePort` each. Not preallocated.
pub const FRONTENDS: u32 = 262_144;
/// BACKENDS slots and `BACKEND_STATE` ids per family: 4 and 8 MiB.
pub const BACKENDS: u32 = 262_144;
/// FLOWS entries per family, two a connection: as many connections as kube-proxy's default `nf_conntrack_max` (131,072).
pub const FLOWS: u32 = 262_144;
/// EMBRYOS entries per family: connections whose answer was not seen yet. A flood only fills this.
pub const EMBRYOS: u32 = 65_536;
/// FRAGMENTS entries per family: datagrams in flight.
pub const FRAGMENTS: u32 = 8_192;
/// ADDRS per family beside those of FRONTENDS: addresses of this node.
pub const NODE_ADDRS: u32 = 8_192;
/// AFFINITY entries per family: clients of Services with session affinity.
pub const AFFINITY: u32 = 65_536;
/// CONNECTED entries: UDP sockets of the node's processes that are connected to a Service.
pub const CONNECTED: u32 = 16_384;
/// `SOURCE_RANGES` entries per family.
pub const SOURCE_RANGES: u32 = 65_536;
/// CIDRS elements per family: the local pods' range, then the `ServiceCIDR`s.
pub const CIDRS: u32 = 16;
/// LUT words: 127 Maglev tables of 16,381 entries, or 2,040 of 1,021 (up to ten backends).
pub const LUT: u32 = 524_288;
/// TURNS elements, by service id modulo this: a power of two.
pub const TURNS: u32 = 65_536;
/// Network devices of this node.
pub const DEVICES: u32 = 8_192;

/// Tries to find a source port. At 50 % use of the range, eight tries fail once in 256.
pub const SNAT_TRIES: u32 = 8;

/// Seconds an idle TCP connection is kept (kube-proxy's `nf_conntrack_tcp_timeout_established`).
pub const TCP_ESTABLISHED_SECONDS: u32 = 86_400;
/// Seconds after the first FIN (`nf_conntrack`'s `FIN_WAIT` is 120, `CLOSE_WAIT` 60; kube-proxy raises the latter to an hour).
pub const TCP_HALF_CLOSED_SECONDS: u32 = 3_600;
/// Seconds after both FINs or a RST, and after what SCTP has for them: room for retransmissions.
pub const CLOSED_SECONDS: u32 = 3;
/// Seconds an idle UDP flow is kept (`nf_conntrack_udp_timeout_stream`).
pub const UDP_SECONDS: u32 = 120;
/// Seconds an idle SCTP association is kept (`nf_conntrack_sctp_timeout_established`).
pub const SCTP_SECONDS: u32 = 210;
