//! A small node with an agent's kernel side on it, for tests of devices.

use std::collections::BTreeMap;
use std::process::Command;

use aya::programs::links::{FdLink, PinnedLink};
use proxy_kernel::devices::{Coverage, DeviceStatus, Devices, Role};
use proxy_kernel::{LoadOptions, Loaded};

use super::{World, dir, eventually, pin_path, run};

/// A node with an uplink, a routed pod, and a bridge with a pod behind it.
pub(crate) fn build_node(world: &World) {
    world.add_pod("eth0");
    world.ip(&["addr", "add", "192.0.2.1/24", "dev", "eth0"]);
    world.ip(&["addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad"]);
    world.ip(&["route", "add", "default", "via", "192.0.2.254"]);
    world.add_pod("cali1");
    world.ip(&["link", "add", "cni0", "type", "bridge"]);
    world.ip(&["addr", "add", "10.244.1.1/24", "dev", "cni0"]);
    world.ip(&["link", "set", "cni0", "up"]);
    world.add_pod("veth1");
    world.ip(&["link", "set", "veth1", "master", "cni0"]);
}

/// Loads and covers everything.
pub(crate) fn start(options: &LoadOptions) -> (Loaded, Devices) {
    let loaded = Loaded::load(options).unwrap();
    let devices = Devices::start(&loaded, options).unwrap();
    wait(&devices, "ready", |status| status.ready);
    (loaded, devices)
}

/// The first status that fits.
#[track_caller]
pub(crate) fn wait(
    devices: &Devices,
    what: &str,
    condition: impl Fn(&DeviceStatus) -> bool,
) -> DeviceStatus {
    let status = devices.status();
    let mut last = status.borrow().clone();
    eventually(&format!("{what}: {last:#?}"), || {
        last = status.borrow().clone();
        condition(&last)
    });
    last
}

/// Role and coverage by name.
pub(crate) fn roles(status: &DeviceStatus) -> BTreeMap<&str, (Option<Role>, Coverage)> {
    status
        .devices
        .iter()
        .map(|device| (device.name.as_str(), (device.role, device.coverage)))
        .collect()
}

/// Index of a device of the world.
pub(crate) fn ifindex(world: &World, name: &str) -> u32 {
    let json =
        run(Command::new("ip").args(["-n", &world.netns, "-j", "link", "show", name])).unwrap();
    let (_before, rest) = json.split_once("\"ifindex\":").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

/// Names of the pinned links.
pub(crate) fn links(options: &LoadOptions) -> Vec<String> {
    dir(&options.bpf_root.join(pin_path("links")))
        .into_iter()
        .map(|(name, _path)| name)
        .collect()
}

/// Kernel id of a pinned link.
pub(crate) fn link_id(options: &LoadOptions, name: &str) -> u32 {
    let link = PinnedLink::from_pin(options.bpf_root.join(pin_path("links")).join(name)).unwrap();
    let link: FdLink = link.into();
    link.info().unwrap().id()
}
