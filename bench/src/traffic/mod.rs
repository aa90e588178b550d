//! The client and the server of the traffic workloads: `proxy-bench serve`, `proxy-bench ask`, as processes in the namespaces.
//!
//! TCP: the server answers every read with one byte, unless the connection's first byte is [`SINK`]: then it swallows all that
//! comes. UDP: by the first byte it answers ([`ECHO`]), counts ([`COUNT`]) or tells how many it has counted ([`TOLD`]).

mod client;
mod many;
pub mod process;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use integration::probe::Proto;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

pub use client::ask;
pub use server::serve;

/// First byte of a TCP connection that is never answered.
const SINK: u8 = b's';
/// A datagram to answer with itself.
pub(crate) const ECHO: u8 = b'e';
/// A datagram to count.
pub(crate) const COUNT: u8 = b'c';
/// A datagram to answer with the number of those counted before, which is then 0 again.
const TOLD: u8 = b't';
/// Bytes of a small datagram.
const SMALL: usize = 18;

/// What a client does.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// TCP: connect, one byte, one byte back, close with a reset; `parallel` at a time.
    Connect {
        /// How many at a time.
        parallel: u32,
    },
    /// TCP: one byte there and one back, again and again.
    Exchange,
    /// UDP: the same with small datagrams, by one connected socket.
    ExchangeUdp,
    /// TCP: as much as one connection takes.
    Stream,
    /// UDP: as many small datagrams as one connected socket takes.
    Flood,
}

impl Task {
    /// Of its packets.
    pub const fn proto(self) -> Proto {
        match self {
            Self::Connect { .. } | Self::Exchange | Self::Stream => Proto::Tcp,
            Self::ExchangeUdp | Self::Flood => Proto::Udp,
        }
    }
}

/// An order to a client.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Order {
    /// What to do.
    pub task: Task,
    /// With whom: each new connection with the next of them, as a Service's go to all of its backends. Never empty.
    pub to: Vec<SocketAddr>,
    /// How long, after a warm-up of a fifth of it.
    pub during: Duration,
    /// The processor to do it on.
    pub cpu: usize,
}

impl Order {
    fn warm_up(&self) -> Duration {
        self.during / 5
    }

    /// Whom connection number `index` is for.
    fn target(&self, index: usize) -> Result<SocketAddr> {
        let place = index.checked_rem(self.to.len());
        let to = place.and_then(|place| self.to.get(place));
        to.copied().context("an order without a target")
    }
}

/// What a client found.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug, Default)]
pub struct Found {
    /// Connections, exchanges, bytes or delivered datagrams a second.
    pub per_second: f64,
    /// Time of `connect()`, or of one exchange; 0 if there is none.
    pub p50_us: f64,
    /// The same, the slowest of a hundred.
    pub p99_us: f64,
    /// Processor time of the whole machine for one of what is counted.
    pub cpu_ns: f64,
    /// What was tried and failed, after which the client went on.
    pub failed: u64,
}

/// Keeps this thread on one processor. Where there is only one, all share it.
pub(crate) fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    if set.set(cpu).is_ok() {
        // Fails where there are fewer processors; then the scheduler decides.
        let _anywhere = sched_setaffinity(Pid::from_raw(0), &set);
    }
}
