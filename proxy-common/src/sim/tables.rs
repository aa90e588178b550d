//! The maps and routes of one address family.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::vec::Vec;

use crate::addr::Addr;
use crate::flags::AddrFlags;
use crate::key::{AffinityKey, FlowKey, FragmentKey, FrontendKey, RangeKey};
use crate::limits;
use crate::path::{Exists, FlowHandle, Found, Route, filter};
use crate::sim::array::Array;
use crate::sim::embryos::Embryos;
use crate::value::{Affinity, Backend, Cidr, Flow, Fragment, Frontend, Settings};

/// A hash map of flows. Entries are shared with the handles that were looked up, as in the kernel.
#[derive(Debug)]
pub struct FlowTable<A: Addr> {
    capacity: usize,
    entries: RefCell<BTreeMap<FlowKey<A>, Handle<A>>>,
}

impl<A: Addr> FlowTable<A> {
    /// A table for `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: RefCell::default(),
        }
    }

    /// The entry under `key`.
    pub fn get(&self, key: &FlowKey<A>) -> Option<Flow<A>> {
        self.handle(key).map(|handle| handle.load())
    }

    /// All entries.
    pub fn all(&self) -> Vec<(FlowKey<A>, Flow<A>)> {
        let entries = self.entries.borrow();
        entries
            .iter()
            .map(|(key, handle)| (*key, handle.load()))
            .collect()
    }

    /// Adds or replaces an entry, whatever the capacity.
    pub fn put(&self, key: FlowKey<A>, flow: Flow<A>) {
        self.entries.borrow_mut().insert(key, Handle::new(flow));
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    pub(super) fn handle(&self, key: &FlowKey<A>) -> Option<Handle<A>> {
        self.entries.borrow().get(key).cloned()
    }

    pub(super) fn remove(&self, key: &FlowKey<A>) -> bool {
        self.entries.borrow_mut().remove(key).is_some()
    }

    pub(super) fn insert(&self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), Exists> {
        let mut entries = self.entries.borrow_mut();
        match entries.get(key) {
            Some(_) => return Err(Exists::Taken),
            None if entries.len() >= self.capacity => return Err(Exists::Full),
            None => {}
        }
        entries.insert(*key, Handle::new(*flow));
        Ok(())
    }
}

/// An entry that was looked up.
#[derive(Clone, Debug)]
pub struct Handle<A: Addr>(Rc<Cell<Flow<A>>>);

impl<A: Addr> Handle<A> {
    pub(super) fn new(flow: Flow<A>) -> Self {
        Self(Rc::new(Cell::new(flow)))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Flow<A>)) {
        let mut flow = self.0.get();
        change(&mut flow);
        self.0.set(flow);
    }
}

impl<A: Addr> FlowHandle<A> for Handle<A> {
    fn load(&self) -> Flow<A> {
        self.0.get()
    }

    fn touch(&self, now: u32) {
        self.change(|flow| flow.last_seen = now);
    }

    fn add_state(&self, bits: u16) {
        self.change(|flow| flow.state |= bits);
    }

    fn leads_to(&self, key: &FlowKey<A>) -> bool {
        self.load().peer(key.proto) == *key
    }
}

/// Where packets to a range of addresses go.
#[derive(Clone, Copy, Debug)]
pub struct NextHop<A> {
    /// First address of the range.
    pub net: A,
    /// Length of the prefix in bits.
    pub bits: u32,
    /// Device to leave by.
    pub ifindex: u32,
    /// That device's MTU.
    pub mtu: u32,
    /// Destination and source MAC address, if the neighbour is known.
    pub macs: Option<[u8; 12]>,
}

/// Maps and routes of one family. What the agent writes is plain; what packets write is behind cells.
#[derive(Debug)]
pub struct Family<A: Addr> {
    /// FRONTENDS.
    pub frontends: BTreeMap<FrontendKey<A>, Frontend>,
    /// BACKENDS.
    pub backends: Array<Backend<A>>,
    /// ADDRS.
    pub addrs: BTreeMap<A, AddrFlags>,
    /// `SOURCE_RANGES`: networks, with the bits of their prefixes and the 32 of the set.
    pub ranges: BTreeSet<RangeKey<A>>,
    /// CIDRS.
    pub cidrs: [Cidr<A>; limits::CIDRS as usize],
    /// AFFINITY. Nothing is evicted: it must not fill in a test.
    pub affinity: RefCell<BTreeMap<AffinityKey<A>, Affinity<A>>>,
    /// FLOWS.
    pub flows: FlowTable<A>,
    /// EMBRYOS.
    pub embryos: Embryos<A>,
    /// `FLOW_FILTER`: the bytes that are set.
    pub filter: RefCell<BTreeSet<u16>>,
    /// FRAGMENTS.
    pub fragments: RefCell<BTreeMap<FragmentKey<A>, Fragment<A>>>,
    /// The longest prefix wins.
    pub routes: Vec<NextHop<A>>,
}

impl<A: Addr> Family<A> {
    /// Empty, with room for `flows` entries in FLOWS.
    pub(super) fn new(flows: usize, settings: &Settings) -> Self {
        Self {
            frontends: BTreeMap::new(),
            backends: Array::new(limits::BACKENDS),
            addrs: BTreeMap::new(),
            ranges: BTreeSet::new(),
            cidrs: [Cidr::default(); limits::CIDRS as usize],
            affinity: RefCell::default(),
            flows: FlowTable::new(flows),
            embryos: Embryos::new(settings),
            filter: RefCell::default(),
            fragments: RefCell::default(),
            routes: Vec::new(),
        }
    }

    /// Adds a flow as if a connection had made it.
    pub fn put_flow(&self, key: FlowKey<A>, flow: Flow<A>) {
        self.note(&key);
        self.flows.put(key, flow);
    }

    /// Adds an entry to EMBRYOS as if a connection had made it.
    pub fn put_embryo(&self, key: FlowKey<A>, flow: Flow<A>) {
        self.note(&key);
        self.embryos.put(key, flow);
    }

    fn note(&self, key: &FlowKey<A>) {
        self.filter.borrow_mut().extend(filter::places(key));
    }

    pub(super) fn age(&self, seconds: u32) {
        let older = |handle: &Handle<A>| {
            handle.change(|flow| flow.last_seen = flow.last_seen.wrapping_sub(seconds));
        };
        self.flows.entries.borrow().values().for_each(older);
        self.embryos.each(|_key, handle| older(handle));
        for record in self.affinity.borrow_mut().values_mut() {
            record.last_new = record.last_new.wrapping_sub(seconds);
        }
    }

    /// All records of AFFINITY.
    pub fn affinity_records(&self) -> Vec<(AffinityKey<A>, Affinity<A>)> {
        let records = self.affinity.borrow();
        records.iter().map(|(key, value)| (*key, *value)).collect()
    }

    /// A lookup in `SOURCE_RANGES`.
    pub(super) fn in_range(&self, key: &RangeKey<A>) -> bool {
        self.ranges.iter().any(|range| {
            let bits = range.prefix.saturating_sub(32);
            range.prefix <= key.prefix
                && range.set == key.set
                && prefix(range.addr, bits) == prefix(key.addr, bits)
        })
    }

    /// `bpf_fib_lookup` for a packet that takes `length` bytes behind its link-layer header; `None` skips that check.
    pub(super) fn route(&self, src: A, dst: A, length: Option<u32>) -> Route {
        // The kernel forwards neither from nor to these.
        if strict(src) || strict(dst) {
            return Route::default();
        }
        let hop = self
            .routes
            .iter()
            .filter(|hop| prefix(hop.net, hop.bits) == prefix(dst, hop.bits));
        let Some(hop) = hop.max_by_key(|hop| hop.bits) else {
            return Route::default();
        };
        let Some(macs) = hop.macs else {
            return Route {
                found: Found::Device,
                ifindex: hop.ifindex,
                macs: [0; 3],
            };
        };
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(macs.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        // is_skb_forwardable() leaves room for a VLAN header.
        let too_big = length.is_some_and(|length| length > hop.mtu.saturating_add(4));
        let found = if too_big {
            Found::TooBig
        } else {
            Found::Neighbour
        };
        Route {
            found,
            ifindex: hop.ifindex,
            macs: words,
        }
    }
}

/// IPv6 multicast, link-local and loopback addresses.
fn strict<A: Addr>(addr: A) -> bool {
    let first = crate::be::halves(addr.words()[0]).0.get();
    A::IS_V6 && (first >> 8 == 0xff || first & 0xffc0 == 0xfe80 || addr.is_loopback())
}

/// The first `bits` bits of an address.
fn prefix<A: Addr>(addr: A, bits: u32) -> u128 {
    let number = match addr.ip() {
        core::net::IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        core::net::IpAddr::V6(ip) => u128::from(ip),
    };
    number.checked_shr(128 - bits).unwrap_or(0)
}
