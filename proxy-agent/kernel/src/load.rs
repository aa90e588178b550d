//! Loading: surroundings checked, features probed, pinned maps checked and reused, programs loaded.
//!
//! Attaches nothing: what an earlier run pinned keeps serving until [`crate::devices`] and [`crate::sockets`] replace it.

use std::fs;

use aya::EbpfLoader;
use aya_obj::Object;
use proxy_common::value::Settings;

use crate::error::{Error, Result};
use crate::features::{self, Features};
use crate::maps::Maps;
use crate::options::{Capacities, LoadOptions};
use crate::pins::{self, Pins};
use crate::programs::{Programs, chain};
use crate::schema::{MAPS, MapSpec, Reuse, Shape, decide};
use crate::sys::bpf::{MapInfo, map_info, open_pin};
use crate::{cleanup, host, object, settings};

/// The loaded object: maps live and pinned, programs in the kernel, nothing attached yet (or still: what an earlier run pinned).
#[derive(Debug)]
pub struct Loaded {
    /// The maps.
    pub maps: Maps,
    /// The programs.
    pub programs: Programs,
    /// What the kernel can do.
    pub features: Features,
    /// What the programs were given.
    pub settings: Settings,
    /// Actual map sizes: an existing larger map keeps its size.
    pub capacities: Capacities,
    /// Whether maps of an earlier run were reused: recover the planner from [`Maps::dump`].
    pub reused: bool,
    /// Remarks for the log, one line each (maps recreated, old layouts found, ...).
    pub remarks: Vec<String>,
}

impl Loaded {
    /// Loads everything. Blocks for a few hundred milliseconds. Call it in the node's network namespace.
    pub fn load(options: &LoadOptions) -> Result<Self> {
        let elf = object::bytes();
        if elf.is_empty() {
            return Err(Error::NoObject);
        }
        host::prepare(&options.bpf_root)?;
        host::check_cgroup_root(&options.cgroup_root)?;
        let features = features::probe()?;
        let settings = settings::compute(&options.node_name, features.bits())?;
        let elf = object::for_kernel(elf, features.xdp_frags);

        let pins = Pins::current(&options.bpf_root);
        pins.create()?;
        let mut remarks = Vec::new();
        let mut room = MapRoom::prepare(&pins, &elf, &options.capacities, &mut remarks)?;
        let loaded = load_object(&pins, &elf, &settings, &room.sizes);
        let (maps, programs) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                room.restore();
                return Err(error);
            }
        };
        room.commit(&maps, &mut remarks)?;
        for old in pins::other_versions(&options.bpf_root) {
            remarks.push(format!(
                "{} is of another layout version: removed once all programs are replaced",
                old.display()
            ));
        }
        let capacities = maps.capacities();
        Ok(Self {
            maps,
            programs,
            features,
            settings,
            capacities,
            reused: room.reused,
            remarks,
        })
    }

    /// After all programs are attached: removes what earlier layout versions left behind. Returns what it removed.
    pub fn retire_old_layouts(&self, options: &LoadOptions) -> Vec<String> {
        let mut report = cleanup::Removed::default();
        for version in pins::other_versions(&options.bpf_root) {
            cleanup::remove_version(&version, &mut report);
        }
        for error in &report.errors {
            tracing::warn!(%error, "an old layout version could not be removed");
        }
        report.removed
    }
}

/// Loads maps and programs by aya; maps that are pinned are reused by it without any check, which [`MapRoom`] made.
fn load_object(
    pins: &Pins,
    elf: &[u8],
    settings: &Settings,
    sizes: &[(MapSpec, u32)],
) -> Result<(Maps, Programs)> {
    let mut loader = EbpfLoader::new();
    loader.override_global("SETTINGS", settings, true);
    for (spec, max_entries) in sizes {
        loader.map_max_entries(spec.name, *max_entries);
        loader.map_pin_path(spec.name, pins.map(spec.name));
    }
    let mut object = loader
        .load(elf)
        .map_err(|error| Error::Object(chain(&error)))?;
    let programs = Programs::load(&mut object)?;
    // The pins hold the maps; aya's own handles go with `object`.
    let maps = Maps::open_pins(pins, true)?;
    Ok((maps, programs))
}

/// The pin directory made ready for aya: maps that fit stay, others step aside until the new ones serve.
#[derive(Debug)]
struct MapRoom<'a> {
    pins: &'a Pins,
    sizes: Vec<(MapSpec, u32)>,
    fresh: bool,
    grow: Vec<MapSpec>,
    reused: bool,
}

impl<'a> MapRoom<'a> {
    fn prepare(
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
    fn restore(&self) {
        if self.fresh {
            remove_maps(&self.pins.maps());
            if let Err(error) = fs::rename(self.pins.old_maps(), self.pins.maps()) {
                tracing::warn!(%error, "the maps of the earlier run could not be put back");
            }
        }
        undo_interrupted_growth(self.pins);
    }

    /// The load succeeded: contents move to the grown maps, and what stepped aside goes.
    fn commit(&mut self, maps: &Maps, remarks: &mut Vec<String>) -> Result<()> {
        for spec in &self.grow {
            let aside = self.pins.old_map(spec.name);
            let copied = maps.copy_from(spec, &aside)?;
            remarks.push(format!("map {}: {copied} entries copied", spec.name));
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
fn remove_maps(directory: &std::path::Path) {
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
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
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
