//! The devices of the node: found and followed by netlink, classified, covered with programs.

use std::net::IpAddr;

use serde::Serialize;
use tokio::sync::watch;

use crate::error::Result;
use crate::options::LoadOptions;
use crate::Loaded;

/// Handle of the device thread. Dropping it stops the thread; programs stay attached.
#[derive(Debug)]
pub struct Devices {
    status: watch::Receiver<DeviceStatus>,
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
    /// Local addresses, and whether NodePorts are served on them.
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
    /// Starts the thread in the calling thread's network namespace; it inherits it.
    pub fn start(_loaded: &Loaded, _options: &LoadOptions) -> Result<Self> {
        todo!()
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
    pub fn set_node_addresses(&self, _addresses: &[IpAddr]) {
        todo!()
    }

    /// Ends the thread and waits for it. Programs stay attached.
    pub fn stop(self) {}
}
