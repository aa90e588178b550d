//! Contents that move from a map to a larger one.

use std::path::Path;

use aya::Pod;

use super::Maps;
use super::slots::Slots;
use super::table::{Table, open_checked};
use crate::error::{Error, Result};
use crate::schema::{self, MapSpec};
use crate::sys::bpf::Access;

impl Maps {
    /// Copies the contents of a smaller map of the same shape, pinned at `old`. Returns the number of entries.
    pub(crate) fn copy_from(&self, spec: &MapSpec, old: &Path) -> Result<usize> {
        match spec.name {
            name if name == schema::FRONTENDS_V4.name => table(&self.frontends4, old),
            name if name == schema::FRONTENDS_V6.name => table(&self.frontends6, old),
            name if name == schema::FLOWS_V4.name => table(&self.flows4, old),
            name if name == schema::FLOWS_V6.name => table(&self.flows6, old),
            name if name == schema::AFFINITY_V4.name => table(&self.affinity4, old),
            name if name == schema::AFFINITY_V6.name => table(&self.affinity6, old),
            name if name == schema::ADDRS_V4.name => {
                let addrs = &mut self.addrs.lock().v4;
                let copied = table(&addrs.table, old)?;
                addrs.read_node().map(|()| copied)
            }
            name if name == schema::ADDRS_V6.name => {
                let addrs = &mut self.addrs.lock().v6;
                let copied = table(&addrs.table, old)?;
                addrs.read_node().map(|()| copied)
            }
            name if name == schema::SOURCE_RANGES_V4.name => trie(&self.ranges4, old),
            name if name == schema::SOURCE_RANGES_V6.name => trie(&self.ranges6, old),
            name if name == schema::BACKENDS_V4.name => slots(&self.backends4, old),
            name if name == schema::BACKENDS_V6.name => slots(&self.backends6, old),
            name if name == schema::BACKEND_STATE.name => slots(&self.states, old),
            name if name == schema::LUT.name => slots(&self.lut, old),
            // Devices are written again by the device thread, CIDRs by the planner; embryos and counters are worth nothing later.
            _other => Ok(0),
        }
    }
}

fn table<K: Pod, V: Pod>(to: &Table<K, V>, old: &Path) -> Result<usize> {
    let from = Table::<K, V>::of(open_checked(to.spec(), old, Access::Read)?);
    let mut walk = from.walk();
    let mut copied = 0;
    while let Some((keys, values)) = walk
        .next_batch()
        .map_err(Error::map(to.name(), "copying"))?
    {
        to.update_all(keys, values, |_key, _error| copied -= 1);
        copied += isize::try_from(keys.len()).unwrap_or(0);
    }
    Ok(usize::try_from(copied).unwrap_or(0))
}

/// A trie has no batches before 5.13.
fn trie<K: Pod>(to: &Table<K, u32>, old: &Path) -> Result<usize> {
    let from = Table::<K, u32>::of(open_checked(to.spec(), old, Access::Read)?);
    let keys = from.keys().map_err(Error::map(to.name(), "copying"))?;
    for key in &keys {
        if let Some(value) = from.lookup(key)? {
            to.update(key, &value)?;
        }
    }
    Ok(keys.len())
}

fn slots<T: Pod, const N: usize>(to: &Slots<T, N>, old: &Path) -> Result<usize> {
    let from = Slots::<T, N>::of(open_checked(to.spec(), old, Access::Write)?, Access::Read);
    from.used()?
        .into_iter()
        .try_fold(0, |copied, (slot, value)| {
            to.write(slot, &value).map(|()| copied + 1)
        })
}
