//! The node that tests and benchmarks play on: its devices, routes and addresses in both families.
//!
//! Every address lies in `8.0.0.0/16` or `fd00:0:86dd::/48`. Seen where the kernel's test run expects an Ethernet header, the
//! source address of such a packet reads as the right `EtherType`, so programs for devices without one can be run too.

use core::net::IpAddr;

use crate::addr::{Addr, V4, V6};
use crate::embryos::SETS;
use crate::flags::{AddrFlags, DeviceFlags};
use crate::sim::tables::NextHop;
use crate::sim::world::{Holds, World};
use crate::value::{Device, Settings};

/// Device of [`Names::pod`].
pub const POD: u32 = 10;
/// Device of [`Names::local`].
pub const OTHER_POD: u32 = 11;
/// Device towards other nodes and the outside.
pub const NODE: u32 = 20;
/// As [`NODE`], with an MTU of 1280.
pub const NARROW: u32 = 21;
/// A tunnel: packets may not be redirected out of it.
pub const TUNNEL: u32 = 30;

/// Every device and its MTU.
pub const DEVICES: [(u32, u32); 5] = [
    (POD, 1500),
    (OTHER_POD, 1500),
    (NODE, 1500),
    (NARROW, 1280),
    (TUNNEL, 1400),
];

/// Bit that asks for masquerade.
pub const MARK: u32 = 0x4000;
/// First and last port of SNAT.
pub const PORTS: (u16, u16) = (1024, 29_999);

/// Addresses of one family.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Whether they are IPv6 addresses.
    pub v6: bool,
    /// A pod of this node.
    pub pod: &'static str,
    /// Another one.
    pub local: &'static str,
    /// A pod of another node, reached through [`NODE`].
    pub remote: &'static str,
    /// The same, through [`TUNNEL`].
    pub tunnelled: &'static str,
    /// The same, through [`NARROW`].
    pub narrow: &'static str,
    /// A pod that no route leads to.
    pub unreachable: &'static str,
    /// A pod behind [`NODE`] whose next hop's address is not known.
    pub unresolved: &'static str,
    /// A host beyond [`NODE`].
    pub outside: &'static str,
    /// This node.
    pub node: &'static str,
    /// A frontend.
    pub vip: &'static str,
    /// Another one.
    pub other_vip: &'static str,
    /// An address of the `ServiceCIDR` that no Service has.
    pub free_vip: &'static str,
    /// The `ServiceCIDR`'s mask.
    pub mask: &'static str,
    /// Source of connections of a pod to itself.
    pub hairpin: &'static str,
}

/// IPv4 and IPv6.
pub const FAMILIES: [Names; 2] = [
    Names {
        v6: false,
        pod: "8.0.1.5",
        local: "8.0.1.6",
        remote: "8.0.2.7",
        tunnelled: "8.0.3.8",
        narrow: "8.0.4.9",
        unreachable: "8.0.5.1",
        unresolved: "8.0.6.1",
        outside: "8.0.9.9",
        node: "8.0.10.10",
        vip: "8.0.96.1",
        other_vip: "8.0.96.2",
        free_vip: "8.0.97.3",
        mask: "255.255.254.0",
        hairpin: "169.254.77.1",
    },
    Names {
        v6: true,
        pod: "fd00:0:86dd:1::5",
        local: "fd00:0:86dd:1::6",
        remote: "fd00:0:86dd:2::7",
        tunnelled: "fd00:0:86dd:3::8",
        narrow: "fd00:0:86dd:4::9",
        unreachable: "fd00:0:86dd:5::1",
        unresolved: "fd00:0:86dd:6::1",
        outside: "fd00:0:86dd:9::9",
        node: "fd00:0:86dd:10::10",
        vip: "fd00:0:86dd:96::1",
        other_vip: "fd00:0:86dd:96::2",
        free_vip: "fd00:0:86dd:96:1::3",
        mask: "ffff:ffff:ffff:ffff::",
        hairpin: "fd6b:7368::1",
    },
];

/// An address's network of 24 or 64 bits, the device it is reached by, and whether the next hop's address is known.
pub type Lane = (&'static str, u32, u32, bool);

impl Names {
    /// The routes. Pods of this node have one each.
    pub const fn lanes(&self) -> [Lane; 8] {
        let (bits, host) = if self.v6 { (64, 128) } else { (24, 32) };
        [
            (self.pod, host, POD, true),
            (self.local, host, OTHER_POD, true),
            (self.remote, bits, NODE, true),
            (self.outside, bits, NODE, true),
            (self.tunnelled, bits, TUNNEL, true),
            (self.narrow, bits, NARROW, true),
            (self.unresolved, bits, NODE, false),
            // A router that would send packets to this address back here.
            (self.vip, host, NODE, true),
        ]
    }
}

/// MAC addresses of frames that leave by `ifindex`: of the next hop, and of the device.
pub const fn macs(ifindex: u32) -> [u8; 12] {
    let [low, ..] = ifindex.to_le_bytes();
    [2, 0, 0, 0, low, 1, 2, 0, 0, 0, low, 2]
}

/// Settings of the node.
pub fn settings() -> Settings {
    Settings {
        hash_seed: 0x1234_5678,
        masquerade_mark: MARK,
        hairpin4: addr(FAMILIES[0].hairpin),
        hairpin6: addr(FAMILIES[1].hairpin),
        snat_port_min: PORTS.0,
        snat_port_max: PORTS.1,
        embryo_mask: SETS - 1,
        ..Settings::default()
    }
}

/// The node without Services, with room for `flows` entries in each FLOWS.
pub fn world(settings: Settings, flows: usize) -> World {
    let mut world = World::new(settings, flows);
    let node = DeviceFlags::NODE
        .with(DeviceFlags::REDIRECT)
        .with(DeviceFlags::XDP);
    for (ifindex, mtu) in DEVICES {
        let (flags, own) = match ifindex {
            POD | OTHER_POD => {
                let pod = DeviceFlags::POD
                    .with(DeviceFlags::INSIDE)
                    .with(DeviceFlags::PEER);
                (pod.with(DeviceFlags::REDIRECT), false)
            }
            TUNNEL => (DeviceFlags::OVERLAY, true),
            _ => (node, true),
        };
        let mut device = Device {
            flags,
            mtu,
            ..Device::default()
        };
        if own {
            device.src4 = addr(FAMILIES[0].node);
            device.src6 = addr(FAMILIES[1].node);
        }
        world.devices.insert(ifindex, device);
    }
    routes::<V4>(&mut world, &FAMILIES[0]);
    routes::<V6>(&mut world, &FAMILIES[1]);
    world
}

fn routes<A: Addr>(world: &mut World, names: &Names)
where
    World: Holds<A>,
{
    let family = world.family_mut();
    for (net, bits, ifindex, known) in names.lanes() {
        let mtu = DEVICES.iter().find(|(device, _)| *device == ifindex);
        family.routes.push(NextHop {
            net: addr(net),
            bits,
            ifindex,
            mtu: mtu.map_or(0, |(_, mtu)| *mtu),
            macs: known.then(|| macs(ifindex)),
        });
    }
    let node = addr(names.node);
    let flags = AddrFlags::NODE.with(AddrFlags::NODE_PORT);
    family.addrs.insert(node, flags);
}

/// `text` as an address of family `A`; the unspecified one if it is none.
pub fn addr<A: Addr>(text: &str) -> A {
    let ip = text.parse::<IpAddr>().ok();
    ip.and_then(A::from_ip).unwrap_or_default()
}
