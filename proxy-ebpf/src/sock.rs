//! The socket body: a `bpf_sock_addr` as the path's socket, maps and environment.

use core::ptr::{NonNull, read_volatile};

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{
    bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_get_socket_cookie, bpf_set_retval,
};
use aya_ebpf::programs::SockAddrContext;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::be::Be16;
use proxy_common::explain::Fact;
use proxy_common::flags::feature;
use proxy_common::path::hook::socket::{Outcome, receive, send};
use proxy_common::path::{Env, SocketHandle, SocketTables};
use proxy_common::reason::{Hook, Reason};
use proxy_common::value::{Socket, SocketPeer};

use crate::body::{both_services, shared_environment};
use crate::{maps, settings, tables};

/// Lets the call go on.
const ALLOW: i32 = 1;
/// Fails the call, with EPERM unless another errno was set.
const DENY: i32 = 0;

/// A socket's own storage. Calls on one socket at once may mix up what they record; each still reads what some call wrote.
pub(crate) struct Storage(NonNull<Socket>);

impl SocketHandle for Storage {
    #[inline]
    fn peer(&self, index: usize) -> Option<SocketPeer> {
        // SAFETY: a lookup in this run of the program returned the pointer, and RCU keeps the memory.
        unsafe { (&raw const (*self.0.as_ptr()).peers).as_ref() }?
            .get(index)
            .copied()
    }

    #[inline]
    fn set_peer(&self, index: usize, peer: &SocketPeer) {
        // SAFETY: as in `peer`.
        if let Some(place) = unsafe { (&raw mut (*self.0.as_ptr()).peers).as_mut() }
            .and_then(|peers| peers.get_mut(index))
        {
            *place = *peer;
        }
    }

    #[inline]
    fn next(&self) -> u32 {
        // SAFETY: as in `peer`.
        unsafe { (*self.0.as_ptr()).next }
    }

    #[inline]
    fn set_next(&self, next: u32) {
        // SAFETY: as in `peer`.
        unsafe { (*self.0.as_ptr()).next = next };
    }
}

/// A socket call, and whether it is `connect()`.
pub(crate) struct Call(SockAddrContext, bool);

both_services!(Call);

impl Env for Call {
    shared_environment!();

    #[inline]
    fn count(&self, reason: Reason) {
        tables::count(reason, Hook::Socket);
    }

    /// `explain` asks the program `explain_socket`, not this.
    #[inline]
    fn candidate(&self) -> u32 {
        0
    }

    /// As `candidate`.
    #[inline]
    fn note(&self, _fact: Fact, _value: u32) {}
}

impl SocketTables for Call {
    type Socket = Storage;

    #[inline]
    fn socket(&self, create: bool) -> Option<Storage> {
        let found = if create {
            // SAFETY: the context's socket is valid while the program runs.
            unsafe { maps::SOCKETS.get_or_insert_ptr_mut(&self.0, None) }
        } else {
            // SAFETY: as above.
            unsafe { maps::SOCKETS.get_ptr_mut(&self.0) }
        };
        NonNull::new(found).map(Storage)
    }

    #[inline]
    fn connects(&self) -> bool {
        self.1
    }

    #[inline]
    fn connected(&self, peer: &SocketPeer) {
        // SAFETY: the context of this program.
        let cookie = unsafe { bpf_get_socket_cookie(self.0.sock_addr.cast()) };
        // Without a record the socket keeps its backend.
        let _recorded = maps::CONNECTED.insert(cookie, peer, 0).is_ok();
    }

    #[inline]
    fn random(&self) -> u32 {
        // SAFETY: no arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline]
    fn bound<A: Addr>(&self) -> A {
        // SAFETY: the context of this program, and its socket, which lives as long.
        let socket = unsafe { (*self.0.sock_addr).__bindgen_anon_1.sk };
        // SAFETY: as above; word by word, as the verifier wants it. Bound to an IPv4 address, an IPv6 socket has that too.
        A::from_words(unsafe {
            if A::IS_V6 {
                let ip = &raw const (*socket).src_ip6;
                [
                    read_volatile(&raw const (*ip)[0]),
                    read_volatile(&raw const (*ip)[1]),
                    read_volatile(&raw const (*ip)[2]),
                    read_volatile(&raw const (*ip)[3]),
                ]
            } else {
                [read_volatile(&raw const (*socket).src_ip4), 0, 0, 0]
            }
        })
    }
}

impl Call {
    /// The call, if it is made in the node's own network namespace; pods' calls are left to the packet path.
    #[inline]
    pub(crate) fn of_host(ctx: SockAddrContext) -> Option<Self> {
        if !settings::has(feature::NETNS_COOKIE) {
            return Some(Self(ctx, false));
        }
        // SAFETY: the context of this program.
        let own = unsafe { bpf_get_netns_cookie(ctx.sock_addr.cast()) };
        let mut host = settings::host_netns_cookie();
        if host == 0 {
            // SAFETY: without a context the helper tells the initial namespace's cookie.
            host = unsafe { bpf_get_netns_cookie(core::ptr::null_mut()) };
        }
        (own == host).then_some(Self(ctx, false))
    }

    /// As [`Self::of_host`], of `connect()`.
    #[inline]
    pub(crate) fn connect_of_host(ctx: SockAddrContext) -> Option<Self> {
        Self::of_host(ctx).map(|call| Self(call.0, true))
    }

    #[inline(always)] // a context access must not be reached through a copied pointer
    fn fields(&self) -> *mut bpf_sock_addr {
        self.0.sock_addr
    }

    #[inline]
    fn port(&self) -> Be16 {
        // SAFETY: the context of this program. The field is 32 bits wide and holds a port as it lies in a packet.
        Be16::from_raw(unsafe { (*self.fields()).user_port } as u16)
    }

    #[inline]
    fn set_port(&self, port: Be16) {
        // SAFETY: as in `port`; only a 32-bit store is allowed.
        unsafe { (*self.fields()).user_port = u32::from(port.raw()) };
    }

    #[inline]
    fn proto(&self) -> u8 {
        // SAFETY: the context of this program.
        unsafe { (*self.fields()).protocol as u8 }
    }

    #[inline]
    fn v4(&self) -> V4 {
        // SAFETY: the context of this program.
        V4(unsafe { (*self.fields()).user_ip4 })
    }

    #[inline]
    fn v6(&self) -> V6 {
        // SAFETY: the context of this program; word by word, as the verifier wants it.
        unsafe {
            let ip = &raw const (*self.fields()).user_ip6;
            V6([
                read_volatile(&raw const (*ip)[0]),
                read_volatile(&raw const (*ip)[1]),
                read_volatile(&raw const (*ip)[2]),
                read_volatile(&raw const (*ip)[3]),
            ])
        }
    }

    #[inline]
    fn set_v6(&self, addr: V6) {
        // SAFETY: as in `v6`.
        unsafe {
            let ip = &raw mut (*self.fields()).user_ip6;
            core::ptr::write_volatile(&raw mut (*ip)[0], addr.0[0]);
            core::ptr::write_volatile(&raw mut (*ip)[1], addr.0[1]);
            core::ptr::write_volatile(&raw mut (*ip)[2], addr.0[2]);
            core::ptr::write_volatile(&raw mut (*ip)[3], addr.0[3]);
        }
    }

    /// `connect()` and `sendmsg()` of an IPv4 socket.
    #[inline]
    pub(crate) fn send4(&self) -> i32 {
        let outcome = send(
            self,
            self.v4(),
            self.port(),
            self.proto(),
            V6::from_mapped_v4,
        );
        self.act(outcome, |addr: V4| self.set_v4(addr))
    }

    /// `connect()` and `sendmsg()` of an IPv6 socket, which may address an IPv4-mapped address.
    #[inline]
    pub(crate) fn send6(&self) -> i32 {
        let dst = self.v6();
        if let Some(v4) = dst.mapped_v4() {
            let outcome = send(self, v4, self.port(), self.proto(), V6::from_mapped_v4);
            self.act(outcome, |addr: V4| self.set_v6(V6::from_mapped_v4(addr)))
        } else {
            let outcome = send(self, dst, self.port(), self.proto(), |addr: V6| addr);
            self.act(outcome, |addr: V6| self.set_v6(addr))
        }
    }

    /// `recvmsg()` and `getpeername()` of an IPv4 socket.
    #[inline]
    pub(crate) fn receive4(&self) -> i32 {
        let outcome = receive(self, self.v4(), self.port(), V6::from_mapped_v4);
        self.act(outcome, |addr: V4| self.set_v4(addr))
    }

    /// `recvmsg()` and `getpeername()` of an IPv6 socket. The record keeps IPv4 in its mapped form, so both kinds are one.
    #[inline]
    pub(crate) fn receive6(&self) -> i32 {
        let outcome = receive(self, self.v6(), self.port(), |addr: V6| addr);
        self.act(outcome, |addr: V6| self.set_v6(addr))
    }

    #[inline]
    fn set_v4(&self, addr: V4) {
        // SAFETY: the context of this program.
        unsafe { (*self.fields()).user_ip4 = addr.0 };
    }

    #[inline]
    fn act<A>(&self, outcome: Outcome<A>, set: impl Fn(A)) -> i32 {
        match outcome {
            Outcome::Pass => ALLOW,
            Outcome::To(addr, port) => {
                set(addr);
                self.set_port(port);
                ALLOW
            }
            Outcome::Fail(errno) => {
                if settings::has(feature::SET_RETVAL) {
                    // SAFETY: no pointers. Below 5.18 the verifier never sees the call.
                    unsafe { bpf_set_retval(-(errno as i32)) };
                }
                DENY
            }
        }
    }
}
