//! This node: what its pinned maps hold, and what the agent calls it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use proxy_common::addr::Addr;
use proxy_common::flags::{AddrFlags, DeviceFlags};
use proxy_common::value::{Cidr, Device, Settings};
use proxy_kernel::Maps;
use proxy_model::{Cidrs, Dump, MemoryMaps};

use super::state::{State, label};
use crate::cli::names::Names;

/// The bits of ADDRS that the planner writes; they are in the dump.
const SERVICES: AddrFlags = AddrFlags::VIRTUAL
    .with(AddrFlags::REJECT_UNKNOWN)
    .with(AddrFlags::ECHO);

/// Reads everything. `settings` are those of the programs that will be asked.
pub fn state(bpf_root: &Path, run_dir: &Path, settings: Settings) -> anyhow::Result<State> {
    let maps = Maps::open(bpf_root)?;
    let Dump {
        frontends4,
        frontends6,
        backends4,
        backends6,
        states,
        addrs4,
        addrs6,
        ranges4,
        ranges6,
        tables,
    } = maps.dump()?;
    let (cidrs4, cidrs6) = (maps.cidrs4()?, maps.cidrs6()?);
    let addrs: BTreeMap<IpAddr, AddrFlags> = maps
        .addresses()?
        .into_iter()
        .map(|(ip, flags)| (ip, AddrFlags(flags.0 & !SERVICES.0)))
        .filter(|(_ip, flags)| *flags != AddrFlags::default())
        .collect();
    let devices: BTreeMap<u32, Device> = maps
        .devices()
        .collect::<Result<_, _>>()
        .context("map DEVICES")?;
    let names = Names::ask(run_dir);
    if !names.known() {
        eprintln!("kube-shunt: the agent does not answer; Services are shown by number");
    }
    let names: HashMap<u32, String> = names
        .all()
        .map(|name| (name.id, label(&name.namespace, &name.name, &name.port_name)))
        .collect();
    let memory = MemoryMaps {
        frontends4: frontends4.into_iter().collect(),
        frontends6: frontends6.into_iter().collect(),
        backends4: backends4.into_iter().collect(),
        backends6: backends6.into_iter().collect(),
        states: states.into_iter().collect(),
        addrs4: addrs4.into_iter().collect(),
        addrs6: addrs6.into_iter().collect(),
        ranges4: ranges4.into_iter().collect(),
        ranges6: ranges6.into_iter().collect(),
        tables: tables.into_iter().collect(),
        cidrs4: networks(&cidrs4),
        cidrs6: networks(&cidrs6),
    };
    Ok(State {
        local: State::local_backends(&memory),
        maps: memory,
        pod_device: first(&devices, DeviceFlags::POD.with(DeviceFlags::INSIDE))
            .or_else(|| first(&devices, DeviceFlags::POD)),
        outside_device: first(&devices, DeviceFlags::NODE)
            .or_else(|| first(&devices, DeviceFlags::OVERLAY)),
        host: addrs.keys().copied().collect(),
        addrs,
        devices,
        settings,
        pods: Vec::new(),
        names,
    })
}

/// The first device with these flags. One without a link-layer header would do as well: it is asked about with one.
fn first(devices: &BTreeMap<u32, Device>, flags: DeviceFlags) -> Option<u32> {
    let mut fitting = devices.iter().filter(|(_, device)| device.flags.has(flags));
    fitting.next().map(|(index, _)| *index)
}

/// CIDRS as the planner writes them: the local pods' range, then the `ServiceCIDR`s.
fn networks<A: Addr>(elements: &[Cidr<A>]) -> Cidrs<A> {
    let used = |cidr: &Cidr<A>| (cidr.used != 0).then_some(*cidr).map(network);
    let local = elements.first().and_then(used);
    (local, elements.iter().skip(1).filter_map(used).collect())
}

fn network<A: Addr>(cidr: Cidr<A>) -> (A, u8) {
    let bits: u32 = cidr.mask.words().map(u32::count_ones).iter().sum();
    (cidr.addr, u8::try_from(bits).unwrap_or(u8::MAX))
}
