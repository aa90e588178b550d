//! ADDRS: two writers, each with bits of its own. The planner says what an address is to Services, the device thread what it
//! is to the node; neither loses what the other wrote.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::Pod;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::flags::AddrFlags;

use super::table::{Handle, Table};
use crate::error::{Error, Result};
use crate::sys::bpf::Access;

/// The planner's bits.
const SERVICES: u32 = AddrFlags::VIRTUAL.0 | AddrFlags::REJECT_UNKNOWN.0 | AddrFlags::ECHO.0;
/// The device thread's bits.
const NODE: u32 = AddrFlags::NODE.0 | AddrFlags::NODE_PORT.0;

/// ADDRS of both families. Clones share one lock: an element is read and written under it.
#[derive(Clone, Debug)]
pub(crate) struct Addrs(Arc<Mutex<Both>>);

#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) v4: Family<V4>,
    pub(crate) v6: Family<V6>,
}

impl Addrs {
    pub(crate) fn of(v4: Handle, v6: Handle, access: Access) -> Result<Self> {
        let both = Both {
            v4: Family::of(v4, access)?,
            v6: Family::of(v6, access)?,
        };
        Ok(Self(Arc::new(Mutex::new(both))))
    }

    /// Both families, for as long as the guard lives. What a panicking holder left is whole: each element is one store.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the node's addresses those of `wanted` (bits NODE and `NODE_PORT`): new ones first.
    pub(crate) fn set_node(&self, wanted: &BTreeMap<IpAddr, AddrFlags>) -> Result<()> {
        let Both { v4, v6 } = &mut *self.lock();
        v4.set_node(&of_family(wanted))?;
        v6.set_node(&of_family(wanted))
    }
}

fn of_family<A: Addr>(all: &BTreeMap<IpAddr, AddrFlags>) -> BTreeMap<A, u32> {
    all.iter()
        .filter_map(|(ip, flags)| Some((A::from_ip(*ip)?, flags.0 & NODE)))
        .collect()
}

/// ADDRS of one family.
#[derive(Debug)]
pub(crate) struct Family<A> {
    pub(crate) table: Table<A, u32>,
    /// What the node's bits are. Few, unlike the planner's.
    node: BTreeMap<A, u32>,
}

impl<A: Addr + Pod> Family<A> {
    fn of(handle: Handle, access: Access) -> Result<Self> {
        let table = Table::of(handle);
        let mut family = Self {
            table,
            node: BTreeMap::new(),
        };
        if access == Access::Write {
            family.read_node()?;
        }
        Ok(family)
    }

    /// Learns the node's bits from the map, as an earlier run left them.
    pub(crate) fn read_node(&mut self) -> Result<()> {
        let Self { table, node } = self;
        node.clear();
        for element in table.iter() {
            let (addr, flags) = element.map_err(Error::map(table.name(), "reading"))?;
            if flags & NODE != 0 {
                node.insert(addr, flags & NODE);
            }
        }
        Ok(())
    }

    fn set_node(&mut self, wanted: &BTreeMap<A, u32>) -> Result<()> {
        let Self { table, node } = self;
        let gone = node.keys().filter(|addr| !wanted.contains_key(addr));
        let gone: Vec<(A, u32)> = gone.map(|addr| (*addr, 0)).collect();
        let wanted = wanted.iter().map(|(addr, flags)| (*addr, *flags));
        for (addr, bits) in wanted.chain(gone) {
            if node.get(&addr).copied().unwrap_or(0) == bits {
                continue;
            }
            match (table.lookup(&addr)?.unwrap_or(0) & SERVICES) | bits {
                0 => drop(table.delete(&addr)?),
                flags => table.update(&addr, &flags)?,
            }
            match bits {
                0 => drop(node.remove(&addr)),
                bits => drop(node.insert(addr, bits)),
            }
        }
        Ok(())
    }

    /// Sets the planner's bits; `refused` hears of what the kernel did not take.
    pub(crate) fn set_services(
        &self,
        addrs: &[(A, AddrFlags)],
        mut refused: impl FnMut(A, std::io::Error),
    ) {
        let flags = |(addr, flags): &(A, AddrFlags)| {
            (flags.0 & SERVICES) | self.node.get(addr).copied().unwrap_or(0)
        };
        // In order, though in as few calls as possible: an address may come twice.
        for run in addrs.chunk_by(|a, b| (flags(a) == 0) == (flags(b) == 0)) {
            let keys: Vec<A> = run.iter().map(|(addr, _flags)| *addr).collect();
            if run.first().is_some_and(|first| flags(first) == 0) {
                self.table
                    .delete_all(&keys, |addr, error| refused(*addr, error));
            } else {
                let values: Vec<u32> = run.iter().map(flags).collect();
                self.table
                    .update_all(&keys, &values, |addr, error| refused(*addr, error));
            }
        }
    }

    /// The addresses that have bits of the planner's, and those bits.
    pub(crate) fn services(&self) -> Result<Vec<(A, AddrFlags)>> {
        let elements = self.table.iter().filter_map(|element| match element {
            Ok((_addr, flags)) if flags & SERVICES == 0 => None,
            Ok((addr, flags)) => Some(Ok((addr, AddrFlags(flags & SERVICES)))),
            Err(error) => Some(Err(error)),
        });
        elements
            .collect::<std::io::Result<_>>()
            .map_err(Error::map(self.table.name(), "reading all elements"))
    }
}
