//! Loading: surroundings checked, features probed, pinned maps checked and reused, programs loaded.
//!
//! Attaches nothing: what an earlier run pinned keeps serving until [`crate::devices`] and [`crate::sockets`] replace it.

use aya::EbpfLoader;
use proxy_common::embryos;
use proxy_common::value::Settings;

use crate::error::{Error, Result};
use crate::features::{self, Features};
use crate::maps::Maps;
use crate::options::{Capacities, LoadOptions};
use crate::pins::{self, Pins};
use crate::programs::{Programs, chain};
use crate::room::{MapRoom, Outgrown};
use crate::schema::{MapSpec, Size};
use crate::sys::bpf::Access;
use crate::trace::Trace;
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
    /// The programs' log lines, if the object was built to log.
    pub trace: Option<Trace>,
    /// The smaller flow tables that grew, until the programs that use them are replaced.
    outgrown: Outgrown,
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
        let mut settings = settings::compute(&options.node_name, features.bits(), options.into())?;
        let elf = object::for_kernel(elf, features.xdp_frags);

        let pins = Pins::current(&options.bpf_root);
        pins.create()?;
        let mut remarks = Vec::new();
        let mut room = MapRoom::prepare(&pins, &elf, &options.capacities, &mut remarks)?;
        settings.embryo_mask = embryo_mask(&room.sizes);
        let loaded = load_object(&pins, &elf, &settings, &room.sizes);
        let (maps, programs, trace) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                room.restore();
                return Err(error);
            }
        };
        room.commit(&maps, &mut remarks)?;
        settings::publish(&pins, &settings)?;
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
            trace,
            outgrown: room.outgrown,
        })
    }

    /// Once the programs on devices are replaced: connections that the old ones took into a flow table while it grew.
    pub(crate) fn copy_late_flows(&self) {
        match self.outgrown.copy_missing(&self.maps) {
            Ok(0) => {}
            Ok(copied) => tracing::info!(copied, "flows taken while their table grew"),
            Err(error) => tracing::warn!(%error, "flows taken while their table grew may be lost"),
        }
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

/// The last set of EMBRYOS that the programs may use, those of both families.
fn embryo_mask(sizes: &[(MapSpec, u32)]) -> u32 {
    let embryos = sizes.iter().filter(|(spec, _)| spec.size == Size::Embryos);
    embryos::mask(embryos.map(|(_, sets)| *sets).min().unwrap_or(0))
}

/// Loads maps and programs by aya; maps that are pinned are reused by it without any check, which [`MapRoom`] made.
fn load_object(
    pins: &Pins,
    elf: &[u8],
    settings: &Settings,
    sizes: &[(MapSpec, u32)],
) -> Result<(Maps, Programs, Option<Trace>)> {
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
    let maps = Maps::open_pins(pins, Access::Write)?;
    Ok((maps, programs, Trace::take(&mut object)))
}
