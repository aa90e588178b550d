//! Listening sockets: 0.0.0.0 means every address of both families, through one socket.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket};

/// Pending connections that the kernel holds.
const BACKLOG: u32 = 128;

/// Binds to `address`; for 0.0.0.0 also to ::, where the node has IPv6.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    if address.ip() == IpAddr::from([0; 4])
        && let Ok(listener) = dual_stack(address.port())
    {
        return Ok(listener);
    }
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    listen(socket, address)
}

/// Not left to net.ipv6.bindv6only: some distributions set it.
fn dual_stack(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    listen(socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
}

fn listen(socket: TcpSocket, address: SocketAddr) -> std::io::Result<TcpListener> {
    // A restarted agent must not wait for connections in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
