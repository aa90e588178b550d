//! The kernel side as the sync task and the metrics see it: proxy-kernel behind their traits, attached at the right moment.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use proxy_common::reason::{Hook, Reason};
use proxy_kernel::aging::{Aging, AgingStats};
use proxy_kernel::devices::{DeviceStatus, Devices};
use proxy_kernel::maps::{Applied, Occupancy};
use proxy_kernel::stale::{StaleSockets, StaleStats};
use proxy_kernel::{LoadOptions, Loaded, Maps, sockets};
use proxy_model::MapOp;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::metrics::KernelFigures;
use crate::sync::Executor;

/// The loaded programs and maps, owned by the sync task.
#[derive(Debug)]
pub struct Kernel {
    loaded: Loaded,
    options: LoadOptions,
    attached: bool,
    devices: watch::Sender<Option<Arc<Devices>>>,
    stale: Option<StaleSockets>,
}

impl Kernel {
    /// Takes over what was loaded. With maps of an earlier run, which serve already, everything is attached at once: new pods
    /// must not wait for an API server. Fresh maps are filled first.
    pub fn new(
        loaded: Loaded,
        options: LoadOptions,
        stale: Option<StaleSockets>,
    ) -> anyhow::Result<(Self, watch::Receiver<Option<Arc<Devices>>>)> {
        let (devices, receiver) = watch::channel(None);
        let mut kernel = Self {
            loaded,
            options,
            attached: false,
            devices,
            stale,
        };
        if kernel.loaded.reused {
            kernel.attach()?;
        }
        Ok((kernel, receiver))
    }

    fn attach(&mut self) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.attached, true) {
            return Ok(());
        }
        let hooks = sockets::attach(&self.loaded, &self.options)
            .context("cannot attach the socket hooks")?;
        info!(hooks = hooks.len(), cgroup = %self.options.cgroup_root.display(), "socket hooks attached");
        for hook in hooks {
            debug!(hook, "socket hook");
        }
        let devices = Devices::start(&self.loaded, &self.options)
            .context("cannot follow the network devices")?;
        self.devices.send_replace(Some(Arc::new(devices)));
        Ok(())
    }
}

impl Executor for Kernel {
    fn apply(&mut self, ops: &[MapOp]) -> Applied {
        let applied = self.loaded.maps.apply(ops);
        if applied.gone
            && let Some(stale) = &self.stale
        {
            stale.look();
        }
        applied
    }

    fn synced(&mut self) -> anyhow::Result<()> {
        self.attach()?;
        for removed in self.loaded.retire_old_layouts(&self.options) {
            info!(removed, "left over by another version");
        }
        Ok(())
    }
}

/// Loads maps and programs and says what was found.
pub fn load(options: &LoadOptions) -> anyhow::Result<Loaded> {
    let loaded = Loaded::load(options).context("cannot load the eBPF programs")?;
    for remark in &loaded.remarks {
        warn!("{remark}");
    }
    let features = &loaded.features;
    info!(
        kernel = features.release,
        tcx = features.tcx,
        batch = features.batch,
        set_retval = features.set_retval,
        coarse_clock = features.coarse_clock,
        netns_cookie = features.netns_cookie,
        reused = loaded.reused,
        "programs loaded"
    );
    Ok(loaded)
}

/// Looks after the node's connected UDP sockets, where the kernel can.
pub fn stale_sockets(maps: &Maps) -> Option<StaleSockets> {
    StaleSockets::start(maps)
        .inspect_err(|error| {
            warn!(%error, "connected UDP sockets of the node keep backends that are gone");
        })
        .ok()
}

/// The figures for a scrape, through descriptors of their own: a scrape never waits for a sync.
#[derive(Debug)]
pub struct Figures {
    maps: Maps,
    aging: Aging,
    stale: Option<watch::Receiver<StaleStats>>,
    devices: OnceLock<Arc<Devices>>,
}

impl Figures {
    /// Figures of the maps pinned under `bpf_root`.
    pub fn open(
        bpf_root: &Path,
        aging: Aging,
        stale: Option<&StaleSockets>,
    ) -> anyhow::Result<Self> {
        let maps = Maps::open(bpf_root).context("cannot open the maps for reading")?;
        Ok(Self {
            maps,
            aging,
            stale: stale.map(StaleSockets::report),
            devices: OnceLock::new(),
        })
    }

    /// The devices are followed from now on.
    pub fn devices_started(&self, devices: Arc<Devices>) {
        // They start once.
        let _first = self.devices.set(devices).is_ok();
    }
}

impl KernelFigures for Arc<Figures> {
    fn counters(&self) -> anyhow::Result<Vec<(Reason, Hook, u64)>> {
        Ok(self.maps.counters()?)
    }

    fn occupancy(&self) -> anyhow::Result<Vec<Occupancy>> {
        Ok(self.maps.occupancy()?)
    }

    fn devices(&self) -> Option<DeviceStatus> {
        self.devices
            .get()
            .map(|devices| devices.status().borrow().clone())
    }

    fn aging(&self) -> Option<AgingStats> {
        Some(self.aging.stats())
    }

    fn stale(&self) -> Option<StaleStats> {
        self.stale.as_ref().map(|stats| *stats.borrow())
    }
}
