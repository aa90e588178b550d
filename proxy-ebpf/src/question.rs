//! A question of `explain` about a socket call, in place of a packet (see `proxy_common::explain`).

use proxy_common::addr::Addr;
use proxy_common::path::hook::explain::bound;
use proxy_common::path::{SocketHandle, SocketTables};
use proxy_common::value::SocketPeer;

use crate::skb::Skb;

/// The socket that a question has not got.
pub(crate) enum NoSocket {}

impl SocketHandle for NoSocket {
    fn peer(&self, _index: usize) -> Option<SocketPeer> {
        match *self {}
    }

    fn set_peer(&self, _index: usize, _peer: &SocketPeer) {
        match *self {}
    }

    fn next(&self) -> u32 {
        match *self {}
    }

    fn set_next(&self, _next: u32) {
        match *self {}
    }
}

impl SocketTables for Skb<14, false> {
    type Socket = NoSocket;

    #[inline]
    fn socket(&self, _create: bool) -> Option<NoSocket> {
        None
    }

    #[inline]
    fn connects(&self) -> bool {
        false
    }

    #[inline]
    fn connected(&self, _peer: &SocketPeer) {}

    #[inline]
    fn random(&self) -> u32 {
        0
    }

    #[inline]
    fn bound<A: Addr>(&self) -> A {
        bound(self)
    }
}
