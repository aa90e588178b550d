//! EMBRYOS in memory: the sets of [`crate::embryos`], those that were ever used.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use crate::addr::Addr;
use crate::embryos::{EmbryoSet, Header, Opaque, Place, WAYS, claimed, find, refuses, same};
use crate::key::FlowKey;
use crate::path::FlowHandle as _;
use crate::reason::Reason;
use crate::sim::tables::Handle;
use crate::value::{Flow, Settings};

struct Plain;

impl Opaque for Plain {}

/// A table of embryos.
#[derive(Debug)]
pub struct Embryos<A: Addr> {
    seed: u32,
    mask: u32,
    sets: RefCell<BTreeMap<u32, Set<A>>>,
}

#[derive(Debug)]
struct Set<A: Addr> {
    header: Header,
    ways: [Option<(FlowKey<A>, Handle<A>)>; WAYS],
}

impl<A: Addr> Set<A> {
    fn new() -> Self {
        Self {
            header: Header::default(),
            ways: [const { None }; WAYS],
        }
    }

    /// Number of the entry under `key`.
    fn way(&self, key: &FlowKey<A>, tag: u32) -> Option<u32> {
        let found = find::<Plain>(&self.header.tags, tag);
        let way = found & 7;
        let is = self.ways[way as usize]
            .as_ref()
            .is_some_and(|(other, _)| same::<Plain, A>(other, key) != 0);
        (found != 0 && is).then_some(way)
    }
}

impl<A: Addr> Embryos<A> {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            seed: settings.hash_seed,
            mask: settings.embryo_mask,
            sets: RefCell::default(),
        }
    }

    fn place(&self, key: &FlowKey<A>) -> Place {
        Place::of(key, self.seed, self.mask)
    }

    /// The entry under `key`.
    pub fn get(&self, key: &FlowKey<A>) -> Option<Flow<A>> {
        self.handle(key).map(|handle| handle.load())
    }

    /// All entries, in the order of their keys.
    pub fn all(&self) -> Vec<(FlowKey<A>, Flow<A>)> {
        let mut all = Vec::new();
        self.each(|key, handle| all.push((*key, handle.load())));
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// The sets that were ever used, as they lie in the map.
    pub fn sets(&self) -> Vec<(u32, EmbryoSet<A>)> {
        let sets = self.sets.borrow();
        sets.iter()
            .map(|(index, set)| {
                let mut element = EmbryoSet::default();
                element.header = set.header;
                for (to, way) in element.ways.iter_mut().zip(&set.ways) {
                    if let Some((key, handle)) = way {
                        (to.key, to.flow) = (*key, handle.load());
                    }
                }
                (*index, element)
            })
            .collect()
    }

    /// Adds or replaces an entry.
    pub fn put(&self, key: FlowKey<A>, flow: Flow<A>) {
        self.remove(&key);
        self.claim(&key, &flow, 0);
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        let mut number = 0;
        self.each(|_key, _handle| number += 1);
        number
    }

    pub(super) fn each(&self, mut see: impl FnMut(&FlowKey<A>, &Handle<A>)) {
        for set in self.sets.borrow().values() {
            for (way, tag) in set.ways.iter().zip(set.header.tags) {
                if let Some((key, handle)) = way
                    && tag != 0
                {
                    see(key, handle);
                }
            }
        }
    }

    pub(super) fn handle(&self, key: &FlowKey<A>) -> Option<Handle<A>> {
        let place = self.place(key);
        let sets = self.sets.borrow();
        let set = sets.get(&place.set)?;
        let way = set.way(key, place.tag)?;
        set.ways[way as usize]
            .as_ref()
            .map(|(_, handle)| handle.clone())
    }

    pub(super) fn remove(&self, key: &FlowKey<A>) {
        let place = self.place(key);
        if let Some(set) = self.sets.borrow_mut().get_mut(&place.set)
            && let Some(way) = set.way(key, place.tag)
        {
            set.header.free(way);
        }
    }

    pub(super) fn claim(&self, key: &FlowKey<A>, flow: &Flow<A>, patience: u32) -> Reason {
        let place = self.place(key);
        let mut sets = self.sets.borrow_mut();
        let set = sets.entry(place.set).or_insert_with(Set::new);
        let known = set
            .way(key, place.tag)
            .and_then(|way| set.ways[way as usize].as_ref());
        let refused = known.map_or(0, |(_, handle)| {
            refuses::<Plain, A>(&handle.load(), flow, patience)
        });
        if refused == 0 {
            let way = set.header.room::<Plain>(place.tag);
            set.header.take(way, place.tag);
            set.ways[way as usize] = Some((*key, Handle::new(*flow)));
        }
        claimed(refused)
    }
}
