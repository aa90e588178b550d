//! The devices and routes of `proxy_common::sim::scene` in a network namespace, so that the kernel's route lookups are real.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use proxy_common::sim::scene::{DEVICES, FAMILIES, macs};

use crate::netns::{Namespace, ip_batch, write_sysctl};

/// A namespace of its own with the scene's devices (veths whose other end is called `peer<ifindex>`), routes and neighbours.
pub fn namespace() -> Result<Namespace> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ks-run-{}-{count}", std::process::id());
    let namespace = Namespace::create_all(&[name])?
        .pop()
        .context("one namespace was asked for")?;
    namespace.enter(|| -> Result<()> {
        write_sysctl("ipv4/ip_forward", "1")?;
        write_sysctl("ipv6/conf/all/forwarding", "1")?;
        ip_batch(Command::new("ip"), &script())
    })??;
    Ok(namespace)
}

/// The devices by `ip -batch`.
fn script() -> String {
    let mut script = String::new();
    for (ifindex, mtu) in DEVICES {
        let [next, own] = addresses(ifindex);
        // Writing to a String cannot fail.
        let _written = write!(
            script,
            "link add dev{ifindex} index {ifindex} address {own} mtu {mtu} type veth peer name peer{ifindex} address {next} mtu {mtu}\n\
             link set dev{ifindex} up\n\
             link set peer{ifindex} up\n\
             addr add 172.31.{ifindex}.1/24 dev dev{ifindex}\n\
             addr add fd99:{ifindex}::1/64 dev dev{ifindex} nodad\n\
             neigh add 172.31.{ifindex}.2 lladdr {next} dev dev{ifindex} nud permanent\n\
             neigh add fd99:{ifindex}::2 lladdr {next} dev dev{ifindex} nud permanent\n"
        );
    }
    for names in &FAMILIES {
        for (net, bits, ifindex, known) in names.lanes() {
            let host = if known { 2 } else { 3 };
            let next = if names.v6 {
                format!("fd99:{ifindex}::{host}")
            } else {
                format!("172.31.{ifindex}.{host}")
            };
            let net = network(net, bits);
            let _written = writeln!(script, "route add {net}/{bits} via {next} dev dev{ifindex}");
        }
    }
    script
}

/// MAC addresses of the next hop and of the device.
fn addresses(ifindex: u32) -> [String; 2] {
    let macs = macs(ifindex);
    let text = |mac: &[u8]| {
        let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(":")
    };
    [text(&macs[..6]), text(&macs[6..])]
}

/// `addr` with the bits behind a prefix of 24 or 64 cleared.
fn network(addr: &str, bits: u32) -> String {
    match (bits, addr.rsplit_once('.'), addr.rsplit_once("::")) {
        (24, Some((net, _)), _) => format!("{net}.0"),
        (64, _, Some((net, _))) => format!("{net}::"),
        _ => addr.to_owned(),
    }
}
