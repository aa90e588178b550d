//! The pin directory made ready for loading: maps that fit stay, others step aside until the new ones serve.

use std::fs;
use std::io;
use std::path::Path;

use aya::Pod;
use aya_obj::Object;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::key::FlowKey;
use proxy_common::value::Flow;

use crate::error::{Error, Result};
use crate::maps::Maps;
use crate::maps::table::{Table, open_checked};
use crate::options::Capacities;
use crate::pins::{self, Pins};
use crate::programs::chain;
use crate::schema::{self, MAPS, MapSpec, Reuse, Shape, decide};
use crate::sys::bpf::{Access, MapInfo, map_info, open_pin};

/// Flow tables that were replaced by larger ones.
#[derive(Debug, Default)]
pub(crate) struct Outgrown {
    flows4: Option<FlowTable<V4>>,
    flows6: Option<FlowTable<V6>>,
}

impl Outgrown {
    /// Copies what is in the smaller tables and not in the larger ones. Returns how many entries.
    pub(crate) fn copy_missing(&self, maps: &Maps) -> Result<usize> {
        let Self { flows4, flows6 } = self;
        Ok(copy_missing(flows4.as_ref(), &maps.flows4)?
            + copy_missing(flows6.as_ref(), &maps.flows6)?)
    }
}

type FlowTable<A> = Table<FlowKey<A>, Flow<A>>;

/// Copies the elements of `from` that `to` lacks. Returns how many.
fn copy_missing<A: Addr>(from: Option<&FlowTable<A>>, to: &FlowTable<A>) -> Result<usize>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let mut copied = 0;
    for element in from.into_iter().flat_map(Table::iter) {
        let (key, flow) = element.map_err(Error::map(to.name(), "copying"))?;
        copied += usize::from(to.insert(&key, &flow)?);
    }
    Ok(copied)
}

/// The pin directory made ready for aya: maps that fit stay, others step aside until the new ones serve.
#[derive(Debug)]
pub(crate) struct MapRoom<'a> {
    pins: &'a Pins,
    pub(crate) sizes: Vec<(MapSpec, u32)>,
    fresh: bool,
    grow: Vec<MapSpec>,
    pub(crate) outgrown: Outgrown,
    pub(crate) reused: bool,
}

impl<'a> MapRoom<'a> {
    pub(crate) fn prepare(
        pins: &'a Pins,
        elf: &[u8],
        capacities: &Capacities,
        remarks: &mut Vec<String>,
    ) -> Result<Self> {
        let wanted = wanted(elf, capacities)?;
        undo_interrupted_growth(pins);
        let found = MAPS
            .iter()
            .map(|spec| pinned(pins, spec))
            .collect::<Result<Vec<_>>>()?;
        let mut room = Self {
            pins,
            sizes: wanted
                .iter()
                .map(|(spec, _shape, max_entries)| (*spec, *max_entries))
                .collect(),
            fresh: false,
            grow: Vec::new(),
            outgrown: Outgrown::default(),
            reused: found.iter().any(Option::is_some),
        };
        let decisions = match decide(&found, &wanted) {
            Ok(decisions) => decisions,
            Err(why) => {
                remarks.push(format!("the pinned maps cannot be kept ({why}): starting with empty ones, connections are lost"));
                remove_maps(&pins.old_maps());
                fs::rename(pins.maps(), pins.old_maps())
                    .map_err(Error::io("rename", pins.maps()))?;
                pins.create()?;
                room.fresh = true;
                room.reused = false;
                return Ok(room);
            }
        };
        for ((spec, size), decision) in room.sizes.iter_mut().zip(decisions) {
            match decision {
                Reuse::Create => {}
                Reuse::Keep { max_entries } => {
                    if max_entries > *size {
                        remarks.push(format!(
                            "map {} keeps its {max_entries} entries, {size} were asked for",
                            spec.name
                        ));
                    }
                    *size = max_entries;
                }
                Reuse::Grow { from } => {
                    remarks.push(format!(
                        "map {} grows from {from} to {size} entries",
                        spec.name
                    ));
                    let (map, aside) = (pins.map(spec.name), pins.old_map(spec.name));
                    fs::rename(&map, &aside).map_err(Error::io("rename", &map))?;
                    room.grow.push(*spec);
                }
            }
        }
        Ok(room)
    }

    /// The load failed: everything back, so that the next attempt finds what serves now.
    pub(crate) fn restore(&self) {
        if self.fresh {
            remove_maps(&self.pins.maps());
            if let Err(error) = fs::rename(self.pins.old_maps(), self.pins.maps()) {
                tracing::warn!(%error, "the maps of the earlier run could not be put back");
            }
        }
        undo_interrupted_growth(self.pins);
    }

    /// The load succeeded: contents move to the grown maps, and what stepped aside goes.
    pub(crate) fn commit(&mut self, maps: &Maps, remarks: &mut Vec<String>) -> Result<()> {
        for spec in &self.grow {
            let aside = self.pins.old_map(spec.name);
            let copied = maps.copy_from(spec, &aside)?;
            remarks.push(format!("map {}: {copied} entries copied", spec.name));
            if *spec == schema::FLOWS_V4 {
                self.outgrown.flows4 = Some(Table::of(open_checked(
                    &schema::FLOWS_V4,
                    &aside,
                    Access::Read,
                )?));
            } else if *spec == schema::FLOWS_V6 {
                self.outgrown.flows6 = Some(Table::of(open_checked(
                    &schema::FLOWS_V6,
                    &aside,
                    Access::Read,
                )?));
            }
            pins::unlink(&aside)?;
        }
        if self.fresh {
            remove_maps(&self.pins.old_maps());
        }
        Ok(())
    }
}

/// A loader that was killed while a map grew left it aside: that one serves, the new one does not yet.
fn undo_interrupted_growth(pins: &Pins) {
    for spec in MAPS {
        let aside = pins.old_map(spec.name);
        if aside.exists()
            && let Err(error) = pins::unlink(&pins.map(spec.name)).and_then(|_was| {
                fs::rename(&aside, pins.map(spec.name)).map_err(Error::io("rename", &aside))
            })
        {
            tracing::warn!(%error, "a map that grew could not be put back");
        }
    }
}

/// Removes a directory of pins.
fn remove_maps(directory: &Path) {
    for (_name, path) in pins::entries(directory) {
        if let Err(error) = pins::unlink(&path) {
            tracing::warn!(%error, "a pinned map could not be removed");
        }
    }
    // Missing, or not empty for the reason just reported.
    drop(fs::remove_dir(directory));
}

fn pinned(pins: &Pins, spec: &MapSpec) -> Result<Option<MapInfo>> {
    let path = pins.map(spec.name);
    match open_pin(&path) {
        Ok(fd) => map_info(&fd)
            .map(Some)
            .map_err(Error::map(spec.name, "reading its shape")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", &path)(error)),
    }
}

/// What the object asks for, with our capacities; an error if the object is not the one this agent was written for.
fn wanted(elf: &[u8], capacities: &Capacities) -> Result<Vec<(MapSpec, Shape, u32)>> {
    let object = Object::parse(elf).map_err(|error| Error::Object(chain(&error)))?;
    let wanted = MAPS.iter().map(|spec| {
        let map = object.maps.get(spec.name).ok_or(Error::Missing {
            kind: "map",
            name: spec.name,
        })?;
        let shape = Shape {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            flags: map.map_flags(),
        };
        let expected = Shape {
            kind: spec.kind,
            key_size: spec.key_size,
            value_size: spec.value_size,
            ..shape
        };
        if shape == expected {
            return Ok((*spec, shape, spec.max_entries(capacities)));
        }
        Err(Error::Object(format!(
            "map {} is of {shape}, the agent expects {expected}: build both again",
            spec.name
        )))
    });
    wanted.collect()
}
