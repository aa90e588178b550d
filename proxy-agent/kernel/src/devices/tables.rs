//! DEVICES and `ADDRS`: kept equal to the plan, element by element.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proxy_common::flags::AddrFlags;
use proxy_common::value::Device;

use crate::error::Result;
use crate::maps::Maps;
use crate::maps::addrs::Addrs;
use crate::maps::table::Table;

/// The maps, and what is known to be in them.
#[derive(Debug)]
pub(super) struct Tables {
    devices: Table<u32, Device>,
    addrs: Addrs,
    known_devices: BTreeMap<u32, Device>,
}

impl Tables {
    /// Takes the maps as an earlier run left them.
    pub(super) fn open(maps: &Maps) -> Result<Self> {
        let devices = maps.devices.duplicate()?;
        let known_devices = devices.all()?.into_iter().collect();
        Ok(Self {
            devices,
            addrs: maps.addrs.clone(),
            known_devices,
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

    /// Makes the node's addresses those of `wanted`: new ones first.
    pub(super) fn set_addresses(&mut self, wanted: &BTreeMap<IpAddr, AddrFlags>) -> Result<()> {
        self.addrs.set_node(wanted)
    }
}
