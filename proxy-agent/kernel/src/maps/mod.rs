//! The pinned maps: planner's operations in, counters and flows out.
//!
//! The only place that writes what the planner plans. Decides nothing.

pub(crate) mod addrs;
mod apply;
mod cidrs;
mod grow;
mod lut;
mod ranges;
pub(crate) mod slots;
pub(crate) mod table;

use std::io;
use std::net::IpAddr;
use std::path::Path;

use proxy_common::addr::{Addr, V4, V6};
use proxy_common::embryos;
use proxy_common::flags::AddrFlags;
use proxy_common::key::{AffinityKey, FlowKey, FrontendKey};
use proxy_common::reason::{COUNTERS, Hook, Reason, counter_index};
use proxy_common::value::{
    Affinity, Backend, BackendState, Cidr, Device, Flow, Frontend, LutWord, SocketPeer,
};
use proxy_model::{Dump, FrontendRef, MapOp};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::options::Capacities;
use crate::pins::Pins;
use crate::schema::{self, MapSpec};
use crate::sys::bpf::Access;
use crate::sys::elements::lookup_per_cpu;

use addrs::Addrs;
use ranges::Ranges;
use slots::Slots;
use table::{Handle, Table, open_checked};

/// `BACKEND_STATE`.
pub(crate) type States = Slots<BackendState, 2>;

/// All maps of one agent.
#[derive(Debug)]
pub struct Maps {
    frontends4: Table<FrontendKey<V4>, Frontend>,
    frontends6: Table<FrontendKey<V6>, Frontend>,
    backends4: Slots<Backend<V4>, 2>,
    backends6: Slots<Backend<V6>, 4>,
    pub(crate) states: States,
    pub(crate) flows4: Table<FlowKey<V4>, Flow<V4>>,
    pub(crate) flows6: Table<FlowKey<V6>, Flow<V6>>,
    pub(crate) addrs: Addrs,
    ranges4: Ranges<V4>,
    ranges6: Ranges<V6>,
    affinity4: Table<AffinityKey<V4>, Affinity<V4>>,
    affinity6: Table<AffinityKey<V6>, Affinity<V6>>,
    cidrs4: Table<u32, Cidr<V4>>,
    cidrs6: Table<u32, Cidr<V6>>,
    lut: Slots<LutWord, 1>,
    pub(crate) devices: Table<u32, Device>,
    counters: Handle,
    pub(crate) connected: Table<u64, SocketPeer>,
    embryos: u32,
    cpus: usize,
}

/// What came of [`Maps::apply`].
#[derive(Debug, Default)]
pub struct Applied {
    /// Frontends the kernel refused (map full): give them to `Planner::failed`.
    pub failed: Vec<FrontendRef>,
    /// Addresses whose flags the kernel refused.
    pub failed_addrs: Vec<IpAddr>,
    /// Whether a backend id lost its owner: connections of it are stale.
    pub gone: bool,
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
        Self::build(access, |spec, access| {
            open_checked(spec, &pins.map(spec.name), access)
        })
    }

    /// The maps that `open` finds.
    pub(crate) fn build(
        access: Access,
        mut open: impl FnMut(&'static MapSpec, Access) -> Result<Handle>,
    ) -> Result<Self> {
        let cpus = aya::util::nr_cpus().map_err(|(path, error)| Error::io("read", path)(error))?;
        // The kernel maps arrays only from handles that may write (bpf_map_mmap wants VM_SHARED): the mapping itself restricts.
        let backends4 = Slots::of(open(&schema::BACKENDS_V4, Access::Write)?, access);
        let backends6 = Slots::of(open(&schema::BACKENDS_V6, Access::Write)?, access);
        let states = Slots::of(open(&schema::BACKEND_STATE, Access::Write)?, access);
        let lut = Slots::of(open(&schema::LUT, Access::Write)?, access);
        let mut open = |spec| open(spec, access);
        Ok(Self {
            frontends4: Table::of(open(&schema::FRONTENDS_V4)?),
            frontends6: Table::of(open(&schema::FRONTENDS_V6)?),
            backends4,
            backends6,
            states,
            flows4: Table::of(open(&schema::FLOWS_V4)?),
            flows6: Table::of(open(&schema::FLOWS_V6)?),
            addrs: Addrs::of(open(&schema::ADDRS_V4)?, open(&schema::ADDRS_V6)?, access)?,
            ranges4: Table::of(open(&schema::SOURCE_RANGES_V4)?),
            ranges6: Table::of(open(&schema::SOURCE_RANGES_V6)?),
            affinity4: Table::of(open(&schema::AFFINITY_V4)?),
            affinity6: Table::of(open(&schema::AFFINITY_V6)?),
            cidrs4: Table::of(open(&schema::CIDRS_V4)?),
            cidrs6: Table::of(open(&schema::CIDRS_V6)?),
            lut,
            devices: Table::of(open(&schema::DEVICES)?),
            counters: open(&schema::COUNTERS_MAP)?,
            connected: Table::of(open(&schema::CONNECTED)?),
            embryos: embryos::entries(open(&schema::EMBRYOS_V4)?.max_entries),
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
            affinity: self
                .affinity4
                .max_entries()
                .min(self.affinity6.max_entries()),
            source_ranges: self.ranges4.max_entries().min(self.ranges6.max_entries()),
            lut: self.lut.max_entries(),
        }
    }

    /// The contents the planner recovers from.
    pub fn dump(&self) -> Result<Dump> {
        let addrs = self.addrs.lock();
        let (frontends4, frontends6) = (self.frontends4.all()?, self.frontends6.all()?);
        let values4 = frontends4.iter().map(|(_, frontend)| frontend);
        let values6 = frontends6.iter().map(|(_, frontend)| frontend);
        Ok(Dump {
            tables: lut::named(&self.lut, values4.chain(values6))?,
            frontends4,
            frontends6,
            backends4: self.backends4.used()?,
            backends6: self.backends6.used()?,
            states: self.states.used()?,
            addrs4: addrs.v4.services()?,
            addrs6: addrs.v6.services()?,
            ranges4: ranges::all(&self.ranges4)?,
            ranges6: ranges::all(&self.ranges6)?,
        })
    }

    /// All of ADDRS: what each address is to us.
    pub fn addresses(&self) -> Result<Vec<(IpAddr, AddrFlags)>> {
        fn of<A: Addr + aya::Pod>(table: &Table<A, u32>) -> Result<Vec<(IpAddr, AddrFlags)>> {
            let elements = table.all()?.into_iter();
            Ok(elements
                .map(|(addr, flags)| (addr.ip(), AddrFlags(flags)))
                .collect())
        }
        let addrs = self.addrs.lock();
        Ok([of(&addrs.v4.table)?, of(&addrs.v6.table)?].concat())
    }

    /// `CIDRS_V4`, element by element.
    pub fn cidrs4(&self) -> Result<Vec<Cidr<V4>>> {
        cidrs::all(&self.cidrs4)
    }

    /// `CIDRS_V6`, element by element.
    pub fn cidrs6(&self) -> Result<Vec<Cidr<V6>>> {
        cidrs::all(&self.cidrs6)
    }

    /// Removes all frontends, addresses of Services, and source ranges.
    pub(crate) fn forget(&mut self) -> Result<()> {
        let dump = self.dump()?;
        let none = AddrFlags::default();
        let mut ops = vec![
            MapOp::DeleteFrontends4(dump.frontends4.iter().map(|(key, _)| *key).collect()),
            MapOp::DeleteFrontends6(dump.frontends6.iter().map(|(key, _)| *key).collect()),
            MapOp::SetAddrs4(dump.addrs4.iter().map(|(addr, _)| (*addr, none)).collect()),
            MapOp::SetAddrs6(dump.addrs6.iter().map(|(addr, _)| (*addr, none)).collect()),
            MapOp::SetCidrs4 {
                local: None,
                services: Vec::new(),
            },
            MapOp::SetCidrs6 {
                local: None,
                services: Vec::new(),
            },
        ];
        ops.extend(
            dump.ranges4
                .iter()
                .map(|(set, addr, bits)| MapOp::RemoveRanges4 {
                    set: *set,
                    ranges: vec![(*addr, *bits)],
                }),
        );
        ops.extend(
            dump.ranges6
                .iter()
                .map(|(set, addr, bits)| MapOp::RemoveRanges6 {
                    set: *set,
                    ranges: vec![(*addr, *bits)],
                }),
        );
        self.apply(&ops).error.map_or(Ok(()), Err)
    }

    /// Non-zero counters, summed over CPUs.
    pub fn counters(&self) -> Result<Vec<(Reason, Hook, u64)>> {
        let mut counters = Vec::new();
        let mut per_cpu = vec![0; self.cpus];
        for reason in Reason::ALL {
            for hook in Hook::ALL {
                let index = counter_index(*reason, *hook);
                debug_assert!(index < COUNTERS);
                lookup_per_cpu(&self.counters.fd, index, &mut per_cpu)
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

    /// The node's addresses, and whether `NodePort`s are served on them.
    pub fn node_addresses(&self) -> Result<Vec<(IpAddr, bool)>> {
        let all = self.addresses()?.into_iter();
        Ok(all
            .filter(|(_ip, flags)| flags.has(AddrFlags::NODE))
            .map(|(ip, flags)| (ip, flags.has(AddrFlags::NODE_PORT)))
            .collect())
    }

    /// How full each map is that can be counted: it walks them in batches. Not EMBRYOS, which is full by design, and not AFFINITY: a walk
    /// would look like use to an LRU.
    pub fn occupancy(&self) -> Result<Vec<Occupancy>> {
        fn of<K: aya::Pod, V: aya::Pod>(table: &Table<K, V>) -> Result<Occupancy> {
            let (map, max_entries) = (table.name(), u64::from(table.max_entries()));
            Ok(Occupancy {
                map,
                entries: table.count()?,
                max_entries,
            })
        }
        let addrs = self.addrs.lock();
        Ok(vec![
            of(&self.frontends4)?,
            of(&self.frontends6)?,
            of(&self.flows4)?,
            of(&self.flows6)?,
            of(&addrs.v4.table)?,
            of(&addrs.v6.table)?,
            of(&self.devices)?,
        ])
    }
}
