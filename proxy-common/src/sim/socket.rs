//! A socket call: connect, sendmsg, recvmsg or getpeername of a process of the host.

use core::cell::Cell;
use core::net::{IpAddr, SocketAddr};

use crate::addr::{Addr, V4, V6};
use crate::be::Be16;
use crate::explain::Fact;
use crate::path::hook::explain::mapped;
use crate::path::hook::socket::{Outcome, receive, send};
use crate::path::{Env, Services, SocketHandle, SocketTables};
use crate::reason::{Hook, Reason};
use crate::sim::world::{Holds, World, of_world, services};
use crate::value::{Socket, SocketPeer};

/// What SOCKETS keeps for one socket.
#[derive(Debug, Default)]
pub struct Storage {
    socket: Cell<Option<Socket>>,
    connected: Cell<Option<SocketPeer>>,
}

impl Storage {
    /// What was recorded.
    pub fn recorded(&self) -> Option<Socket> {
        self.socket.get()
    }

    /// What CONNECTED has of this socket.
    pub fn connected(&self) -> Option<SocketPeer> {
        self.connected.get()
    }

    /// Evicts this socket from CONNECTED.
    pub fn forget_connected(&self) {
        self.connected.set(None);
    }
}

/// A call on the socket that `storage` belongs to.
#[derive(Debug)]
pub struct Call<'a> {
    /// The node.
    pub world: &'a World,
    /// The socket's own storage; `None`: the kernel has no memory for one.
    pub storage: Option<&'a Storage>,
    /// Whether it is `connect()`.
    pub connects: bool,
    /// What `bpf_get_prandom_u32` returns.
    pub random: u32,
    /// The address that the socket is bound to; unspecified if to none.
    pub bound: IpAddr,
}

impl Call<'_> {
    /// `connect()` or `sendmsg()` to `dst`. An IPv6 socket may address an IPv4-mapped address.
    pub fn send(&self, dst: SocketAddr, proto: u8) -> Outcome<V6> {
        let port = Be16::new(dst.port());
        let v6 = match dst.ip() {
            IpAddr::V4(ip) => return self.send4(ip.into(), port, proto),
            IpAddr::V6(ip) => V6::from(ip),
        };
        match v6.mapped_v4() {
            Some(v4) => self.send4(v4, port, proto),
            None => send(self, v6, port, proto, |addr: V6| addr),
        }
    }

    /// `recvmsg()` from, or `getpeername()` of a socket connected to, `src`.
    pub fn receive(&self, src: SocketAddr) -> Outcome<V6> {
        let port = Be16::new(src.port());
        match src.ip() {
            IpAddr::V4(ip) => mapped(receive(self, V4::from(ip), port, V6::from_mapped_v4)),
            IpAddr::V6(ip) => receive(self, V6::from(ip), port, |addr: V6| addr),
        }
    }

    fn send4(&self, dst: V4, port: Be16, proto: u8) -> Outcome<V6> {
        mapped(send(self, dst, port, proto, V6::from_mapped_v4))
    }
}

impl<A: Addr> Services<A> for Call<'_>
where
    World: Holds<A>,
{
    services!();
}

impl Env for Call<'_> {
    of_world!();

    fn count(&self, reason: Reason) {
        self.world.count(reason, Hook::Socket);
    }

    fn candidate(&self) -> u32 {
        self.random
    }

    /// Only [`crate::sim::frame::explain_socket`] tells facts.
    fn note(&self, _fact: Fact, _value: u32) {}
}

impl<'a> SocketTables for Call<'a> {
    type Socket = &'a Storage;

    fn socket(&self, create: bool) -> Option<&'a Storage> {
        let storage = self.storage?;
        if create && storage.socket.get().is_none() {
            storage.socket.set(Some(Socket::default()));
        }
        storage.socket.get().is_some().then_some(storage)
    }

    fn connects(&self) -> bool {
        self.connects
    }

    fn connected(&self, peer: &SocketPeer) {
        if let Some(storage) = self.storage {
            storage.connected.set(Some(*peer));
        }
    }

    fn random(&self) -> u32 {
        self.random
    }

    fn bound<A: Addr>(&self) -> A {
        A::from_ip(self.bound).unwrap_or_default()
    }
}

impl SocketHandle for &Storage {
    fn peer(&self, index: usize) -> Option<SocketPeer> {
        self.socket.get()?.peers.get(index).copied()
    }

    fn set_peer(&self, index: usize, peer: &SocketPeer) {
        let mut socket = self.socket.get().unwrap_or_default();
        if let Some(place) = socket.peers.get_mut(index) {
            *place = *peer;
        }
        self.socket.set(Some(socket));
    }

    fn next(&self) -> u32 {
        self.socket.get().unwrap_or_default().next
    }

    fn set_next(&self, next: u32) {
        let socket = self.socket.get().unwrap_or_default();
        self.socket.set(Some(Socket { next, ..socket }));
    }
}
