//! A client and a server that run inside the namespaces, and tell in JSON what they saw.
//!
//! `probe serve NAME PORT` answers TCP and UDP in both families. `probe ask '<Request as JSON>'` prints a [`Report`].

pub mod answer;
pub mod bulk;
pub mod client;
pub mod pingpong;
pub mod process;
pub mod server;
pub mod socket;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use answer::{Answer, Attempt, Failure, Report};

/// Which transport to use.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Proto {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Tcp, Self::Udp];

    /// As Kubernetes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// How UDP sockets are used.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum UdpSockets {
    /// A connected socket for each request.
    Connected,
    /// An unconnected socket for each request (sendto, recvfrom).
    Unconnected,
    /// One unconnected socket for all requests.
    OneUnconnected,
    /// One connected socket for all requests.
    OneConnected,
}

/// What a client does.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Request {
    /// TCP or UDP.
    pub proto: Proto,
    /// Whom to address. An IPv4-mapped IPv6 address makes an `AF_INET6` socket.
    pub to: SocketAddr,
    /// How many requests, one after the other; a new connection or socket for each unless `udp` says otherwise.
    pub count: u32,
    /// Give up on one request after this long.
    pub timeout_ms: u64,
    /// Source address, if it matters.
    pub from: Option<IpAddr>,
    /// Source port, if it matters.
    pub from_port: Option<u16>,
    /// How to use UDP sockets.
    pub udp: UdpSockets,
    /// Length of the request in bytes, at least; filled up with dots.
    pub length: usize,
    /// Length of the answer in bytes, at least.
    pub answer_length: usize,
    /// What to do beyond asking who is there.
    pub mode: Mode,
}

/// What to do on a connection.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case", tag = "mode")]
pub enum Mode {
    /// Ask who answers, then close.
    Ask,
    /// Ask `count` connections in parallel again and again, until standard input closes.
    PingPong {
        /// Pause between an answer and the next request.
        pause_us: u64,
    },
    /// Send each question from a socket of its own and wait for no answer (UDP).
    Scatter,
    /// Send `bytes` on each connection and have them checked (TCP).
    Upload {
        /// How many.
        bytes: u64,
    },
    /// Have `bytes` sent and check them (TCP).
    Download {
        /// How many.
        bytes: u64,
    },
}

impl Request {
    /// `count` requests to `to`, with a limit of five seconds each: what is not lost takes milliseconds, on a busy machine more.
    pub fn new(proto: Proto, to: SocketAddr, count: u32) -> Self {
        Self {
            proto,
            to,
            count,
            timeout_ms: 5_000,
            from: None,
            from_port: None,
            udp: UdpSockets::Connected,
            length: 0,
            answer_length: 0,
            mode: Mode::Ask,
        }
    }

    /// With another limit.
    #[must_use]
    pub fn timeout_ms(self, timeout_ms: u64) -> Self {
        Self { timeout_ms, ..self }
    }

    /// From a chosen port.
    #[must_use]
    pub fn from_port(self, port: u16) -> Self {
        Self {
            from_port: Some(port),
            ..self
        }
    }

    /// From a chosen address.
    #[must_use]
    pub fn from(self, from: IpAddr) -> Self {
        Self {
            from: Some(from),
            ..self
        }
    }

    /// With another use of UDP sockets.
    #[must_use]
    pub fn udp(self, udp: UdpSockets) -> Self {
        Self { udp, ..self }
    }

    /// With longer requests and answers.
    #[must_use]
    pub fn lengths(self, length: usize, answer_length: usize) -> Self {
        Self {
            length,
            answer_length,
            ..self
        }
    }

    /// In another mode.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }
}

/// The IPv4-mapped IPv6 form of an IPv4 socket address; others as they are.
pub fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

/// The inverse of [`mapped`].
pub fn unmapped(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
