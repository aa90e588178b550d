//! The pinned maps: planner's operations in, counters and flows out.
//!
//! The only place that writes FRONTENDS, BACKENDS and `BACKEND_STATE`. Decides nothing.

mod apply;
pub(crate) mod slots;
pub(crate) mod table;

use std::io;
use std::net::IpAddr;
use std::path::Path;

use proxy_common::addr::{Addr as _, V4, V6};
use proxy_common::flags::AddrFlags;
use proxy_common::key::{FlowKey, FrontendKey};
use proxy_common::reason::{COUNTERS, Hook, Reason, counter_index};
use proxy_common::value::{Backend, BackendState, Device, Flow, Frontend};
use proxy_model::{Dump, FrontendRef};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::options::Capacities;
use crate::pins::Pins;
use crate::schema::{self, MapSpec};
use crate::sys::bpf::Access;
use crate::sys::elements::lookup_per_cpu;

use slots::Slots;
use table::{Table, open_checked};

/// All maps of one agent.
#[derive(Debug)]
pub struct Maps {
    frontends4: Table<FrontendKey<V4>, Frontend>,
    frontends6: Table<FrontendKey<V6>, Frontend>,
    backends4: Slots<Backend<V4>, 2>,
    backends6: Slots<Backend<V6>, 4>,
    states: Slots<BackendState, 2>,
    pub(crate) flows4: Table<FlowKey<V4>, Flow<V4>>,
    pub(crate) flows6: Table<FlowKey<V6>, Flow<V6>>,
    pub(crate) node_addrs4: Table<V4, u32>,
    pub(crate) node_addrs6: Table<V6, u32>,
    pub(crate) devices: Table<u32, Device>,
    counters: std::os::fd::OwnedFd,
    embryos: u32,
    cpus: usize,
}

/// What came of [`Maps::apply`].
#[derive(Debug, Default)]
pub struct Applied {
    /// Frontends the kernel refused (map full): give them to `Planner::failed`.
    pub failed: Vec<FrontendRef>,
    /// The first error, for the log.
    pub error: Option<Error>,
}

/// How full a map is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Occupancy {
    /// Map name.
    pub map: &'static str,
    /// Used entries.
    pub entries: u64,
    /// Capacity.
    pub max_entries: u64,
}

impl Maps {
    /// Opens the pinned maps of a running (or stopped) agent, for reading. [`Error::NotLoaded`] if nothing is pinned.
    pub fn open(bpf_root: &Path) -> Result<Self> {
        let pins = Pins::current(bpf_root);
        match Self::open_pins(&pins, Access::Read) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotLoaded {
                    path: bpf_root.to_path_buf(),
                })
            }
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(Error::NotRoot)
            }
            result => result,
        }
    }

    pub(crate) fn open_pins(pins: &Pins, access: Access) -> Result<Self> {
        let path = |spec: &MapSpec| pins.map(spec.name);
        let cpus = aya::util::nr_cpus().map_err(|(path, error)| Error::io("read", path)(error))?;
        let (counters, _entries) =
            open_checked(&schema::COUNTERS_MAP, &path(&schema::COUNTERS_MAP), access)?;
        let (_embryos, embryos) =
            open_checked(&schema::EMBRYOS_V4, &path(&schema::EMBRYOS_V4), access)?;
        Ok(Self {
            frontends4: Table::open(&schema::FRONTENDS_V4, &path(&schema::FRONTENDS_V4), access)?,
            frontends6: Table::open(&schema::FRONTENDS_V6, &path(&schema::FRONTENDS_V6), access)?,
            backends4: Slots::open(&schema::BACKENDS_V4, &path(&schema::BACKENDS_V4), access)?,
            backends6: Slots::open(&schema::BACKENDS_V6, &path(&schema::BACKENDS_V6), access)?,
            states: Slots::open(
                &schema::BACKEND_STATE,
                &path(&schema::BACKEND_STATE),
                access,
            )?,
            flows4: Table::open(&schema::FLOWS_V4, &path(&schema::FLOWS_V4), access)?,
            flows6: Table::open(&schema::FLOWS_V6, &path(&schema::FLOWS_V6), access)?,
            node_addrs4: Table::open(&schema::ADDRS_V4, &path(&schema::ADDRS_V4), access)?,
            node_addrs6: Table::open(&schema::ADDRS_V6, &path(&schema::ADDRS_V6), access)?,
            devices: Table::open(&schema::DEVICES, &path(&schema::DEVICES), access)?,
            counters,
            embryos,
            cpus,
        })
    }

    /// The sizes the maps have, of each pair the smaller one.
    pub fn capacities(&self) -> Capacities {
        Capacities {
            frontends: self
                .frontends4
                .max_entries()
                .min(self.frontends6.max_entries()),
            backends: self
                .backends4
                .max_entries()
                .min(self.backends6.max_entries())
                .min(self.states.max_entries()),
            flows: self.flows4.max_entries().min(self.flows6.max_entries()),
            embryos: self.embryos,
        }
    }

    /// The contents the planner recovers from.
    pub fn dump(&self) -> Result<Dump> {
        let failed = |name| Error::map(name, "reading all elements");
        Ok(Dump {
            frontends4: self
                .frontends4
                .iter()
                .collect::<io::Result<_>>()
                .map_err(failed(self.frontends4.name()))?,
            frontends6: self
                .frontends6
                .iter()
                .collect::<io::Result<_>>()
                .map_err(failed(self.frontends6.name()))?,
            backends4: self.backends4.used()?.collect(),
            backends6: self.backends6.used()?.collect(),
            states: self.states.used()?.collect(),
            ..Dump::default()
        })
    }

    /// Non-zero counters, summed over CPUs.
    pub fn counters(&self) -> Result<Vec<(Reason, Hook, u64)>> {
        let mut counters = Vec::new();
        let mut per_cpu = vec![0; self.cpus];
        for reason in Reason::ALL {
            for hook in Hook::ALL {
                let index = counter_index(*reason, *hook);
                debug_assert!(index < COUNTERS);
                lookup_per_cpu(&self.counters, index, &mut per_cpu)
                    .map_err(Error::map(schema::COUNTERS_MAP.name, "reading a counter"))?;
                match per_cpu.iter().sum() {
                    0 => {}
                    sum => counters.push((*reason, *hook, sum)),
                }
            }
        }
        Ok(counters)
    }

    /// IPv4 flows, in batches. An `Err` ends the iteration.
    pub fn flows4(&self) -> impl Iterator<Item = io::Result<(FlowKey<V4>, Flow<V4>)>> + '_ {
        self.flows4.iter()
    }

    /// IPv6 flows, in batches. An `Err` ends the iteration.
    pub fn flows6(&self) -> impl Iterator<Item = io::Result<(FlowKey<V6>, Flow<V6>)>> + '_ {
        self.flows6.iter()
    }

    /// What the programs know of the node's devices, by ifindex. An `Err` ends the iteration.
    pub fn devices(&self) -> impl Iterator<Item = io::Result<(u32, Device)>> + '_ {
        self.devices.iter()
    }

    /// The node's addresses, and whether `NodePort`s are served on them. An `Err` ends the iteration.
    pub fn node_addresses(&self) -> impl Iterator<Item = io::Result<(IpAddr, bool)>> + '_ {
        let serves = |flags: u32| AddrFlags(flags).has(AddrFlags::NODE_PORT);
        let v4 = self
            .node_addrs4
            .iter()
            .map(move |element| element.map(|(addr, flags)| (addr.ip(), serves(flags))));
        v4.chain(
            self.node_addrs6
                .iter()
                .map(move |element| element.map(|(addr, flags)| (addr.ip(), serves(flags)))),
        )
    }

    /// How full each map is that can be counted: it walks them in batches. Not EMBRYOS: a walk would look like use to an LRU.
    pub fn occupancy(&self) -> Result<Vec<Occupancy>> {
        fn of<K: aya::Pod, V: aya::Pod>(table: &Table<K, V>) -> Result<Occupancy> {
            let (map, max_entries) = (table.name(), u64::from(table.max_entries()));
            Ok(Occupancy {
                map,
                entries: table.count()?,
                max_entries,
            })
        }
        Ok(vec![
            of(&self.frontends4)?,
            of(&self.frontends6)?,
            of(&self.flows4)?,
            of(&self.flows6)?,
            of(&self.node_addrs4)?,
            of(&self.node_addrs6)?,
            of(&self.devices)?,
        ])
    }

    /// Copies the contents of a smaller map of the same shape, pinned at `old`. Returns the number of entries.
    pub(crate) fn copy_from(&self, spec: &MapSpec, old: &Path) -> Result<usize> {
        fn table<K: aya::Pod, V: aya::Pod>(
            to: &Table<K, V>,
            spec: &'static MapSpec,
            old: &Path,
        ) -> Result<usize> {
            let from = Table::<K, V>::open(spec, old, Access::Read)?;
            let mut walk = from.walk();
            let mut copied = 0;
            while let Some((keys, values)) = walk
                .next_batch()
                .map_err(Error::map(spec.name, "copying"))?
            {
                to.update_all(keys, values, |_key, _error| copied -= 1);
                copied += isize::try_from(keys.len()).unwrap_or(0);
            }
            Ok(usize::try_from(copied).unwrap_or(0))
        }
        fn slots<T: aya::Pod, const N: usize>(
            to: &Slots<T, N>,
            spec: &'static MapSpec,
            old: &Path,
        ) -> Result<usize> {
            let from = Slots::<T, N>::open(spec, old, Access::Read)?;
            from.used()?.try_fold(0, |copied, (slot, value)| {
                to.write(slot, &value).map(|()| copied + 1)
            })
        }
        match spec.name {
            name if name == schema::FRONTENDS_V4.name => {
                table(&self.frontends4, &schema::FRONTENDS_V4, old)
            }
            name if name == schema::FRONTENDS_V6.name => {
                table(&self.frontends6, &schema::FRONTENDS_V6, old)
            }
            name if name == schema::FLOWS_V4.name => table(&self.flows4, &schema::FLOWS_V4, old),
            name if name == schema::FLOWS_V6.name => table(&self.flows6, &schema::FLOWS_V6, old),
            name if name == schema::BACKENDS_V4.name => {
                slots(&self.backends4, &schema::BACKENDS_V4, old)
            }
            name if name == schema::BACKENDS_V6.name => {
                slots(&self.backends6, &schema::BACKENDS_V6, old)
            }
            name if name == schema::BACKEND_STATE.name => {
                slots(&self.states, &schema::BACKEND_STATE, old)
            }
            // Devices and addresses are written again by the device thread; embryos and counters are worth nothing later.
            _other => Ok(0),
        }
    }
}
