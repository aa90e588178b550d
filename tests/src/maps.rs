//! A look at the pinned FRONTENDS maps, microseconds after a change: how tests wait for the kernel, and how the demo times it.

use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};
use proxy_common::addr::{Addr, V4, V6, proto};
use proxy_common::be::Be16;
use proxy_common::key::FrontendKey;
use proxy_common::layout::LAYOUT_VERSION;
use proxy_common::value::Frontend;

use crate::bpf;
use crate::probe::Proto;

/// `BPF_MAP_LOOKUP_ELEM` of linux/bpf.h.
const LOOKUP: libc::c_long = 1;

/// The FRONTENDS maps of one agent.
#[derive(Debug)]
pub struct Frontends {
    v4: Pinned<V4>,
    v6: Pinned<V6>,
}

impl Frontends {
    /// The maps below `bpf_root`.
    pub fn open(bpf_root: &Path) -> Result<Self> {
        let maps = bpf_root.join(format!("v{LAYOUT_VERSION}")).join("maps");
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
        #[repr(C)]
        struct Element {
            map_fd: u32,
            pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }

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
