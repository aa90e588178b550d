//! Frames through the XDP program and on to the wire: they arrive translated, at the far end of the right device.

use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::netns::Namespace;
use integration::prog_run::{Kernel, namespace};
use integration::{requirements, wait};
use proxy_common::addr::{V4, V6};
use proxy_common::path::Action;
use proxy_common::reason::{Hook, Reason};
use proxy_common::sim::build::Build;
use proxy_common::sim::oracle::{self, Seen};
use proxy_common::sim::scene::{self, FAMILIES, NARROW, NODE, Names};
use proxy_common::sim::services::Services;
use proxy_common::sim::{Program, Skb};
use socket2::{Domain, Protocol, Socket, Type};

/// Frames sent at once; more than fit into a socket's buffer would be lost there.
const FRAMES: u32 = 32;

/// Receives every frame of a device.
fn tap(device: &str) -> Result<Socket> {
    /// `ETH_P_ALL`, in network order.
    const ALL: u16 = 3_u16.to_be();
    let socket = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(i32::from(ALL))),
    )?;
    let index = nix::net::if_::if_nametoindex(device)?;
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: ALL,
        sll_ifindex: i32::try_from(index)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is of the type and length that packet sockets take.
    let failed = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            u32::try_from(size_of_val(&address))?,
        )
    };
    ensure!(
        failed == 0,
        "bind to {device}: {}",
        std::io::Error::last_os_error()
    );
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(socket)
}

/// Waits until `FRAMES` frames of protocol `proto` to `dst` have come, and returns the last.
fn arrived(tap: &Socket, macs: &[u8], proto: u8, dst: SocketAddr) -> Result<Seen> {
    let mut count = 0;
    let mut last = None;
    wait::until("all frames", wait::SOON, || {
        let mut bytes = [0; 2048];
        while let Ok(length) = std::io::Read::read(&mut &*tap, &mut bytes) {
            let frame = &bytes[..length];
            // The namespace's own chatter is no concern of ours, but a wrong checksum in a frame to `dst` would be.
            let Ok(seen) = oracle::see(&frame[14..]) else {
                continue;
            };
            if seen.proto == proto && seen.dst == dst {
                ensure!(frame[..12] == *macs, "MAC addresses {:02x?}", &frame[..12]);
                count += 1;
                last = Some(seen);
            }
            if count == FRAMES {
                return Ok(());
            }
        }
        anyhow::bail!("{count} of {FRAMES} frames to {dst}")
    })?;
    last.context("no frame")
}

fn forwards(names: &Names, namespace: &Namespace) -> Result<()> {
    namespace.enter(|| -> Result<()> {
        let mut world = scene::world(scene::settings(), 64);
        let mut services = Services::new(*names, 1);
        if names.v6 {
            services.all_kinds::<V6>(&mut world);
        } else {
            services.all_kinds::<V4>(&mut world);
        }
        let mut kernel = Kernel::load(world.settings, 64, &[Program::Xdp])?;
        kernel.occupy_devices()?;
        kernel.mirror(&world)?;
        let at = |ip: &str, port| -> Result<SocketAddr> { Ok(SocketAddr::new(ip.parse()?, port)) };
        let (far, near) = (tap(&format!("peer{NARROW}"))?, tap(&format!("peer{NODE}"))?);
        let (frontend, backend) = (at(names.node, 30_080)?, at(names.narrow, 8081)?);
        // The frontend has a backend behind each device. The memory body tells for which port the kernel takes NARROW's.
        let (client, own, ask) = (4000..5000)
            .find_map(|port| {
                let client = SocketAddr::new(names.outside.parse().ok()?, port);
                let ask = Skb::new(
                    Build::udp(client, frontend).payload(b"question").frame(),
                    NODE,
                );
                let mut sent = ask.clone();
                let action = Program::Xdp.run(&world, &mut sent);
                let own = oracle::see(&sent.bytes[14..]).ok()?.src;
                (action == Action::Redirect(NARROW)).then_some((client, own, ask))
            })
            .context("no port leads to the backend behind the narrow device")?;
        kernel.live(&ask, FRAMES)?;
        let seen = arrived(&far, &scene::macs(NARROW), 17, backend)?;
        ensure!((seen.src, seen.ttl) == (own, 63), "{seen:?}");
        ensure!(seen.segment[8..] == *b"question", "{seen:?}");
        let answer = Skb::new(Build::udp(backend, own).payload(b"answer").frame(), NARROW);
        kernel.live(&answer, FRAMES)?;
        let seen = arrived(&near, &scene::macs(NODE), 17, client)?;
        ensure!((seen.src, seen.ttl) == (frontend, 63), "{seen:?}");
        ensure!(seen.segment[8..] == *b"answer", "{seen:?}");
        let counted = kernel.counted(Reason::NewFlow, Hook::Xdp)?
            + kernel.counted(Reason::Retransmitted, Hook::Xdp)?;
        ensure!(
            counted == u64::from(FRAMES),
            "{counted} requests were counted"
        );
        Ok(())
    })?
}

#[test]
fn frames_arrive_translated() -> Result<()> {
    if !requirements::met("frames_arrive_translated") {
        return Ok(());
    }
    for names in &FAMILIES {
        forwards(names, &namespace()?)?;
    }
    Ok(())
}
