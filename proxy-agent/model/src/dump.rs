//! Map contents as text that a person can read and a test can compare.

use std::fmt;

use proxy_common::addr::{Addr, proto};
use proxy_common::flags::{BackendFlags, FrontendFlags};
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
            ranges: _,
            slices: [inside, outside, host],
            tables: _,
        } = *value;
        write!(f, "{} service {service}", frontend(key))?;
        for (flag, name) in [
            (FrontendFlags::EXTERNAL, "external"),
            (FrontendFlags::REJECT, "reject"),
        ] {
            if flags.has(flag) {
                write!(f, " {name}")?;
            }
        }
        if affinity_seconds > 0 {
            write!(f, " affinity {affinity_seconds} s")?;
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
