//! The seams between the path and its two bodies: packet, tables, environment, verdict.

use crate::addr::Addr;
use crate::be::Be16;
use crate::explain::Fact;
use crate::flags::{AddrFlags, feature};
use crate::key::{AffinityKey, FlowKey, FragmentKey, FrontendKey, RangeKey};
use crate::path::csum::Delta;
use crate::reason::Reason;
use crate::value::{
    Affinity, Backend, BackendState, Cidr, Device, Flow, Fragment, Frontend, LutWord, SocketPeer,
};

/// Which part of a layer 4 checksum a change belongs to; offloads treat them differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Covers {
    /// The pseudo header: addresses.
    PseudoHeader,
    /// The segment itself: ports, payload.
    Segment,
}

/// The `gso_size` of a packet whose segments are of different lengths: SCTP's.
pub const GSO_BY_FRAGS: u32 = 0xffff;

/// A packet, by offsets from its first byte. All numbers are as they lie in memory.
pub trait Packet {
    /// Length of the link-layer header: 14, or 0 on devices without one.
    const L2: u32;

    /// The `EtherType`.
    fn ethertype(&self) -> Be16;
    /// Bytes in the packet, link-layer header included.
    fn len(&self) -> u32;
    /// Whether there is nothing in the packet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Makes headers readable that are not plain TCP or UDP; whether more can be read than before.
    fn pull(&mut self) -> bool;
    /// The longest layer 3 packet that will be made of this one, in bytes: with GSO a segment behind `headers` bytes of
    /// headers, else the whole. SCTP's segments ([`GSO_BY_FRAGS`]) have any length; their sender made them fit its path.
    fn segment_len(&self, headers: u32) -> u32;
    /// `N` words at `offset`; `None` past the end.
    fn words<const N: usize>(&self, offset: u32) -> Option<[u32; N]>;
    /// Writes `N` words at `offset`.
    fn set_words<const N: usize>(&mut self, offset: u32, words: [u32; N]) -> Option<()>;
    /// Two bytes at `offset`.
    fn half(&self, offset: u32) -> Option<Be16>;
    /// Writes two bytes at `offset`.
    fn set_half(&mut self, offset: u32, half: Be16) -> Option<()>;
    /// Applies `delta` to the layer 4 checksum at `offset`. With `udp`, a zero field is left alone (RFC 768) and a zero
    /// result becomes 0xffff.
    fn update_csum(
        &mut self,
        offset: u32,
        delta: Delta,
        covers: Covers,
        udp: bool,
        v6: bool,
    ) -> Option<()>;
    /// Makes the packet `len` bytes long, cutting or adding zeros at its end.
    fn resize(&mut self, len: u32) -> Option<()>;
}

/// An entry of FLOWS or EMBRYOS that can be changed where it lies.
pub trait FlowHandle<A> {
    /// A copy of the entry.
    fn load(&self) -> Flow<A>;
    /// Notes that a packet was seen in second `now`; stores at most once a second.
    fn touch(&self, now: u32);
    /// Sets bits of the state.
    fn add_state(&self, bits: u16);
    /// Whether an answer to the translated packet has the tuple `key`.
    fn leads_to(&self, key: &FlowKey<A>) -> bool;
}

/// Why an insert did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exists {
    /// The key is there already.
    Taken,
    /// The map is full.
    Full,
}

/// The Services of one address family.
pub trait Services<A: Addr> {
    /// FRONTENDS: the value where it lies. Read it once and at once: the agent may replace it, and the kernel then gives its
    /// memory to another frontend.
    fn frontend(&self, key: &FrontendKey<A>) -> Option<&Frontend>;
    /// BACKENDS.
    fn backend(&self, slot: u32) -> Option<Backend<A>>;
    /// ADDRS.
    fn addr(&self, addr: &A) -> Option<AddrFlags>;
    /// `SOURCE_RANGES`: whether a range of the key's set holds its address.
    fn in_range(&self, key: &RangeKey<A>) -> bool;
    /// CIDRS: the element where it lies.
    fn cidr(&self, index: u32) -> Option<&Cidr<A>>;
    /// AFFINITY.
    fn affinity(&self, key: &AffinityKey<A>) -> Option<Affinity<A>>;
    /// Adds to AFFINITY or replaces.
    fn affinity_insert(&self, key: &AffinityKey<A>, affinity: &Affinity<A>);
}

/// All maps of one address family, and its routes.
pub trait Tables<A: Addr>: Services<A> {
    /// See [`FlowHandle`].
    type Flow: FlowHandle<A>;

    /// FLOWS.
    fn flow(&self, key: &FlowKey<A>) -> Option<Self::Flow>;
    /// Adds to FLOWS if the key is not there.
    fn flow_insert(&self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), Exists>;
    /// Removes from FLOWS; whether it was there.
    fn flow_remove(&self, key: &FlowKey<A>) -> bool;
    /// EMBRYOS.
    fn embryo(&self, key: &FlowKey<A>) -> Option<Self::Flow>;
    /// Adds to EMBRYOS: [`Reason::NewFlow`]. Unless the key is another's who has heard nothing for less than `patience` seconds:
    /// [`Reason::TupleTaken`], or the very same connection's: [`Reason::Retransmitted`]. Of all who claim a key at once one gets it.
    /// `place` is from [`Tables::embryo_place`].
    fn embryo_claim(&self, place: u64, key: &FlowKey<A>, flow: &Flow<A>, patience: u32) -> Reason;
    /// Where the key belongs in EMBRYOS. Memory that a claim will need is on its way afterwards: ask early.
    fn embryo_place(&self, key: &FlowKey<A>) -> u64;
    /// Removes from EMBRYOS, if it is there.
    fn embryo_remove(&self, key: &FlowKey<A>);
    /// `FLOW_FILTER`: whether an end was noted there.
    fn noted(&self, place: u16) -> bool;
    /// Notes an end in `FLOW_FILTER`.
    fn note_end(&self, place: u16);
    /// FRAGMENTS.
    fn fragment(&self, key: &FragmentKey<A>) -> Option<Fragment<A>>;
    /// Adds to FRAGMENTS or replaces.
    fn fragment_insert(&self, key: &FragmentKey<A>, fragment: &Fragment<A>);
    /// A route lookup for a packet that entered by `ifindex`.
    fn route(&self, ifindex: u32, src: A, dst: A) -> Route;
}

/// A socket's translations, where they lie. See [`crate::value::Socket`].
pub trait SocketHandle {
    /// Translation `index`.
    fn peer(&self, index: usize) -> Option<SocketPeer>;
    /// Replaces translation `index`.
    fn set_peer(&self, index: usize, peer: &SocketPeer);
    /// The slot to overwrite next.
    fn next(&self) -> u32;
    /// Moves it.
    fn set_next(&self, next: u32);
}

/// What the socket hooks know of the calling socket.
pub trait SocketTables {
    /// See [`SocketHandle`].
    type Socket: SocketHandle;

    /// SOCKETS: the calling socket's translations, made if `create` says so.
    fn socket(&self, create: bool) -> Option<Self::Socket>;
    /// Whether the call is `connect()`: the destination is the socket's until the next one.
    fn connects(&self) -> bool;
    /// CONNECTED: records where the calling socket is connected to, for the agent.
    fn connected(&self, peer: &SocketPeer);
    /// 32 random bits.
    fn random(&self) -> u32;
    /// The address that the socket is bound to; unspecified if to none.
    fn bound<A: Addr>(&self) -> A;
}

/// Time, backends' states, choices, counters.
pub trait Env {
    /// A zero of which the compiler does not know that it is one. What is filled with a known zero, to be overwritten by a
    /// callee, becomes a call of memset, byte by byte; that cost more than all the rest of a packet's way.
    fn zero(&self) -> u32 {
        0
    }
    /// Seconds of the monotonic clock.
    fn now(&self) -> u32;
    /// Whether [`crate::value::Settings::features`] has `feature`.
    fn has(&self, feature: u32) -> bool;
    /// `BACKEND_STATE`.
    fn backend_state(&self, id: u32) -> Option<BackendState>;
    /// Adds one to a backend's open connections, or with `open: false` takes one away, unless the id has another owner by now.
    fn count_connection(&self, id: u32, generation: u32, open: bool);
    /// LUT.
    fn lut(&self, word: u32) -> Option<LutWord>;
    /// TURNS: whose turn it is at a Service.
    fn turn(&self, service: u32) -> u32;
    /// Moves the turn on.
    fn next_turn(&self, service: u32);
    /// Counts an outcome.
    fn count(&self, reason: Reason);
    /// With [`feature::DRY_RUN`]: the number of the backend to choose, in its slice.
    fn candidate(&self) -> u32;
    /// With [`feature::DRY_RUN`]: tells `explain` a fact.
    fn note(&self, fact: Fact, value: u32);
    /// Whether nothing may be recorded.
    fn dry(&self) -> bool {
        self.has(feature::DRY_RUN)
    }
}

/// The device by which a packet came or goes, and the settings for packets. Those stand in
/// [`crate::value::Settings`]; one function each, since the kernel body reads each from memory.
pub trait Interface: Env {
    /// Whether this hook leaves all but redirected traffic to TC.
    const XDP: bool;

    /// Its ifindex.
    fn ifindex(&self) -> u32;
    /// DEVICES.
    fn device(&self, ifindex: u32) -> Option<Device>;
    /// One of [`crate::flags::detect`].
    fn detect(&self) -> u32;
    /// Seed of the flow hash.
    fn hash_seed(&self) -> u32;
    /// First and last source port of SNAT.
    fn snat_ports(&self) -> (u16, u16);
    /// Mark bit that asks for netfilter's masquerade.
    fn masquerade_mark(&self) -> u32;
    /// Source address of hairpin connections.
    fn hairpin<A: Addr>(&self) -> A;
}

/// Result of a route lookup. All fields are always written: the verifier takes a value that might not be for an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Route {
    /// What was found.
    pub found: Found,
    /// Device to leave by.
    pub ifindex: u32,
    /// Destination and source MAC address, 12 bytes, with [`Found::Neighbour`].
    pub macs: [u32; 3],
}

/// What a route lookup found.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Found {
    /// No route, or to this host.
    #[default]
    Nowhere = 0,
    /// A route, and the neighbour's address.
    Neighbour = 1,
    /// A route whose neighbour is not known yet.
    Device = 2,
    /// A route whose MTU is smaller than the packet.
    TooBig = 3,
}

/// What becomes of the packet, in one register: programs call functions that return this, and the target has only one.
#[must_use]
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict(u64);

/// A [`Verdict`] unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// On to the stack and other programs, as it now is.
    Pass,
    /// The same, with these bits set in the mark.
    Mark(u32),
    /// Out of the device it came in by; at egress, in by the device it was to leave by.
    Back,
    /// Out of this device; the link-layer header is complete.
    Redirect(u32),
    /// Out of this device; the kernel finds the neighbour.
    RedirectNeigh(u32),
    /// Into the pod at the other end of this device; the link-layer header is complete.
    RedirectPeer(u32),
    /// Gone.
    Drop,
}

impl Verdict {
    /// [`Action::Pass`].
    pub const PASS: Self = Self(0);
    /// [`Action::Back`].
    pub const BACK: Self = Self(2 << 32);
    /// [`Action::Drop`].
    pub const DROP: Self = Self(5 << 32);

    /// [`Action::Mark`].
    #[inline]
    pub const fn mark(bits: u32) -> Self {
        Self(1 << 32 | bits as u64)
    }

    /// [`Action::Redirect`].
    #[inline]
    pub const fn redirect(ifindex: u32) -> Self {
        Self(3 << 32 | ifindex as u64)
    }

    /// [`Action::RedirectNeigh`].
    #[inline]
    pub const fn redirect_neigh(ifindex: u32) -> Self {
        Self(4 << 32 | ifindex as u64)
    }

    /// [`Action::RedirectPeer`].
    #[inline]
    pub const fn redirect_peer(ifindex: u32) -> Self {
        Self(6 << 32 | ifindex as u64)
    }

    /// The packed form.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Verdict::bits`].
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Unpacked.
    #[inline]
    pub const fn action(self) -> Action {
        let value = self.0 as u32;
        match self.0 >> 32 {
            0 => Action::Pass,
            1 => Action::Mark(value),
            2 => Action::Back,
            3 => Action::Redirect(value),
            4 => Action::RedirectNeigh(value),
            6 => Action::RedirectPeer(value),
            _ => Action::Drop,
        }
    }
}
