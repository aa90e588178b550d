//! Maps and devices of nobody else: a node on paper.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::thread;

use aya::Ebpf;
use aya::maps::{Map, MapData};
use nix::sched::{CloneFlags, unshare};
use proxy_common::flags::{AddrFlags, DeviceFlags};
use proxy_common::value::Device;
use proxy_model::MapOp;

use super::{Runner, SHARED, unused};
use crate::error::{Error, Result};
use crate::features;
use crate::maps::table::Handle;
use crate::maps::{Applied, Maps};
use crate::netlink::socket::Requests;
use crate::netlink::wire::{Request, msg};
use crate::options::{Capacities, LocalDetector, MASQUERADE_BIT};
use crate::schema::MapSpec;
use crate::settings::{self, Choices};
use crate::sys::bpf::Access;

/// What a node on paper is like.
#[derive(Clone, Debug, Default)]
pub struct SandboxOptions {
    /// As [`crate::LoadOptions::detect`].
    pub detect: LocalDetector,
    /// As [`crate::LoadOptions::exact_masquerade`].
    pub exact_masquerade: bool,
    /// Sizes of the maps that the planner fills.
    pub capacities: Capacities,
}

/// The programs over maps of their own, in an empty network namespace with one device of a pod and one of the node.
#[derive(Debug)]
pub struct Sandbox {
    maps: Maps,
    runner: Runner,
}

impl Sandbox {
    /// Index of the device that a pod is behind.
    pub const POD: u32 = 1001;
    /// Index of the device that the rest of the world is behind.
    pub const NODE: u32 = 1002;

    /// Loads the programs. Takes some hundred milliseconds: keep it for many questions.
    pub fn new(options: &SandboxOptions) -> Result<Self> {
        let SandboxOptions {
            detect,
            exact_masquerade,
            capacities,
        } = options;
        let choices = Choices {
            detect: detect.setting(),
            exact_masquerade: *exact_masquerade,
            // Its routes lead nowhere.
            host_routing: false,
            masquerade_bit: MASQUERADE_BIT,
        };
        let settings = settings::compute("", features::probe()?.bits(), choices)?;
        let mut runner = Runner::load(settings, |loader, spec| {
            let entries = if SHARED.contains(spec) {
                spec.max_entries(capacities)
            } else {
                unused(spec)
            };
            loader.map_max_entries(spec.name, entries);
        })?;
        let maps = Maps::build(Access::Write, |spec, _access| take(&runner.object, spec))?;
        runner.away = Some((empty_namespace()?, own_namespace()?));
        let sandbox = Self { maps, runner };
        for (ifindex, flags) in [
            (Self::POD, DeviceFlags::POD.with(DeviceFlags::INSIDE)),
            (Self::NODE, DeviceFlags::NODE),
        ] {
            let device = Device {
                flags,
                mtu: u32::from(u16::MAX),
                ..Device::default()
            };
            sandbox.maps.devices.update(&ifindex, &device)?;
        }
        Ok(sandbox)
    }

    /// Executes what the planner planned.
    pub fn apply(&mut self, ops: &[MapOp]) -> Applied {
        self.maps.apply(ops)
    }

    /// Sets the node's addresses; see [`crate::node_addr_flags`].
    pub fn set_node_addresses(&mut self, wanted: &BTreeMap<IpAddr, AddrFlags>) -> Result<()> {
        self.maps.addrs.set_node(wanted)
    }

    /// Forgets what was applied: frontends, addresses and ranges. Whatever they named is not found any more.
    pub fn clear(&mut self) -> Result<()> {
        self.set_node_addresses(&BTreeMap::new())?;
        self.maps.forget()
    }

    /// Asks the questions. The pod's device is [`Self::POD`], the node's is [`Self::NODE`].
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// What the maps hold.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }
}

/// A map of the loaded object.
fn take(object: &Ebpf, spec: &'static MapSpec) -> Result<Handle> {
    let missing = || Error::Missing {
        kind: "map",
        name: spec.name,
    };
    let map = object.map(spec.name).and_then(data).ok_or_else(missing)?;
    let fd = map
        .fd()
        .as_fd()
        .try_clone_to_owned()
        .map_err(Error::map(spec.name, "duplicating its handle"))?;
    Handle::checked(spec, fd, Path::new("the eBPF object"))
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data) => Some(data),
        _other => None,
    }
}

fn own_namespace() -> Result<OwnedFd> {
    const PATH: &str = "/proc/thread-self/ns/net";
    let file = File::open(PATH).map_err(Error::io("open", PATH))?;
    Ok(file.into())
}

/// A network namespace with the two devices and without routes. It goes with its last handle.
fn empty_namespace() -> Result<OwnedFd> {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| Error::io("make", "a network namespace")(error.into()))?;
        add_devices()?;
        own_namespace()
    });
    made.join().unwrap_or_else(|_panic| {
        let error = std::io::Error::other("its thread panicked");
        Err(Error::io("make", "a network namespace")(error))
    })
}

/// A veth: both of its ends are devices that test runs can name.
fn add_devices() -> Result<()> {
    mod attribute {
        pub(super) const IFNAME: u16 = 3;
        pub(super) const LINKINFO: u16 = 18;
        pub(super) const INFO_KIND: u16 = 1;
        pub(super) const INFO_DATA: u16 = 2;
        pub(super) const VETH_INFO_PEER: u16 = 1;
    }
    /// struct ifinfomsg.
    fn header(index: u32) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[4..8].copy_from_slice(&index.to_ne_bytes());
        bytes
    }
    // The other end's header and, of eight bytes, its name.
    let mut peer = header(Sandbox::NODE).to_vec();
    peer.extend_from_slice(&8u16.to_ne_bytes());
    peer.extend_from_slice(&attribute::IFNAME.to_ne_bytes());
    peer.extend_from_slice(b"out\0");
    let flags = msg::ACK | msg::CREATE | msg::EXCLUSIVE;
    let request = Request::new(msg::NEWLINK, flags, &header(Sandbox::POD))
        .attribute(attribute::IFNAME, b"pod\0")
        .nested(attribute::LINKINFO, |info| {
            info.attribute(attribute::INFO_KIND, b"veth\0")
                .nested(attribute::INFO_DATA, |data| {
                    data.attribute(attribute::VETH_INFO_PEER, &peer)
                })
        });
    let failed = Error::netlink;
    Requests::open()
        .map_err(failed("opening a socket"))?
        .request(request)
        .map_err(failed("making two devices"))
}
