//! Tuple to frontend: the exact address first, then the node's own addresses for NodePorts (SEMANTICS 3.5, 17.3).

use crate::addr::Addr;
use crate::be::Be16;
use crate::flags::NodeAddrFlags;
use crate::key::FrontendKey;
use crate::path::body::Services;
use crate::value::Frontend;

/// The frontend that a packet from the wire addresses.
#[inline]
pub fn frontend<A: Addr, T: Services<A>>(tables: &T, dst: A, port: Be16, proto: u8) -> Option<Frontend> {
    if let Some(exact) = tables.frontend(&FrontendKey::new(dst, port, proto)) {
        return Some(exact);
    }
    node_port(tables, dst, port, proto)
}

/// The `NodePort` behind `port`, if NodePorts are served on `dst`.
#[inline]
fn node_port<A: Addr, T: Services<A>>(tables: &T, dst: A, port: Be16, proto: u8) -> Option<Frontend> {
    let frontend = tables.frontend(&FrontendKey::new(A::unspecified(), port, proto))?;
    tables.node_addr(&dst)?.has(NodeAddrFlags::NODE_PORT).then_some(frontend)
}

/// The frontend that a process of the host addresses. An unspecified destination means loopback.
#[inline]
pub fn host_frontend<A: Addr, T: Services<A>>(tables: &T, dst: A, port: Be16, proto: u8) -> Option<Frontend> {
    if dst != A::unspecified()
        && let Some(exact) = tables.frontend(&FrontendKey::new(dst, port, proto))
    {
        return Some(exact);
    }
    let dst = if dst.is_loopback() || dst == A::unspecified() { A::loopback() } else { dst };
    node_port(tables, dst, port, proto)
}
