//! The socket hooks: a process of the host addresses a frontend and gets a backend, before any packet exists.

use crate::addr::{Addr, V6};
use crate::be::Be16;
use crate::flags::FrontendFlags;
use crate::path::body::{Env, Services, SocketHandle, SocketTables};
use crate::path::{lookup, select};
use crate::reason::Reason;
use crate::value::{Class, SOCKET_PEERS, SocketPeer, backend_state};

/// What becomes of the call.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome<A> {
    /// Goes on as it is.
    Pass,
    /// Goes on to this address and port.
    To(A, Be16),
    /// Fails with this errno.
    Fail(Errno),
}

/// Errors that the hooks return; kernel clients (NFS, iSCSI) know how to handle these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Errno {
    /// No endpoints at all: as the reject of a packet would tell (SEMANTICS 7.1, 7.3).
    ConnectionRefused = 111,
    /// The policy leaves no endpoint for this node (SEMANTICS 7.2); a socket is told at once what a packet finds by time-out.
    HostUnreachable = 113,
}

/// `connect()` and `sendmsg()` to `dst`:`port`. `mapped` gives the address its IPv6 form, for the record.
#[inline]
pub fn send<A: Addr, C: Services<A> + SocketTables + Env>(
    ctx: &C,
    dst: A,
    port: Be16,
    proto: u8,
    mapped: fn(A) -> V6,
) -> Outcome<A> {
    let Some(frontend) = lookup::host_frontend(ctx, dst, port, proto) else {
        return Outcome::Pass;
    };
    let slice = frontend.slice(Class::Host);
    if slice.count == 0 {
        let reject = frontend.flags.has(FrontendFlags::REJECT);
        ctx.count(if reject {
            Reason::NoEndpoints
        } else {
            Reason::NoLocalEndpoints
        });
        return Outcome::Fail(if reject {
            Errno::ConnectionRefused
        } else {
            Errno::HostUnreachable
        });
    }
    // Without a record answers would seem to come from a stranger, so the call is left to the packet path.
    let Some(socket) = ctx.socket(true) else {
        ctx.count(Reason::Inconsistent);
        return Outcome::Pass;
    };
    let place = find(&socket, |peer| {
        peer.id != 0 && peer.frontend == mapped(dst) && peer.frontend_port == port
    });
    if let Some(peer) = place.and_then(|index| alive(ctx, &socket, index)) {
        ctx.count(Reason::Established);
        return Outcome::To(unmapped::<A>(peer.backend), peer.backend_port);
    }
    let Some(backend) = ctx
        .backend(select::slot(slice, ctx.random()))
        .filter(|backend| backend.id != 0)
    else {
        ctx.count(Reason::Inconsistent);
        return Outcome::Pass;
    };
    let peer = SocketPeer {
        frontend: mapped(dst),
        backend: mapped(backend.addr),
        frontend_port: port,
        backend_port: backend.port,
        id: backend.id,
        generation: backend.generation,
    };
    // One frontend for a backend: answers do not say which one the process meant, so it is the one used last.
    let other = find(&socket, |other| {
        other.backend == peer.backend && other.backend_port == peer.backend_port
    });
    let slot = place.or(other).unwrap_or_else(|| oldest(&socket));
    if let Some(other) = other
        && other != slot
    {
        socket.set_peer(other, &SocketPeer::default());
    }
    socket.set_peer(slot, &peer);
    ctx.count(Reason::NewFlow);
    Outcome::To(backend.addr, backend.port)
}

/// `recvmsg()` and `getpeername()`: the frontend that `src`:`port` answers for.
#[inline]
pub fn receive<A: Addr, C: SocketTables>(
    ctx: &C,
    src: A,
    port: Be16,
    mapped: fn(A) -> V6,
) -> Outcome<A> {
    let Some(socket) = ctx.socket(false) else {
        return Outcome::Pass;
    };
    let src = mapped(src);
    let mut index = 0;
    while index < SOCKET_PEERS {
        if let Some(peer) = socket.peer(index)
            && peer.backend == src
            && peer.backend_port == port
        {
            return Outcome::To(unmapped::<A>(peer.frontend), peer.frontend_port);
        }
        index += 1;
    }
    Outcome::Pass
}

/// Where a translation that is `wanted` stands.
#[inline]
fn find<S: SocketHandle>(socket: &S, wanted: impl Fn(&SocketPeer) -> bool) -> Option<usize> {
    let mut index = 0;
    while index < SOCKET_PEERS {
        if socket.peer(index).is_some_and(|peer| wanted(&peer)) {
            return Some(index);
        }
        index += 1;
    }
    None
}

/// The choice at `index`, while its backend takes connections.
#[inline]
fn alive<C: Env, S: SocketHandle>(ctx: &C, socket: &S, index: usize) -> Option<SocketPeer> {
    let peer = socket.peer(index)?;
    let state = ctx.backend_state(peer.id)?;
    (state.generation == peer.generation && state.state == backend_state::ACTIVE).then_some(peer)
}

/// The slot to overwrite, and the next one after it.
#[inline]
fn oldest<S: SocketHandle>(socket: &S) -> usize {
    let slot = socket.next() as usize % SOCKET_PEERS;
    socket.set_next((slot as u32 + 1) % SOCKET_PEERS as u32);
    slot
}

/// The inverse of `mapped`.
#[inline]
fn unmapped<A: Addr>(addr: V6) -> A {
    let words = addr.words();
    A::from_words(if A::IS_V6 { words } else { [words[3], 0, 0, 0] })
}
