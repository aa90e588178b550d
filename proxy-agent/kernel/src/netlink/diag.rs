//! Sockets of this network namespace by `sock_diag`: listed, and destroyed. Bytes only.
//!
//! The kernel adds what an `SK_STORAGE` map has about a socket only for TCP, so UDP sockets are told apart by their cookies.

use std::net::{Ipv4Addr, Ipv6Addr};

use proxy_common::addr::V6;
use proxy_common::be::Be16;

use super::wire::{Message, Request, family, msg, read_u32};

/// `struct inet_diag_sockid`, as the kernel has it: ports, addresses, device, cookie.
const ID: usize = 48;
/// Offset of the id in `struct inet_diag_msg`.
const ID_AT: usize = 4;
/// Offsets in the id.
const PEER_PORT_AT: usize = 2;
const PEER_AT: usize = 20;
const COOKIE_AT: usize = 40;
/// UDP sockets that are connected are in the state that TCP calls established.
const CONNECTED: u32 = 1 << 1;

/// One connected socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Connected {
    family: u8,
    id: [u8; ID],
    /// The kernel's number of the socket, which is never used again.
    pub(crate) cookie: u64,
    /// Where it is connected to, IPv4 in its mapped form.
    pub(crate) peer: (V6, Be16),
}

/// `struct inet_diag_req_v2`.
fn fixed(family: u8, states: u32, id: &[u8; ID]) -> Vec<u8> {
    const UDP: u8 = proxy_common::addr::proto::UDP;
    let mut bytes = vec![family, UDP, 0, 0];
    bytes.extend_from_slice(&states.to_ne_bytes());
    bytes.extend_from_slice(id);
    bytes
}

/// Asks for all connected UDP sockets of a family.
pub(crate) fn list_connected(family: u8) -> Request {
    Request::new(
        msg::SOCK_DIAG,
        msg::DUMP,
        &fixed(family, CONNECTED, &[0; ID]),
    )
}

/// Asks to destroy exactly this socket: its cookie is in the id.
pub(crate) fn destroy(socket: &Connected) -> Request {
    let fixed = fixed(socket.family, 0, &socket.id);
    Request::new(msg::SOCK_DESTROY, msg::ACK, &fixed)
}

/// Takes a socket out of an answer.
pub(crate) fn record(sockets: &mut Vec<Connected>, message: &Message<'_>) {
    if message.kind == msg::SOCK_DIAG {
        sockets.extend(read(message.payload));
    }
}

fn read(payload: &[u8]) -> Option<Connected> {
    let family = *payload.first()?;
    let id: [u8; ID] = *payload.get(ID_AT..)?.first_chunk()?;
    let port: [u8; 2] = *id.get(PEER_PORT_AT..)?.first_chunk()?;
    let peer: [u8; 16] = *id.get(PEER_AT..)?.first_chunk()?;
    let peer = match family {
        family::INET => {
            let [a, b, c, d, ..] = peer;
            V6::from_mapped_v4(Ipv4Addr::new(a, b, c, d).into())
        }
        family::INET6 => Ipv6Addr::from(peer).into(),
        _other => return None,
    };
    let [low, high] = [0, 4].map(|at| read_u32(&id, COOKIE_AT + at));
    Some(Connected {
        family,
        id,
        cookie: u64::from(low?) | u64::from(high?) << 32,
        peer: (peer, Be16::new(u16::from_be_bytes(port))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel lists a socket: `struct inet_diag_msg`, which ends with six 32-bit numbers.
    fn listed(family: u8, peer: [u8; 16]) -> Vec<u8> {
        let mut bytes = vec![family, 1, 0, 0, 0x92, 0x64, 0x14, 0xe9];
        bytes.extend([[10, 244, 2, 9].as_slice(), &[0; 12], &peer, &[0; 4]].concat());
        bytes.extend([30u32, 7].map(u32::to_ne_bytes).concat());
        bytes.extend([0; 20]);
        bytes
    }

    #[test]
    fn read_takes_peer_and_cookie_and_ends_quietly() {
        let mut v4 = [0; 16];
        v4[..4].copy_from_slice(&[10, 244, 2, 1]);
        let v6 = "fd00:2::1".parse::<Ipv6Addr>().unwrap();
        for (family, peer, expected) in [
            (family::INET, v4, "::ffff:10.244.2.1".parse().unwrap()),
            (family::INET6, v6.octets(), v6),
        ] {
            let bytes = listed(family, peer);
            let socket = read(&bytes).unwrap();
            assert_eq!(socket.peer, (V6::from(expected), Be16::new(5353)));
            assert_eq!(socket.cookie, 0x1e | 7 << 32);
            for len in 0..ID_AT + ID {
                assert_eq!(read(&bytes[..len]), None, "{len}");
            }
        }
        assert_eq!(read(&listed(family::BRIDGE, v4)), None);
    }
}
