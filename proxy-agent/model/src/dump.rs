//! Map contents as text that a person can read and a test can compare.

use std::fmt;

use proxy_common::addr::{Addr, proto};
use proxy_common::flags::{AddrFlags, BackendFlags, FrontendFlags};
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend, Slice, backend_state};

use crate::plan::Dump;

/// `addr:port/PROTO`; a `NodePort` has `*` for address.
pub fn frontend<A: Addr>(key: &FrontendKey<A>) -> String {
    let proto = match key.proto {
        proto::TCP => "TCP".to_owned(),
        proto::UDP => "UDP".to_owned(),
        proto::SCTP => "SCTP".to_owned(),
        other => other.to_string(),
    };
    match key.addr == A::unspecified() {
        true if A::IS_V6 => format!("[*]:{}/{proto}", key.port),
        true => format!("*:{}/{proto}", key.port),
        false => format!("{}/{proto}", socket(key.addr, key.port.get())),
    }
}

fn socket<A: Addr>(addr: A, port: u16) -> String {
    std::net::SocketAddr::new(addr.ip(), port).to_string()
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        family(f, &self.frontends4, &self.backends4, &self.states)?;
        family(f, &self.frontends6, &self.backends6, &self.states)?;
        addresses(f, &self.addrs4, &self.ranges4)?;
        addresses(f, &self.addrs6, &self.ranges6)?;
        for (id, state) in self
            .states
            .iter()
            .filter(|(_, state)| state.state == backend_state::DRAINING)
        {
            writeln!(f, "backend {id}.{} drains", state.generation)?;
        }
        Ok(())
    }
}

const CLASSES: [&str; 3] = ["inside", "outside", "host"];

/// Flags that each class has one of.
const CLASS_FLAGS: [(&str, [FrontendFlags; 3]); 2] = [
    (
        "local",
        [
            FrontendFlags::LOCAL_INSIDE,
            FrontendFlags::LOCAL_OUTSIDE,
            FrontendFlags::LOCAL_HOST,
        ],
    ),
    (
        "masquerade",
        [
            FrontendFlags::MASQUERADE_INSIDE,
            FrontendFlags::MASQUERADE_OUTSIDE,
            FrontendFlags::MASQUERADE_HOST,
        ],
    ),
];

/// What addresses are, and sets of source ranges.
fn addresses<A: Addr>(
    f: &mut fmt::Formatter<'_>,
    addrs: &[(A, AddrFlags)],
    ranges: &[(u32, A, u8)],
) -> fmt::Result {
    let mut addrs: Vec<_> = addrs
        .iter()
        .map(|(addr, flags)| (addr.ip(), flags))
        .collect();
    addrs.sort_unstable();
    for (addr, flags) in addrs {
        write!(f, "address {addr}")?;
        for (flag, name) in [
            (AddrFlags::VIRTUAL, "virtual"),
            (AddrFlags::REJECT_UNKNOWN, "reject-unknown"),
            (AddrFlags::ECHO, "echo"),
        ] {
            if flags.has(flag) {
                write!(f, " {name}")?;
            }
        }
        writeln!(f)?;
    }
    let mut ranges: Vec<_> = ranges
        .iter()
        .map(|(set, addr, bits)| (*set, addr.ip(), *bits))
        .collect();
    ranges.sort_unstable();
    for set in ranges.chunk_by(|(one, _, _), (next, _, _)| one == next) {
        for (index, (number, addr, bits)) in set.iter().enumerate() {
            if index == 0 {
                write!(f, "ranges {number}:")?;
            }
            write!(f, " {addr}/{bits}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn family<A: Addr>(
    f: &mut fmt::Formatter<'_>,
    frontends: &[(FrontendKey<A>, Frontend)],
    backends: &[(u32, Backend<A>)],
    states: &[(u32, BackendState)],
) -> fmt::Result {
    let mut frontends: Vec<_> = frontends.iter().collect();
    frontends.sort_by_key(|(key, _)| (key.addr.ip(), key.port.get(), key.proto));
    for (key, value) in frontends {
        let Frontend {
            service,
            flags,
            affinity_seconds,
            ranges,
            slices: [inside, outside, host],
            tables,
        } = *value;
        write!(f, "{} service {service}", frontend(key))?;
        for (flag, name) in [
            (FrontendFlags::EXTERNAL, "external"),
            (FrontendFlags::REJECT, "reject"),
            (FrontendFlags::ROUND_ROBIN, "round-robin"),
            (FrontendFlags::MAGLEV, "maglev"),
            (FrontendFlags::LEAST_CONNECTIONS, "least-connections"),
        ] {
            if flags.has(flag) {
                write!(f, " {name}")?;
            }
        }
        if affinity_seconds > 0 {
            write!(f, " affinity {affinity_seconds} s")?;
        }
        if flags.has(FrontendFlags::RANGES) {
            write!(f, " ranges {ranges}")?;
        }
        if flags.has(FrontendFlags::HOST_DENIED) {
            write!(f, " not-for-host")?;
        }
        for (name, bits) in CLASS_FLAGS {
            let set: Vec<&str> = bits
                .into_iter()
                .zip(CLASSES)
                .filter(|(bit, _)| flags.has(*bit))
                .map(|(_, class)| class)
                .collect();
            if !set.is_empty() {
                write!(f, " {name} {}", set.join(","))?;
            }
        }
        if tables != [0; 2] {
            write!(f, " tables {} {}", tables[0], tables[1])?;
        }
        writeln!(f)?;
        if inside == outside && inside == host {
            slice(f, "all", inside, backends, states)?;
        } else {
            slice(f, "inside", inside, backends, states)?;
            slice(f, "outside", outside, backends, states)?;
            slice(f, "host", host, backends, states)?;
        }
    }
    Ok(())
}

fn slice<A: Addr>(
    f: &mut fmt::Formatter<'_>,
    class: &str,
    slice: Slice,
    backends: &[(u32, Backend<A>)],
    states: &[(u32, BackendState)],
) -> fmt::Result {
    if slice.count == 0 {
        return writeln!(f, "  {class} none");
    }
    write!(f, "  {class} @{}+{}", slice.offset, slice.count)?;
    let end = slice.offset.saturating_add(slice.count);
    let mut found = 0u32;
    for (
        _,
        Backend {
            addr,
            port,
            flags,
            id,
            generation,
        },
    ) in backends
        .iter()
        .filter(|(slot, _)| (slice.offset..end).contains(slot))
    {
        found = found.saturating_add(1);
        let local = if flags.has(BackendFlags::LOCAL) {
            "*"
        } else {
            ""
        };
        write!(f, " {}{local}#{id}.{generation}", socket(*addr, port.get()))?;
        let state = states
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, state)| *state)
            .unwrap_or_default();
        match state.state {
            backend_state::ACTIVE if state.generation == *generation => {}
            _ => write!(f, "(stale)")?,
        }
    }
    if found < slice.count {
        write!(f, " ({} slots empty)", slice.count.saturating_sub(found))?;
    }
    writeln!(f)
}
