//! DEVICES and `ADDRS`: kept equal to the plan, element by element.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aya::Pod;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::flags::AddrFlags;
use proxy_common::value::Device;

use crate::error::{Error, Result};
use crate::maps::Maps;
use crate::maps::table::Table;

/// The maps, and what is known to be in them.
#[derive(Debug)]
pub(super) struct Tables {
    devices: Table<u32, Device>,
    addrs4: Table<V4, u32>,
    addrs6: Table<V6, u32>,
    known_devices: BTreeMap<u32, Device>,
    known_addresses: BTreeMap<IpAddr, u32>,
}

impl Tables {
    /// Takes the maps as an earlier run left them.
    pub(super) fn open(maps: &Maps) -> Result<Self> {
        let (devices, addrs4, addrs6) = (
            maps.devices.duplicate()?,
            maps.node_addrs4.duplicate()?,
            maps.node_addrs6.duplicate()?,
        );
        let known_devices = devices
            .iter()
            .collect::<std::io::Result<_>>()
            .map_err(Error::map(devices.name(), "reading"))?;
        let mut known_addresses = BTreeMap::new();
        read_addresses(&addrs4, &mut known_addresses)?;
        read_addresses(&addrs6, &mut known_addresses)?;
        Ok(Self {
            devices,
            addrs4,
            addrs6,
            known_devices,
            known_addresses,
        })
    }

    pub(super) fn device(&self, index: u32) -> Option<&Device> {
        self.known_devices.get(&index)
    }

    /// Writes one device.
    pub(super) fn set_device(&mut self, index: u32, device: Device) -> Result<()> {
        if self.known_devices.get(&index) != Some(&device) {
            self.devices.update(&index, &device)?;
            self.known_devices.insert(index, device);
        }
        Ok(())
    }

    /// Removes the devices that `keep` does not know.
    pub(super) fn retain_devices(&mut self, keep: impl Fn(u32) -> bool) -> Result<()> {
        let gone: Vec<u32> = self
            .known_devices
            .keys()
            .copied()
            .filter(|index| !keep(*index))
            .collect();
        for index in gone {
            self.devices.delete(&index)?;
            self.known_devices.remove(&index);
        }
        Ok(())
    }

    /// Makes the addresses those of `wanted`: new ones first.
    pub(super) fn set_addresses(&mut self, wanted: &BTreeMap<IpAddr, bool>) -> Result<()> {
        for (ip, serves) in wanted {
            let flags = if *serves { AddrFlags::NODE_PORT.0 } else { 0 };
            if self.known_addresses.get(ip) != Some(&flags) {
                match ip {
                    IpAddr::V4(v4) => self.addrs4.update(&V4::from(*v4), &flags)?,
                    IpAddr::V6(v6) => self.addrs6.update(&V6::from(*v6), &flags)?,
                }
                self.known_addresses.insert(*ip, flags);
            }
        }
        let gone: Vec<IpAddr> = self
            .known_addresses
            .keys()
            .copied()
            .filter(|ip| !wanted.contains_key(ip))
            .collect();
        for ip in gone {
            match ip {
                IpAddr::V4(v4) => self.addrs4.delete(&V4::from(v4))?,
                IpAddr::V6(v6) => self.addrs6.delete(&V6::from(v6))?,
            }
            self.known_addresses.remove(&ip);
        }
        Ok(())
    }
}

fn read_addresses<A: Addr + Pod>(
    table: &Table<A, u32>,
    known: &mut BTreeMap<IpAddr, u32>,
) -> Result<()> {
    for element in table.iter() {
        let (addr, flags) = element.map_err(Error::map(table.name(), "reading"))?;
        known.insert(addr.ip(), flags);
    }
    Ok(())
}
