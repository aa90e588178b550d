//! Which file has which object, and what the planner was told of it. There may be hundreds of thousands: a name is kept once.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use proxy_model::{Kind, Object, ObjectRef};

use crate::objects::meta;

/// An object's name in one piece; clones share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    kind: Kind,
    /// The namespace, then the name.
    text: Arc<str>,
    /// Bytes of the namespace.
    namespace: u32,
}

impl Name {
    pub(super) fn of(object: &Object) -> Self {
        let kind = match object {
            Object::Service(_) => Kind::Service,
            Object::EndpointSlice(_) => Kind::EndpointSlice,
            Object::Node(_) => Kind::Node,
            Object::ServiceCidr(_) => Kind::ServiceCidr,
        };
        let meta = meta(object);
        Self::new(kind, &meta.namespace, &meta.name)
    }

    pub(super) fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            text: [namespace, name].concat().into(),
            // No file of that size is read into memory.
            namespace: u32::try_from(namespace.len()).unwrap_or(u32::MAX),
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn reference(&self) -> ObjectRef {
        let split = self.text.split_at_checked(self.namespace as usize);
        let (namespace, name) = split.unwrap_or_default();
        ObjectRef {
            kind: self.kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// A file's name.
pub(super) type FileName = Arc<Path>;

/// An object that a file holds, or that the planner knows.
#[derive(Debug, Default)]
struct Known {
    /// The first file by name that holds it.
    file: Option<FileName>,
    /// Fingerprint of what the planner was told.
    told: Option<u64>,
}

/// All objects of a directory.
#[derive(Debug, Default)]
pub(super) struct Index {
    known: HashMap<Name, Known>,
    /// The other files that hold an object.
    others: HashMap<Name, BTreeSet<FileName>>,
}

impl Index {
    /// `file` holds the object.
    pub(super) fn hold(&mut self, name: Name, file: &FileName) {
        let first = &mut self.known.entry(name.clone()).or_default().file;
        let other = match first {
            None => {
                *first = Some(file.clone());
                return;
            }
            Some(first) if *file < *first => std::mem::replace(first, file.clone()),
            Some(first) if *file == *first => return,
            Some(_) => file.clone(),
        };
        self.others.entry(name).or_default().insert(other);
    }

    /// `file` does not hold the object any more.
    pub(super) fn leave(&mut self, name: &Name, file: &FileName) {
        let Some(Known { file: first, .. }) = self.known.get_mut(name) else {
            return;
        };
        let Some(others) = self.others.get_mut(name) else {
            first.take_if(|first| first == file);
            return;
        };
        if first.as_ref() == Some(file) {
            *first = others.pop_first();
        } else {
            others.remove(file);
        }
        if others.is_empty() {
            self.others.remove(name);
        }
    }

    /// The file whose object counts: the first by name.
    pub(super) fn winner(&self, name: &Name) -> Option<&FileName> {
        self.known.get(name)?.file.as_ref()
    }

    /// The files that hold the object in vain.
    pub(super) fn losers(&self, name: &Name) -> Option<&BTreeSet<FileName>> {
        self.others.get(name)
    }

    /// What the planner was told of the object.
    pub(super) fn told(&self, name: &Name) -> Option<u64> {
        self.known.get(name)?.told
    }

    /// The planner was told this of the object.
    pub(super) fn tell(&mut self, name: Name, print: u64) {
        self.known.entry(name).or_default().told = Some(print);
    }

    /// No file holds the object any more; whether the planner knows it.
    pub(super) fn forget(&mut self, name: Name) -> bool {
        match self.known.entry(name) {
            Entry::Occupied(known) => known.remove().told.is_some(),
            Entry::Vacant(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proxy_model::raw;

    use super::*;

    fn service(namespace: &str, name: &str) -> Name {
        let mut service = raw::Service::default();
        namespace.clone_into(&mut service.metadata.namespace);
        name.clone_into(&mut service.metadata.name);
        Name::of(&Object::Service(service))
    }

    #[test]
    fn names_stay_what_they_are() {
        for (namespace, name) in [
            ("d", "web"),
            ("", "web"),
            ("dw", "eb"),
            ("", ""),
            ("é", "ü"),
        ] {
            let reference = service(namespace, name).reference();
            assert_eq!((&*reference.namespace, &*reference.name), (namespace, name));
        }
        assert_ne!(service("d", "web"), service("dw", "eb"));
    }

    #[test]
    fn first_file_by_name_counts_in_whatever_order_they_come_and_go() {
        let file = |name: &str| FileName::from(Path::new(name));
        let (a, b, c) = (file("a"), file("b"), file("c"));
        let web = service("d", "web");
        let mut index = Index::default();
        for file in [&b, &a, &c, &b] {
            index.hold(web.clone(), file);
        }
        assert_eq!(index.winner(&web), Some(&a));
        assert_eq!(index.losers(&web).map(BTreeSet::len), Some(2));
        index.leave(&web, &b);
        assert_eq!(index.winner(&web), Some(&a));
        index.leave(&web, &a);
        assert_eq!((index.winner(&web), index.losers(&web)), (Some(&c), None));
        index.tell(web.clone(), 7);
        index.leave(&web, &c);
        assert_eq!((index.winner(&web), index.told(&web)), (None, Some(7)));
        assert!(index.forget(web.clone()) && !index.forget(web));
    }
}
