//! Raw IP sockets, for protocols that the kernel or the standard library has no sockets of: SCTP, and echo requests.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::place::Place;

/// IANA number of ICMP.
pub const ICMP: u8 = 1;
/// IANA number of `ICMPv6`.
pub const ICMPV6: u8 = 58;
/// IANA number of SCTP.
pub const SCTP: u8 = 132;

/// A raw socket that is bound to an address. It sends and receives what lies behind the IP header.
#[derive(Debug)]
pub struct Raw {
    // No UDP about it; the type has the calls.
    socket: UdpSocket,
    ip: IpAddr,
}

impl Raw {
    /// A socket at `place` for what `proto` brings to `ip`.
    pub fn open(place: &Place, ip: IpAddr, proto: u8) -> Result<Self> {
        let addr = SocketAddr::new(ip, 0);
        let open = || {
            let protocol = Protocol::from(i32::from(proto));
            let socket = Socket::new(Domain::for_address(addr), Type::RAW, Some(protocol))?;
            socket.bind(&addr.into())?;
            Ok::<_, io::Error>(socket)
        };
        let socket = place
            .enter(open)?
            .with_context(|| format!("a raw socket at {}, {ip}", place.name))?;
        Ok(Self {
            socket: socket.into(),
            ip,
        })
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Says whom it speaks to, so that errors about that come back.
    pub fn connect(&self, to: IpAddr) -> io::Result<()> {
        self.socket.connect(SocketAddr::new(to, 0))
    }

    /// Sends `bytes` to `to`.
    pub fn send(&self, to: IpAddr, bytes: &[u8]) -> io::Result<()> {
        self.socket.send_to(bytes, SocketAddr::new(to, 0)).map(drop)
    }

    /// Sends `bytes` to whom it is connected.
    pub fn send_connected(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes).map(drop)
    }

    /// Waits for a packet of which `wanted` makes something; it is told the sender. Others are ignored.
    pub fn receive<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(IpAddr, &[u8]) -> Option<T>,
    ) -> io::Result<T> {
        let end = Instant::now() + limit;
        let mut buffer = [0; 4096];
        loop {
            let left = end
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
                .ok_or(ErrorKind::TimedOut)?;
            self.socket.set_read_timeout(Some(left))?;
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                received => received?,
            };
            let packet = buffer.get(..length).unwrap_or_default();
            // Only those of IPv4 come with their header.
            let header = match (self.ip.is_ipv4(), packet.first()) {
                (true, Some(first)) => usize::from(first & 15) * 4,
                _ => 0,
            };
            if let Some(found) = wanted(from.ip(), packet.get(header..).unwrap_or_default()) {
                return Ok(found);
            }
        }
    }
}
