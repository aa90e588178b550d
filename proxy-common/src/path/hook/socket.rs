//! The socket hooks: a process of the host addresses a frontend and gets a backend, before any packet exists.

use crate::addr::{Addr, V6, proto};
use crate::be::Be16;
use crate::flags::{AddrFlags, FrontendFlags};
use crate::path::body::{Env, Services, SocketHandle, SocketTables};
use crate::path::lookup::Terms;
use crate::path::{affinity, lookup, select};
use crate::reason::Reason;
use crate::value::{Backend, Class, SOCKET_PEERS, SocketPeer, backend_state};

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

impl Errno {
    /// The error with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            111 => Some(Self::ConnectionRefused),
            113 => Some(Self::HostUnreachable),
            _ => None,
        }
    }
}

/// `connect()` and `sendmsg()` to `dst`:`port`. `mapped` gives the address its IPv6 form, for the record.
#[inline(always)] // a call would return parts that are not written, and the verifier wants all of them to be
pub fn send<A: Addr, C: Services<A> + SocketTables + Env>(
    ctx: &C,
    dst: A,
    port: Be16,
    proto: u8,
    mapped: fn(A) -> V6,
) -> Outcome<A> {
    // Loopback addresses are one, and an unspecified destination means loopback.
    let loopback = dst.is_loopback() || dst == A::unspecified();
    let place = if loopback { A::loopback() } else { dst };
    let Some(known) = ctx.addr(&place) else {
        return if ours(proto) && lookup::unallocated(ctx, &place) {
            fail(ctx, Reason::UnallocatedAddress)
        } else {
            Outcome::Pass
        };
    };
    let Some(terms) = lookup::terms(ctx, known, (dst, port, proto), Class::Host) else {
        let unknown = known.has(AddrFlags::REJECT_UNKNOWN) && !known.has(AddrFlags::NODE);
        return if ours(proto) && unknown {
            fail(ctx, Reason::UnknownPort)
        } else {
            Outcome::Pass
        };
    };
    let client = ctx.bound::<A>();
    if terms.flags.has(FrontendFlags::RANGES) && !allowed(ctx, &terms, &client) {
        return fail(ctx, Reason::SourceRangeDenied);
    }
    if terms.slice.count == 0 {
        return fail(
            ctx,
            if terms.flags.has(FrontendFlags::REJECT) {
                Reason::NoEndpoints
            } else {
                Reason::NoLocalEndpoints
            },
        );
    }
    let mut backend = Backend::blank(ctx.zero());
    if ctx.dry() {
        return if select::choose(ctx, &terms, &client, 0, &mut backend) {
            ctx.count(Reason::NewFlow);
            Outcome::To(backend.addr, backend.port)
        } else {
            pass(ctx)
        };
    }
    // Without a record answers would seem to come from a stranger, so the call is left to the packet path.
    let Some(socket) = ctx.socket(true) else {
        return pass(ctx);
    };
    let place = find(&socket, |peer| {
        peer.id != 0 && peer.frontend == mapped(dst) && peer.frontend_port == port
    });
    if let Some(peer) = place.and_then(|index| alive(ctx, &socket, index)) {
        tell(ctx, proto, &peer);
        ctx.count(Reason::Established);
        return Outcome::To(unmapped::<A>(peer.backend), peer.backend_port);
    }
    if !choose(ctx, &terms, &client, &mut backend) {
        return pass(ctx);
    }
    let peer = SocketPeer {
        frontend: mapped(dst),
        backend: mapped(backend.addr),
        frontend_port: port,
        backend_port: backend.port,
        id: backend.id,
        generation: backend.generation,
    };
    remember(&socket, place, &peer);
    tell(ctx, proto, &peer);
    ctx.count(Reason::NewFlow);
    Outcome::To(backend.addr, backend.port)
}

/// A map holds what must not be there; the call goes on as it is.
#[inline]
fn pass<A, C: Env>(ctx: &C) -> Outcome<A> {
    ctx.count(Reason::Inconsistent);
    Outcome::Pass
}

/// As a packet would be rejected or dropped.
#[inline]
fn fail<A, C: Env>(ctx: &C, reason: Reason) -> Outcome<A> {
    ctx.count(reason);
    Outcome::Fail(match reason {
        Reason::NoEndpoints | Reason::UnknownPort => Errno::ConnectionRefused,
        _ => Errno::HostUnreachable,
    })
}

/// Whether Services have ports of this protocol. Sockets for ping call the hooks too.
#[inline]
fn ours(proto: u8) -> bool {
    matches!(proto, proto::TCP | proto::UDP | proto::SCTP)
}

/// Whether the source ranges let the socket in; one that is bound to no address will have this node's (SEMANTICS 4.7).
#[inline]
fn allowed<A: Addr, C: Services<A>>(ctx: &C, terms: &Terms, client: &A) -> bool {
    if *client == A::unspecified() {
        !terms.flags.has(FrontendFlags::HOST_DENIED)
    } else {
        lookup::in_range(ctx, terms.ranges, client)
    }
}

/// The backend that the client is known to have, or else a new one.
#[inline]
fn choose<A: Addr, C: Services<A> + SocketTables + Env>(
    ctx: &C,
    terms: &Terms,
    client: &A,
    backend: &mut Backend<A>,
) -> bool {
    let sticky = terms.affinity_seconds != 0;
    let known = sticky && affinity::find(ctx, terms, client, backend);
    if !known {
        if !select::choose(ctx, terms, client, ctx.random(), backend) {
            return false;
        }
        if select::is_fleeting(terms) {
            ctx.next_turn(terms.service);
        }
    }
    if sticky {
        affinity::note(ctx, terms.service, client, backend);
    }
    true
}

/// Records a translation, at `place` if the frontend has one already.
#[inline]
fn remember<S: SocketHandle>(socket: &S, place: Option<usize>, peer: &SocketPeer) {
    // One frontend for a backend: answers do not say which one the process meant, so it is the one used last.
    let other = find(socket, |other| {
        other.backend == peer.backend && other.backend_port == peer.backend_port
    });
    let slot = place.or(other).unwrap_or_else(|| oldest(socket));
    if let Some(other) = other
        && other != slot
    {
        socket.set_peer(other, &SocketPeer::default());
    }
    socket.set_peer(slot, peer);
}

/// Records what the agent must know to disconnect a socket from a backend that goes (SEMANTICS 10): nothing but UDP waits for ever.
#[inline]
fn tell<C: SocketTables>(ctx: &C, proto: u8, peer: &SocketPeer) {
    if proto == proto::UDP && ctx.connects() {
        ctx.connected(peer);
    }
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
