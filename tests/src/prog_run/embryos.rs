//! EMBRYOS of the kernel beside their copy in memory, set by set.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use aya::Pod;
use aya::maps::{Array, MapData};
use proxy_common::addr::Addr;
use proxy_common::embryos::{Embryo, EmbryoSet, Place};
use proxy_common::key::FlowKey;
use proxy_common::value::{Flow, Settings};

use super::mirror::followed;

/// The map of one family.
pub struct Embryos<A: Addr>
where
    EmbryoSet<A>: Pod,
{
    map: Array<MapData, EmbryoSet<A>>,
    seed: u32,
    mask: u32,
}

impl<A: Addr> Embryos<A>
where
    EmbryoSet<A>: Pod,
{
    pub(super) fn of(map: Array<MapData, EmbryoSet<A>>, settings: &Settings) -> Self {
        Self {
            map,
            seed: settings.hash_seed,
            mask: settings.embryo_mask,
        }
    }

    fn used(set: &EmbryoSet<A>) -> impl Iterator<Item = (usize, Embryo<A>)> {
        let ways = set.ways.iter().zip(set.header.tags).enumerate();
        ways.filter(|(_, (_, tag))| *tag != 0)
            .map(|(way, (embryo, _))| (way, *embryo))
    }

    /// The entry under `key`.
    pub fn get(&self, key: &FlowKey<A>) -> Result<Option<Flow<A>>> {
        let place = Place::of(key, self.seed, self.mask);
        let set = self.map.get(&place.set, 0)?;
        let found = Self::used(&set).find(|(_, embryo)| embryo.key == *key);
        Ok(found.map(|(_, embryo)| embryo.flow))
    }

    /// Everything, in the order of the keys.
    pub fn all(&self) -> Result<BTreeMap<FlowKey<A>, Flow<A>>> {
        let mut all = BTreeMap::new();
        for index in 0..=self.mask {
            let set = self.map.get(&index, 0)?;
            all.extend(Self::used(&set).map(|(_, embryo)| (embryo.key, embryo.flow)));
        }
        Ok(all)
    }

    /// Makes it hold what memory holds.
    pub fn mirror(&mut self, memory: Vec<(u32, EmbryoSet<A>)>) -> Result<()> {
        let memory: BTreeMap<_, _> = memory.into_iter().collect();
        for index in 0..=self.mask {
            let set = memory.get(&index).copied().unwrap_or_default();
            self.map.set(index, set, 0)?;
        }
        Ok(())
    }

    /// Fails if it does not hold exactly what memory holds, in the same order.
    pub fn same(&self, memory: Vec<(u32, EmbryoSet<A>)>) -> Result<()> {
        let memory: BTreeMap<_, _> = memory.into_iter().collect();
        for index in 0..=self.mask {
            let (kernel, memory) = (
                self.map.get(&index, 0)?,
                memory.get(&index).copied().unwrap_or_default(),
            );
            ensure!(
                kernel.header == memory.header && Self::used(&kernel).eq(Self::used(&memory)),
                "set {index} of EMBRYOS: kernel {kernel:?}, memory {memory:?}"
            );
        }
        Ok(())
    }

    /// Fails if an entry that changed in memory did not change alike here.
    pub fn followed(
        &self,
        before: &[(FlowKey<A>, Flow<A>)],
        after: &[(FlowKey<A>, Flow<A>)],
    ) -> Result<()> {
        followed("EMBRYOS", before, after, |key| self.get(key))
    }
}
