//! What the probe found out.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a server says: one line of JSON, over TCP and UDP alike.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Said {
    /// The server's name.
    pub name: String,
    /// The client as the server sees it.
    pub client: SocketAddr,
    /// The number in the request: pairs datagrams.
    pub number: u64,
    /// Length of the request.
    pub length: usize,
    /// Makes the answer as long as asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filler: String,
}

/// One request that was answered.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Answer {
    /// The server's name.
    pub name: String,
    /// The client as the server saw it.
    pub client: SocketAddr,
    /// The other end as the client sees it: getpeername, or for unconnected UDP the source of the answer.
    pub peer: SocketAddr,
    /// The client's own end as it sees it.
    pub local: SocketAddr,
}

/// Why a request got no answer.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// ECONNREFUSED.
    Refused,
    /// ECONNRESET, or closed without an answer.
    Reset,
    /// EHOSTUNREACH or ENETUNREACH.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// EMSGSIZE.
    TooLong,
    /// EPERM or EACCES.
    Denied,
    /// The socket has no peer any more: ECONNABORTED, then EDESTADDRREQ or ENOTCONN.
    Disconnected,
    /// The bytes that arrived are not those that were sent.
    Corrupt,
    /// Anything else.
    Other,
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Self::Refused,
            Some(libc::ECONNRESET | libc::EPIPE) => Self::Reset,
            Some(libc::EHOSTUNREACH | libc::ENETUNREACH) => Self::Unreachable,
            Some(libc::ETIMEDOUT | libc::EAGAIN | libc::EINPROGRESS) => Self::Timeout,
            Some(libc::EMSGSIZE) => Self::TooLong,
            Some(libc::EPERM | libc::EACCES) => Self::Denied,
            Some(libc::ECONNABORTED | libc::EDESTADDRREQ | libc::ENOTCONN) => Self::Disconnected,
            _ => match error.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout,
                io::ErrorKind::UnexpectedEof => Self::Reset,
                io::ErrorKind::InvalidData => Self::Corrupt,
                _ => Self::Other,
            },
        }
    }
}

/// One request.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Attempt {
    /// When the answer was there, or the request given up (`CLOCK_MONOTONIC`).
    pub at_ns: u64,
    /// Time from before `connect()` until the answer was there.
    pub took_ns: u64,
    /// Time of `connect()` alone; 0 for UDP.
    pub connect_ns: u64,
    /// The answer, or why there is none.
    pub outcome: Result<Answer, Failure>,
}

/// What a client saw.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub struct Report {
    /// One entry a request; in ping-pong mode one a connection, with its last outcome.
    pub attempts: Vec<Attempt>,
    /// Ping-pong: requests sent.
    pub sent: u64,
    /// Ping-pong: answers received.
    pub answered: u64,
    /// Ping-pong: segments that TCP had to send again.
    pub retransmits: u64,
    /// Ping-pong: the longest wait for an answer.
    pub slowest_ns: u64,
}

impl Report {
    /// How many requests each server answered.
    pub fn servers(&self) -> BTreeMap<&str, usize> {
        let mut servers = BTreeMap::new();
        for answer in self.answers() {
            *servers.entry(answer.name.as_str()).or_default() += 1;
        }
        servers
    }

    /// The answers.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.outcome.as_ref().ok())
    }

    /// The failures.
    pub fn failures(&self) -> impl Iterator<Item = Failure> {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.outcome.as_ref().err().copied())
    }

    /// The middle value of the time that answered requests took.
    pub fn median_ns(&self) -> Option<u64> {
        let mut times: Vec<u64> = self
            .attempts
            .iter()
            .filter(|attempt| attempt.outcome.is_ok())
            .map(|attempt| attempt.took_ns)
            .collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }
}
