//! One hash map of the kernel: typed, batched, with the element that failed named.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;

use aya::Pod;

use crate::error::{Error, Result};
use crate::schema::MapSpec;
use crate::sys::bpf::{Access, map_info, open_pinned_map};
use crate::sys::elements::{self, Cursor};

/// Elements a walk asks for at a time.
const BATCH: usize = 4096;

/// A map that is known to be what its description says.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) spec: &'static MapSpec,
    pub(crate) fd: OwnedFd,
    pub(crate) max_entries: u32,
}

/// A hash map or trie with keys K and values V, or an array with index K.
pub(crate) struct Table<K, V> {
    handle: Handle,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("map", &self.handle.spec.name)
            .finish_non_exhaustive()
    }
}

/// Opens the map pinned at `path` after comparing its shape with `spec`.
pub(crate) fn open_checked(
    spec: &'static MapSpec,
    path: &std::path::Path,
    access: Access,
) -> Result<Handle> {
    let fd = open_pinned_map(path, access).map_err(Error::io("open", path))?;
    Handle::checked(spec, fd, path)
}

impl Handle {
    /// Takes `fd`, which was found at `path`, if it is what `spec` says.
    pub(crate) fn checked(
        spec: &'static MapSpec,
        fd: OwnedFd,
        path: &std::path::Path,
    ) -> Result<Self> {
        let info = map_info(&fd).map_err(Error::map(spec.name, "reading its shape"))?;
        if (info.kind, info.key_size, info.value_size)
            != (spec.kind, spec.key_size, spec.value_size)
        {
            let shape = |kind, key, value| {
                format!("of type {kind} with keys of {key} and values of {value} bytes")
            };
            return Err(Error::Layout {
                name: spec.name,
                path: path.to_path_buf(),
                found: shape(info.kind, info.key_size, info.value_size),
                expected: shape(spec.kind, spec.key_size, spec.value_size),
            });
        }
        Ok(Self {
            spec,
            fd,
            max_entries: info.max_entries,
        })
    }

    /// Another one of the same map.
    pub(crate) fn duplicate(&self) -> Result<Self> {
        let fd = self
            .fd
            .try_clone()
            .map_err(Error::map(self.spec.name, "duplicating its handle"))?;
        Ok(Self { fd, ..*self })
    }
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// The map behind `handle`.
    pub(crate) fn of(handle: Handle) -> Self {
        // The system calls below read and write as many bytes as the map says: K and V must be of exactly its sizes.
        assert_eq!(
            (
                handle.spec.key_size as usize,
                handle.spec.value_size as usize
            ),
            (size_of::<K>(), size_of::<V>()),
            "{}",
            handle.spec.name
        );
        Self {
            handle,
            types: PhantomData,
        }
    }

    /// Another handle.
    pub(crate) fn duplicate(&self) -> Result<Self> {
        self.handle.duplicate().map(Self::of)
    }

    pub(crate) fn spec(&self) -> &'static MapSpec {
        self.handle.spec
    }

    pub(crate) fn name(&self) -> &'static str {
        self.handle.spec.name
    }

    pub(crate) fn max_entries(&self) -> u32 {
        self.handle.max_entries
    }

    /// Sets one element.
    pub(crate) fn update(&self, key: &K, value: &V) -> Result<()> {
        elements::update(&self.handle.fd, key, value)
            .map_err(Error::map(self.name(), "setting an element"))
    }

    /// Sets one element unless it is there; whether it was not.
    pub(crate) fn insert(&self, key: &K, value: &V) -> Result<bool> {
        match elements::insert(&self.handle.fd, key, value) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(Error::map(self.name(), "setting an element")(error)),
        }
    }

    /// Removes one element, if it is there; whether it was.
    pub(crate) fn delete(&self, key: &K) -> Result<bool> {
        match elements::delete(&self.handle.fd, key) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(Error::map(self.name(), "removing an element")(error)),
        }
    }

    /// Reads one element.
    pub(crate) fn lookup(&self, key: &K) -> Result<Option<V>> {
        elements::lookup(&self.handle.fd, key)
            .map_err(Error::map(self.name(), "reading an element"))
    }

    /// Sets elements; `refused` hears of each one that the kernel did not take, the rest goes in.
    pub(crate) fn update_all(&self, keys: &[K], values: &[V], refused: impl FnMut(&K, io::Error)) {
        let batch = |at: usize| {
            elements::update_batch(
                &self.handle.fd,
                keys.get(at..).unwrap_or_default(),
                values.get(at..).unwrap_or_default(),
            )
        };
        let single = |at: usize| match (keys.get(at), values.get(at)) {
            (Some(key), Some(value)) => elements::update(&self.handle.fd, key, value),
            _ => Ok(()),
        };
        each(keys, batch, single, refused);
    }

    /// Removes elements; absent ones are fine. `refused` hears of each one that stays.
    pub(crate) fn delete_all(&self, keys: &[K], refused: impl FnMut(&K, io::Error)) {
        let batch =
            |at: usize| elements::delete_batch(&self.handle.fd, keys.get(at..).unwrap_or_default());
        let single = |at: usize| match keys
            .get(at)
            .map(|key| elements::delete(&self.handle.fd, key))
        {
            Some(Err(error)) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        };
        each(keys, batch, single, refused);
    }

    /// Walks over all elements in batches. Elements that come and go meanwhile may be missed or seen.
    pub(crate) fn walk(&self) -> Walk<'_, K, V> {
        Walk {
            table: self,
            cursor: Cursor::default(),
            most: BATCH,
            keys: Vec::new(),
            values: Vec::new(),
            done: false,
        }
    }

    /// All elements, one by one. An `Err` ends the iteration.
    pub(crate) fn iter(&self) -> impl Iterator<Item = io::Result<(K, V)>> + use<'_, K, V> {
        let mut walk = self.walk();
        let mut ready = Vec::new().into_iter();
        let mut failed = false;
        std::iter::from_fn(move || {
            loop {
                if let Some(element) = ready.next() {
                    return Some(Ok(element));
                }
                if failed {
                    return None;
                }
                match walk.next_batch() {
                    Ok(Some((keys, values))) => {
                        ready = keys
                            .iter()
                            .copied()
                            .zip(values.iter().copied())
                            .collect::<Vec<_>>()
                            .into_iter();
                    }
                    Ok(None) => return None,
                    Err(error) => {
                        failed = true;
                        return Some(Err(error));
                    }
                }
            }
        })
    }

    /// All elements.
    pub(crate) fn all(&self) -> Result<Vec<(K, V)>> {
        self.iter()
            .collect::<io::Result<_>>()
            .map_err(Error::map(self.name(), "reading all elements"))
    }

    /// All keys, one system call each: for maps that have no batches on every kernel.
    pub(crate) fn keys(&self) -> io::Result<Vec<K>> {
        let mut keys: Vec<K> = Vec::new();
        while let Some(key) = elements::next_key(&self.handle.fd, keys.last())? {
            // Where the last key went away meanwhile, the kernel begins anew.
            if keys.len() >= self.handle.max_entries as usize {
                break;
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// Number of elements.
    pub(crate) fn count(&self) -> Result<u64> {
        let mut walk = self.walk();
        let mut count = 0;
        while let Some((keys, _values)) = walk
            .next_batch()
            .map_err(Error::map(self.name(), "counting"))?
        {
            count += keys.len() as u64;
        }
        Ok(count)
    }
}

/// Runs `batch` from element 0 on; where it stops, tries that element alone, reports it if it is refused, and goes on behind it.
fn each<K>(
    keys: &[K],
    batch: impl Fn(usize) -> (usize, io::Result<()>),
    single: impl Fn(usize) -> io::Result<()>,
    mut refused: impl FnMut(&K, io::Error),
) {
    let mut at = 0;
    while at < keys.len() {
        let (done, result) = batch(at);
        at += done;
        if result.is_ok() {
            return;
        }
        if let (Some(key), Err(error)) = (keys.get(at), single(at)) {
            refused(key, error);
        }
        at += 1;
    }
}

/// A walk over a table.
pub(crate) struct Walk<'a, K, V> {
    table: &'a Table<K, V>,
    cursor: Cursor,
    most: usize,
    keys: Vec<K>,
    values: Vec<V>,
    done: bool,
}

impl<K: Pod, V: Pod> Walk<'_, K, V> {
    /// The next elements; `None` at the end. A batch may be empty.
    pub(crate) fn next_batch(&mut self) -> io::Result<Option<(&[K], &[V])>> {
        if self.done {
            return Ok(None);
        }
        loop {
            let fd = &self.table.handle.fd;
            match elements::lookup_batch(
                fd,
                &mut self.cursor,
                self.most,
                &mut self.keys,
                &mut self.values,
            ) {
                Ok(last) => {
                    self.done = last;
                    return Ok(Some((&self.keys, &self.values)));
                }
                // One bucket's chain is longer than what we asked for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && self.most < 1 << 24 => {
                    self.most *= 2;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A kernel that takes no key in `bad`, and whose batches stop there.
    fn run(keys: &[u32], bad: &[u32], batches_work: bool) -> (Vec<u32>, Vec<u32>) {
        let stored = RefCell::new(Vec::new());
        let mut refused = Vec::new();
        let full = || io::Error::from_raw_os_error(libc::E2BIG);
        let batch = |at: usize| {
            if !batches_work {
                return (0, Err(io::Error::from_raw_os_error(libc::EINVAL)));
            }
            let good = keys[at..]
                .iter()
                .take_while(|key| !bad.contains(key))
                .count();
            stored.borrow_mut().extend_from_slice(&keys[at..at + good]);
            (
                good,
                if at + good == keys.len() {
                    Ok(())
                } else {
                    Err(full())
                },
            )
        };
        let single = |at: usize| {
            if bad.contains(&keys[at]) {
                return Err(full());
            }
            stored.borrow_mut().push(keys[at]);
            Ok(())
        };
        each(keys, batch, single, |key, _error| refused.push(*key));
        (stored.into_inner(), refused)
    }

    #[test]
    fn each_reports_exactly_the_refused_and_stores_the_rest() {
        for batches_work in [true, false] {
            let check = |keys: &[u32], bad: &[u32]| {
                let (stored, refused) = run(keys, bad, batches_work);
                let (refuse, store): (Vec<_>, Vec<_>) =
                    keys.iter().copied().partition(|key| bad.contains(key));
                assert_eq!(
                    (stored, refused),
                    (store, refuse),
                    "{keys:?} without {bad:?}, batches {batches_work}"
                );
            };
            check(&[], &[]);
            check(&[1, 2, 3], &[]);
            check(&[1, 2, 3], &[1]);
            check(&[1, 2, 3], &[2]);
            check(&[1, 2, 3], &[3]);
            check(&[1, 2, 3], &[1, 2, 3]);
            check(&[1, 2, 3, 4, 5], &[2, 4]);
        }
    }
}
