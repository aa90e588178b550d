//! Tuple to frontend: the exact address first, then the node's own addresses for `NodePorts` (SEMANTICS 3.5, 17.3).

use crate::addr::Addr;
use crate::be::Be16;
use crate::flags::AddrFlags;
use crate::key::{FlowKey, FrontendKey};
use crate::path::body::{Env, Services};
use crate::value::Frontend;

/// Whether a packet from the wire addresses a frontend, and which.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn frontend<A: Addr, T: Services<A> + Env>(
    tables: &T,
    packet: &FlowKey<A>,
    found: &mut Frontend,
) -> bool {
    // NodePorts are kept under the unspecified address, which is no address to speak to. Loopback is for the host's own
    // processes: from the wire it is forged (RFC 1122 section 3.2.1.3), and would reach NodePorts that are served there only.
    if packet.dst == A::unspecified() || packet.dst.is_loopback() {
        return false;
    }
    if let Some(exact) = tables.frontend(&FrontendKey::new(packet.dst, packet.dport, packet.proto))
    {
        *found = exact;
        return true;
    }
    match node_port(tables, packet.dst, packet.dport, packet.proto) {
        Some(frontend) => {
            *found = frontend;
            true
        }
        None => false,
    }
}

/// The `NodePort` behind `port`, if `NodePorts` are served on `dst`.
#[inline]
fn node_port<A: Addr, T: Services<A> + Env>(
    tables: &T,
    dst: A,
    port: Be16,
    proto: u8,
) -> Option<Frontend> {
    let frontend = tables.frontend(&FrontendKey::new(
        A::from_words([tables.zero(); 4]),
        port,
        proto,
    ))?;
    tables
        .node_addr(&dst)?
        .has(AddrFlags::NODE_PORT)
        .then_some(frontend)
}

/// The frontend that a process of the host addresses. An unspecified destination means loopback.
#[inline]
pub fn host_frontend<A: Addr, T: Services<A> + Env>(
    tables: &T,
    dst: A,
    port: Be16,
    proto: u8,
) -> Option<Frontend> {
    if dst != A::unspecified()
        && let Some(exact) = tables.frontend(&FrontendKey::new(dst, port, proto))
    {
        return Some(exact);
    }
    let dst = if dst.is_loopback() || dst == A::unspecified() {
        A::loopback()
    } else {
        dst
    };
    node_port(tables, dst, port, proto)
}
