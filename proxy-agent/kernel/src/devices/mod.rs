//! The devices of the node: found and followed by netlink, classified, covered with programs.

mod classify;
mod cover;
mod follower;
mod plan;
mod tables;
mod world;

use std::net::IpAddr;
use std::sync::{Arc, mpsc};
use std::thread;

use nix::sys::eventfd::{EfdFlags, EventFd};
use serde::Serialize;
use tokio::sync::watch;

use crate::Loaded;
use crate::error::{Error, Result};
use crate::netlink::socket::{Events, Requests};
use crate::options::LoadOptions;

use classify::Rules;
use cover::Cover;
use follower::{Command, Follower};
use tables::Tables;

/// Handle of the device thread. Dropping it stops the thread; programs stay attached.
#[derive(Debug)]
pub struct Devices {
    status: watch::Receiver<DeviceStatus>,
    commands: Option<mpsc::Sender<Command>>,
    wake: Arc<EventFd>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the device thread knows. Sent on every change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct DeviceStatus {
    /// The first full pass is done and every device that should be covered is.
    pub ready: bool,
    /// Devices that should be covered.
    pub wanted: usize,
    /// Devices that are.
    pub covered: usize,
    /// All devices but lo.
    pub devices: Vec<DeviceView>,
    /// Local addresses, and whether `NodePort`s are served on them.
    pub addresses: Vec<(IpAddr, bool)>,
    /// Whether the nft masquerade table is in place.
    pub masquerade: bool,
    /// How often a program of ours was gone and put back.
    pub reattached: u64,
    /// The last error of the thread as a whole.
    pub error: Option<String>,
}

/// What a device is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Carries a node address or a default route, or is the way in to a bridge that does.
    Node,
    /// A tunnel.
    Overlay,
    /// The other end is in another network namespace.
    Pod,
}

/// How a device is covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Coverage {
    /// TCX links.
    Tcx,
    /// clsact filters.
    Clsact,
    /// Not covered.
    None,
}

/// One device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeviceView {
    /// Interface index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Kind as netlink says (veth, bridge, ...), empty for physical devices.
    pub kind: String,
    /// What it is to us; `None`: left alone.
    pub role: Option<Role>,
    /// Why it has that role, or none.
    pub why: &'static str,
    /// Has no link-layer header.
    pub l3: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// TC coverage.
    pub coverage: Coverage,
    /// XDP runs on it.
    pub xdp: bool,
    /// Why it is not covered although it should be.
    pub error: Option<String>,
}

impl Devices {
    /// Covers what is there, then follows the changes in a thread. For the calling thread's network namespace, which the
    /// thread inherits.
    pub fn start(loaded: &Loaded, options: &LoadOptions) -> Result<Self> {
        let socket = Error::netlink;
        // Before anything is listed: what happens meanwhile waits in the queue.
        let events =
            Events::open(!loaded.features.tcx).map_err(socket("opening the event socket"))?;
        let requests = Requests::open().map_err(socket("opening a socket"))?;
        let cover = Cover::new(loaded, options)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)
            .map_err(|error| Error::io("make", "an eventfd")(error.into()))?;
        let wake = Arc::new(wake);
        let (commands, receiver) = mpsc::channel();
        let (report, status) = watch::channel(DeviceStatus::default());
        let mut follower = Follower {
            events,
            requests,
            wake: Arc::clone(&wake),
            commands: receiver,
            rules: Rules {
                overrides: options.devices.clone(),
                detect: options.detect.clone(),
                node_addresses: Vec::new(),
            },
            node_ports: options.node_port_addresses.clone(),
            settings: loaded.settings,
            masquerade_always: options.masquerade_always(),
            cover,
            tables: Tables::open(&loaded.maps)?,
            report,
            state: follower::State::default(),
        };
        follower.first_pass();
        loaded.copy_late_flows();
        let thread = thread::Builder::new()
            .name("devices".to_owned())
            .spawn(move || follower.run())
            .map_err(Error::io("start", "the device thread"))?;
        Ok(Self {
            status,
            commands: Some(commands),
            wake,
            thread: Some(thread),
        })
    }

    /// Follows the status.
    pub fn status(&self) -> watch::Receiver<DeviceStatus> {
        self.status.clone()
    }

    /// Waits for the first full pass with all wanted devices covered.
    pub async fn ready(&self) {
        let mut status = self.status.clone();
        // An error means that the thread is gone: its status says so, and readiness never comes.
        if status.wait_for(|status| status.ready).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The addresses of the Node object; devices that carry one are node-facing. Call again when they change.
    pub fn set_node_addresses(&self, addresses: &[IpAddr]) {
        let command = Command::NodeAddresses(addresses.to_vec());
        // A thread that is gone has said so in its status.
        if self
            .commands
            .as_ref()
            .is_some_and(|commands| commands.send(command).is_ok())
        {
            self.wake();
        }
    }

    /// Ends the thread and waits for it. Programs stay attached.
    pub fn stop(mut self) {
        self.end();
    }

    fn wake(&self) {
        if let Err(error) = self.wake.write(1) {
            tracing::error!(%error, "the device thread could not be woken");
        }
    }

    fn end(&mut self) {
        drop(self.commands.take());
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the device thread panicked");
        }
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}
