//! Which problems there are, and which were reported: each once, until it changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::{Kind, ObjectRef};
use crate::error::{ObjectError, ObjectErrorKind};

/// Who found a problem; each finder replaces only its own findings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Finder {
    /// Reading the object.
    Ingest,
    /// Frontends that another Service has.
    Claims,
    /// A full map.
    Room,
    /// The node's addresses.
    Node,
    /// Maglev tables.
    Tables,
}

#[derive(Clone, Debug, Default)]
struct Record {
    uid: String,
    found: BTreeMap<Finder, Vec<ObjectErrorKind>>,
    reported: Vec<ObjectErrorKind>,
    relist: u32,
}

impl Record {
    fn kinds(&self) -> impl Iterator<Item = &ObjectErrorKind> {
        self.found.values().flatten()
    }
}

/// The problems of all objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errors {
    records: BTreeMap<ObjectRef, Record>,
    changed: BTreeSet<ObjectRef>,
}

impl Errors {
    /// How many objects have a problem.
    pub(crate) fn objects(&self) -> usize {
        self.records
            .values()
            .filter(|record| !record.found.is_empty())
            .count()
    }

    /// Replaces the findings of `finder` about `object`. `relist` is the number of the list that showed the object.
    pub(crate) fn set(
        &mut self,
        object: &ObjectRef,
        uid: &str,
        finder: Finder,
        found: Vec<ObjectErrorKind>,
        relist: u32,
    ) {
        if found.is_empty() && !self.records.contains_key(object) {
            return;
        }
        let record = self.records.entry(object.clone()).or_default();
        record.relist = relist;
        uid.clone_into(&mut record.uid);
        if found.is_empty() {
            record.found.remove(&finder);
        } else {
            record.found.insert(finder, found);
        }
        self.changed.insert(object.clone());
    }

    /// The object is there, but nothing of it is served: only `finder` can have anything against it.
    pub(crate) fn clear_all_but(&mut self, object: &ObjectRef, finder: Finder) {
        if let Some(record) = self.records.get_mut(object) {
            record.found.retain(|found_by, _| *found_by == finder);
            self.changed.insert(object.clone());
        }
    }

    /// The object is gone, and its problems with it.
    pub(crate) fn remove(&mut self, object: &ObjectRef) {
        self.records.remove(object);
        self.changed.remove(object);
    }

    /// Forgets unreadable objects of `kind` that the newest list did not show.
    pub(crate) fn end_relist(&mut self, kind: Kind, relist: u32) {
        self.records
            .retain(|object, record| object.kind != kind || record.relist == relist);
    }

    /// What was not reported yet.
    pub(crate) fn take(&mut self) -> Vec<ObjectError> {
        let mut news = Vec::new();
        for object in std::mem::take(&mut self.changed) {
            let Some(record) = self.records.get_mut(&object) else {
                continue;
            };
            let kinds: Vec<ObjectErrorKind> = record.kinds().cloned().collect();
            for kind in kinds.iter().filter(|kind| !record.reported.contains(kind)) {
                news.push(ObjectError {
                    object: object.clone(),
                    uid: record.uid.clone(),
                    kind: kind.clone(),
                });
            }
            if kinds.is_empty() {
                self.records.remove(&object);
            } else {
                record.reported = kinds;
            }
        }
        news
    }
}
