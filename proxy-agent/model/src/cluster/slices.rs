//! A slice comes, changes or goes. It may move from one Service to another.

use std::sync::Arc;

use super::{Cluster, EntryIndex, KnownSlice};
use crate::change::Kind;
use crate::ingest::Read;

impl Cluster {
    /// Makes `read` the slice of that name, under its Service, or none.
    pub(super) fn set_slice(&mut self, name: &str, read: Option<Read>) {
        let relist = self.relist(Kind::EndpointSlice);
        let old = self.slices.get(name).copied();
        let triggered = read.as_ref().and_then(|read| read.triggered);
        let new = read.map(|read| (self.entry(&read.service), read.slice));
        if let (Some(old), Some((index, slice))) = (old, &new)
            && old == *index
            && let Some(known) = self
                .known_slice(old, name)
                .filter(|known| known.slice == *slice)
        {
            known.relist = relist;
            return;
        }
        if old.is_some() || new.is_some() {
            self.counts.endpoint_changes = self.counts.endpoint_changes.saturating_add(1);
        }
        if let Some(old) = old {
            let gone = self.remove_slice(old, name);
            let stays = new.as_ref().is_some_and(|(index, _)| *index == old);
            if let Some(gone) = gone.filter(|_| !stays) {
                self.forget_triggers(old, &gone.slice.endpoints);
            }
        }
        if let Some((index, slice)) = new {
            self.record_trigger(index, &slice.endpoints, triggered);
            self.insert_slice(index, name, KnownSlice { slice, relist });
        }
        if let Some(old) = old {
            self.drop_entry_if_empty(old);
        }
    }

    pub(super) fn known_slice(&mut self, index: EntryIndex, name: &str) -> Option<&mut KnownSlice> {
        let slices = &mut self.entries.get_mut(index.0)?.slices;
        let at = slices
            .binary_search_by(|(known, _)| (**known).cmp(name))
            .ok()?;
        slices.get_mut(at).map(|(_, slice)| slice)
    }

    pub(super) fn remove_slice(&mut self, index: EntryIndex, name: &str) -> Option<KnownSlice> {
        self.slices.remove(name);
        let mut removed = None;
        if let Some(entry) = self.entries.get_mut(index.0)
            && let Ok(at) = entry
                .slices
                .binary_search_by(|(known, _)| (**known).cmp(name))
        {
            let (_, known) = entry.slices.remove(at);
            self.counts.endpoints = self
                .counts
                .endpoints
                .saturating_sub(known.slice.endpoints.len());
            removed = Some(known);
        }
        self.mark_entry(index);
        removed
    }

    pub(super) fn insert_slice(&mut self, index: EntryIndex, name: &str, slice: KnownSlice) {
        let name: Arc<str> = name.into();
        self.slices.insert(name.clone(), index);
        self.counts.endpoints = self
            .counts
            .endpoints
            .saturating_add(slice.slice.endpoints.len());
        if let Some(entry) = self.entries.get_mut(index.0)
            && let Err(at) = entry.slices.binary_search_by(|(known, _)| known.cmp(&name))
        {
            entry.slices.reserve_exact(1);
            entry.slices.insert(at, (name, slice));
        }
        self.mark_entry(index);
    }
}
