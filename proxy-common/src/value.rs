//! Map values. Integers only, no implicit padding: the same bytes on both sides of the kernel boundary.

use crate::addr::{Addr, V4, V6};
use crate::be::Be16;
use crate::flags::{BackendFlags, DeviceFlags, FlowFlags, FrontendFlags};
use crate::key::FlowKey;

/// A run of slots in BACKENDS: one backend set. Immutable while a frontend names it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Slice {
    /// First slot.
    pub offset: u32,
    /// Number of slots; 0 is no backend for this class.
    pub count: u32,
}

/// Where a connection comes from; selects the slice of a frontend.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// A pod of this node: the packet entered by a pod-facing device.
    Inside = 0,
    /// Anywhere else: it entered by a node-facing or overlay device.
    Outside = 1,
    /// A process in the node's own network namespace.
    Host = 2,
}

/// Value of FRONTENDS: what to do with new connections to a frontend. Replaced in one store.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Frontend {
    /// The `ServicePort`, the same for all its frontends; never 0.
    pub service: u32,
    /// See [`FrontendFlags`].
    pub flags: FrontendFlags,
    /// sessionAffinity `ClientIP` timeout in seconds; 0 is no affinity.
    pub affinity_seconds: u32,
    /// The set of `SOURCE_RANGES` that clients must be in, with [`FrontendFlags::RANGES`].
    pub ranges: u32,
    /// Backend sets by [`Class`].
    pub slices: [Slice; 3],
    /// Where in LUT, in words, the Maglev tables of clusterEndpoints and of localEndpoints stand; 0 is not built yet.
    pub tables: [u32; 2],
}

impl Frontend {
    /// The backend set for `class`.
    #[inline]
    pub const fn slice(&self, class: Class) -> Slice {
        match class {
            Class::Inside => self.slices[0],
            Class::Outside => self.slices[1],
            Class::Host => self.slices[2],
        }
    }
}

/// Value of BACKENDS: one endpoint in one backend set.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Backend<A> {
    /// Endpoint address.
    pub addr: A,
    /// Endpoint port.
    pub port: Be16,
    /// See [`BackendFlags`].
    pub flags: BackendFlags,
    /// Index of `BACKEND_STATE`; one id per (`ServicePort`, endpoint); never 0.
    pub id: u32,
    /// The id's generation when this slot was written.
    pub generation: u32,
}

impl<A: Addr> Backend<A> {
    /// A backend to be overwritten: `zero` everywhere.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "zero is zero in any width")]
    pub fn blank(zero: u32) -> Self {
        Self {
            addr: A::from_words([zero; 4]),
            port: Be16::from_raw(zero as u16),
            flags: BackendFlags(zero as u16),
            id: zero,
            generation: zero,
        }
    }
}

/// Value of `BACKEND_STATE`, by backend id. A flow whose generation differs belongs to an earlier owner of the id.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BackendState {
    /// Raised each time the id is given to another endpoint.
    pub generation: u32,
    /// One of [`backend_state`].
    pub state: u16,
    /// Which sets of its `ServicePort` the endpoint is in, bits of [`backend_sets`].
    pub sets: u16,
    /// Open connections, where the algorithm needs them.
    pub active: u32,
    /// Zero.
    pub reserved: u32,
}

/// Values of [`BackendState::state`].
pub mod backend_state {
    /// The id is free; flows that name it are stale.
    pub const GONE: u16 = 0;
    /// New and old connections may go there.
    pub const ACTIVE: u16 = 1;
    /// No new connections, but UDP flows stay: the endpoint still serves (SEMANTICS 10.4, 16.1).
    pub const DRAINING: u16 = 2;
}

/// Bits of [`BackendState::sets`]: an affinity record counts only while its backend is in the set that is asked for (SEMANTICS 8.6).
pub mod backend_sets {
    /// In clusterEndpoints.
    pub const CLUSTER: u16 = 1;
    /// In localEndpoints.
    pub const LOCAL: u16 = 2;
}

/// Value of AFFINITY: the backend of a client (SEMANTICS 8).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Affinity<A> {
    /// As its slot was.
    pub backend: Backend<A>,
    /// Second of the monotonic clock of the client's last new connection.
    pub last_new: u32,
}

/// Element of CIDRS.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Cidr<A> {
    /// Network address.
    pub addr: A,
    /// Its mask.
    pub mask: A,
    /// 1 if the element is used.
    pub used: u32,
}

/// Element of LUT: four entries of a Maglev table, each an index into the set's slice. A table is its length in the first
/// entry of its first word, then from the next word on its entries.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LutWord(pub [u16; 4]);

/// Value of FLOWS and EMBRYOS: what becomes of a packet with the key's tuple.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flow<A> {
    /// Source address after translation.
    pub src: A,
    /// Destination address after translation.
    pub dst: A,
    /// Source port after translation.
    pub sport: Be16,
    /// Destination port after translation.
    pub dport: Be16,
    /// See [`FlowFlags`].
    pub flags: FlowFlags,
    /// See [`crate::flags::flow_state`].
    pub state: u16,
    /// Seconds of the monotonic clock when a packet was last seen, to the second.
    pub last_seen: u32,
    /// Backend id; 0 if the client addressed the backend itself.
    pub backend: u32,
    /// The backend id's generation at selection.
    pub generation: u32,
    /// Service id.
    pub service: u32,
}

impl<A: Addr> Flow<A> {
    /// The tuple a packet has after translation.
    #[inline]
    pub const fn translated(&self, proto: u8) -> FlowKey<A> {
        FlowKey::new(self.src, self.dst, self.sport, self.dport, proto)
    }

    /// The key of the entry for the other direction: an answer to the translated packet.
    #[inline]
    pub const fn peer(&self, proto: u8) -> FlowKey<A> {
        self.translated(proto).reversed()
    }
}

/// Value of `FLOW_FILTER`: 1 for each end that connections had, 0 for others; see `path::filter`.
pub type FlowFilter = [u8; 1 << 16];

/// Value of FRAGMENTS: what became of the first part, for the later ones.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Fragment<A> {
    /// Source address after translation.
    pub src: A,
    /// Destination address after translation.
    pub dst: A,
    /// Flags of the flow.
    pub flags: FlowFlags,
    /// Zero.
    pub reserved: u16,
}

/// Value of DEVICES, by ifindex.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Device {
    /// See [`DeviceFlags`].
    pub flags: DeviceFlags,
    /// MTU in bytes, without the link-layer header.
    pub mtu: u32,
    /// Source address for IPv4 packets of our own that leave here; unspecified if none.
    pub src4: V4,
    /// Source address for IPv6 packets of our own that leave here; unspecified if none.
    pub src6: V6,
}

/// Destinations of one unconnected socket that the hooks remember at a time.
pub const SOCKET_PEERS: usize = 4;

/// One translation of a socket's destination; IPv4 in its mapped form.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SocketPeer {
    /// What the process addressed.
    pub frontend: V6,
    /// Where its packets go.
    pub backend: V6,
    /// Port of `frontend`.
    pub frontend_port: Be16,
    /// Port of `backend`.
    pub backend_port: Be16,
    /// Backend id, and its generation.
    pub id: u32,
    /// Generation of `id` at selection.
    pub generation: u32,
}

/// Value of SOCKETS: what recvmsg and getpeername need to hide the translation from the process.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Socket {
    /// The translations, a ring.
    pub peers: [SocketPeer; SOCKET_PEERS],
    /// The slot to overwrite next.
    pub next: u32,
}

/// Read-only settings of the eBPF programs, fixed when they are loaded.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Settings {
    /// Cookie of the node's network namespace; 0 is "the initial one".
    pub host_netns_cookie: u64,
    /// Seed of the flow hash: random per boot, kept over restarts.
    pub hash_seed: u32,
    /// See [`crate::flags::feature`].
    pub features: u32,
    /// Mark bit that asks for netfilter's masquerade.
    pub masquerade_mark: u32,
    /// Source address of hairpin connections (a pod that reaches itself).
    pub hairpin4: V4,
    /// The same for IPv6.
    pub hairpin6: V6,
    /// First source port that SNAT may use, host order.
    pub snat_port_min: u16,
    /// Last source port that SNAT may use, host order.
    pub snat_port_max: u16,
    /// One of [`crate::flags::detect`].
    pub detect: u32,
    /// The last set of EMBRYOS: their number, a power of two, less one. See [`crate::embryos`].
    pub embryo_mask: u32,
    /// Zero.
    pub reserved: u32,
}
