//! A slice comes, changes or goes. It may move from one Service to another.

use std::sync::Arc;

use super::{Cluster, EntryIndex, KnownSlice};
use crate::change::Kind;
use crate::endpoint::EndpointSlice;

impl Cluster {
    /// Makes `slice` the slice of that name, under the Service named with it, or none.
    pub(super) fn set_slice(&mut self, name: &str, slice: Option<(String, EndpointSlice)>) {
        let relist = self.relist(Kind::EndpointSlice);
        let old = self.slices.get(name).copied();
        let new = slice.map(|(service, slice)| (self.entry(&service), slice));
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
            self.remove_slice(old, name);
        }
        if let Some((index, slice)) = new {
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

    pub(super) fn remove_slice(&mut self, index: EntryIndex, name: &str) {
        self.slices.remove(name);
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
        }
        self.mark_entry(index);
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
