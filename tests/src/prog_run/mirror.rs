//! A kernel map beside its copy in memory.

use std::collections::BTreeMap;
use std::fmt::Debug;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, Map, MapData, MapError};
use aya::{Ebpf, Pod};

/// A hash map of the kernel, LRU or not.
#[derive(Debug)]
pub struct Table<K, V> {
    name: &'static str,
    map: HashMap<MapData, K, V>,
}

impl<K: Pod + Ord + Debug, V: Pod + PartialEq + Debug> Table<K, V> {
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self> {
        let map: Map = ebpf
            .take_map(name)
            .with_context(|| format!("no map {name}"))?;
        let map = HashMap::try_from(map).with_context(|| format!("map {name}"))?;
        Ok(Self { name, map })
    }

    /// The value under `key`.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        match self.map.get(key, 0) {
            Ok(value) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {} {key:?}", self.name)),
        }
    }

    /// Adds or replaces.
    pub fn put(&mut self, key: K, value: V) -> Result<()> {
        let put = self.map.insert(key, value, 0);
        put.with_context(|| format!("write {} {key:?}", self.name))
    }

    /// Everything.
    pub fn all(&self) -> Result<BTreeMap<K, V>> {
        self.map
            .iter()
            .collect::<Result<_, _>>()
            .with_context(|| format!("list {}", self.name))
    }

    /// Removes everything.
    pub fn clear(&mut self) -> Result<()> {
        let keys: Vec<K> = self.all()?.into_keys().collect();
        for key in keys {
            self.map
                .remove(&key)
                .with_context(|| format!("remove from {}", self.name))?;
        }
        Ok(())
    }

    /// Makes it hold what memory holds.
    pub fn mirror(&mut self, memory: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        self.clear()?;
        memory
            .into_iter()
            .try_for_each(|(key, value)| self.put(key, value))
    }

    /// Fails if it does not hold exactly what memory holds.
    pub fn same(&self, memory: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        let memory: BTreeMap<K, V> = memory.into_iter().collect();
        let kernel = self.all()?;
        for (key, value) in &memory {
            let found = kernel.get(key);
            ensure!(
                found == Some(value),
                "{} {key:?}: kernel {found:?}, memory {value:?}",
                self.name
            );
        }
        let more = kernel.keys().find(|key| !memory.contains_key(key));
        ensure!(
            more.is_none(),
            "{} {more:?} is in the kernel only",
            self.name
        );
        Ok(())
    }

    /// Fails if an entry that changed in memory did not change alike here.
    pub fn followed(&self, before: &[(K, V)], after: &[(K, V)]) -> Result<()> {
        followed(self.name, before, after, |key| self.get(key))
    }
}

/// Fails if an entry that changed in memory did not change alike in the kernel, of which `get` reads one.
pub(super) fn followed<K: Ord + Debug, V: PartialEq + Debug>(
    name: &str,
    before: &[(K, V)],
    after: &[(K, V)],
    get: impl Fn(&K) -> Result<Option<V>>,
) -> Result<()> {
    let find = |list: &[(K, V)], key: &K| list.binary_search_by(|(other, _)| other.cmp(key)).ok();
    for (key, value) in after {
        let old = find(before, key).map(|at| &before[at].1);
        if old != Some(value) {
            let found = get(key)?;
            ensure!(
                found.as_ref() == Some(value),
                "{name} {key:?}: was {old:?}, kernel {found:?}, memory {value:?}"
            );
        }
    }
    for (key, _) in before {
        if find(after, key).is_none() {
            ensure!(get(key)?.is_none(), "{name} {key:?} is still in the kernel");
        }
    }
    Ok(())
}
