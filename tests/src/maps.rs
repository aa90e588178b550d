//! A look at the pinned FRONTENDS maps, microseconds after a change: how tests wait for the kernel, and how the demo times it. And
//! FLOWS emptied, as `conntrack -F` does it for netfilter: how a benchmark begins anew.

use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use proxy_common::addr::{Addr, V4, V6, proto};
use proxy_common::be::Be16;
use proxy_common::embryos::EmbryoSet;
use proxy_common::key::{FlowKey, FrontendKey};
use proxy_common::layout::LAYOUT_VERSION;
use proxy_common::value::{Flow, Frontend};

use crate::bpf;
use crate::probe::Proto;

/// `BPF_MAP_LOOKUP_ELEM` of linux/bpf.h.
const LOOKUP: libc::c_long = 1;
/// `BPF_MAP_UPDATE_ELEM`.
const UPDATE: libc::c_long = 2;

/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH` of linux/bpf.h.
const TAKE_BATCH: libc::c_long = 25;
/// Elements taken at a time; more than ever are in one bucket.
const BATCH: u32 = 16_384;

/// Empties the tables of flows below `bpf_root`.
pub fn forget_flows(bpf_root: &Path) -> Result<()> {
    let maps = maps_below(bpf_root);
    empty::<V4>(&maps.join("FLOWS_V4"))?;
    empty::<V6>(&maps.join("FLOWS_V6"))?;
    zero::<EmbryoSet<V4>>(&maps.join("EMBRYOS_V4"))?;
    zero::<EmbryoSet<V6>>(&maps.join("EMBRYOS_V6"))
}

/// Makes all elements of an array zero. The kernel leaves locks in them alone.
fn zero<T>(path: &Path) -> Result<()> {
    let map = bpf::open(path)?;
    let value = vec![0_u8; size_of::<T>()];
    for index in 0_u32.. {
        let mut attributes = Element {
            map_fd: u32::try_from(map.as_raw_fd())?,
            pad: 0,
            key: &raw const index as u64,
            value: value.as_ptr() as u64,
            flags: 0,
        };
        match bpf::call(UPDATE, &mut attributes) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::E2BIG) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("clear {}", path.display())),
        }
    }
    Ok(())
}

/// Attributes of a call about one element.
#[repr(C)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn maps_below(bpf_root: &Path) -> PathBuf {
    bpf_root.join(format!("v{LAYOUT_VERSION}")).join("maps")
}

fn empty<A: Addr>(path: &Path) -> Result<()> {
    #[repr(C)]
    struct Batch {
        from: u64,
        to: u64,
        keys: u64,
        values: u64,
        count: u32,
        map_fd: u32,
        flags: [u64; 2],
    }

    let map = bpf::open(path)?;
    let map_fd = u32::try_from(map.as_raw_fd())?;
    let mut keys = vec![0_u8; BATCH as usize * size_of::<FlowKey<A>>()];
    let mut values = vec![0_u8; BATCH as usize * size_of::<Flow<A>>()];
    let (mut bucket, mut first) = (0_u32, true);
    loop {
        let place = &raw mut bucket as u64;
        let mut batch = Batch {
            from: if first { 0 } else { place },
            to: place,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH,
            map_fd,
            flags: [0; 2],
        };
        first = false;
        match bpf::call(TAKE_BATCH, &mut batch) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("empty {}", path.display())),
        }
    }
}

/// The FRONTENDS maps of one agent.
#[derive(Debug)]
pub struct Frontends {
    v4: Pinned<V4>,
    v6: Pinned<V6>,
}

impl Frontends {
    /// The maps below `bpf_root`.
    pub fn open(bpf_root: &Path) -> Result<Self> {
        let maps = maps_below(bpf_root);
        Ok(Self {
            v4: Pinned::open(&maps.join("FRONTENDS_V4"))?,
            v6: Pinned::open(&maps.join("FRONTENDS_V6"))?,
        })
    }

    /// The frontend at `ip` (unspecified for a node port), if there is one.
    pub fn get(&self, ip: IpAddr, port: u16, protocol: Proto) -> Result<Option<Frontend>> {
        let protocol = match protocol {
            Proto::Tcp => proto::TCP,
            Proto::Udp => proto::UDP,
        };
        match (V4::from_ip(ip), V6::from_ip(ip)) {
            (Some(ip), _) => self
                .v4
                .get(&FrontendKey::new(ip, Be16::new(port), protocol)),
            (None, Some(ip)) => self
                .v6
                .get(&FrontendKey::new(ip, Be16::new(port), protocol)),
            (None, None) => Ok(None),
        }
    }

    /// Backends of each class at `ip`; none if the frontend does not exist.
    pub fn counts(&self, ip: IpAddr, port: u16, protocol: Proto) -> Result<Option<[u32; 3]>> {
        Ok(self
            .get(ip, port, protocol)?
            .map(|frontend| frontend.slices.map(|slice| slice.count)))
    }
}

#[derive(Debug)]
struct Pinned<A> {
    fd: OwnedFd,
    family: PhantomData<A>,
}

impl<A: Addr> Pinned<A> {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            fd: bpf::open(path)?,
            family: PhantomData,
        })
    }

    fn get(&self, key: &FrontendKey<A>) -> Result<Option<Frontend>> {
        let mut frontend = Frontend::default();
        let map_fd = u32::try_from(self.fd.as_raw_fd())?;
        let mut attributes = Element {
            map_fd,
            pad: 0,
            key: std::ptr::from_ref(key) as u64,
            value: &raw mut frontend as u64,
            flags: 0,
        };
        match bpf::call(LOOKUP, &mut attributes) {
            Ok(_) => Ok(Some(frontend)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("look up a frontend"),
        }
    }
}
