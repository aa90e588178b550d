//! The client: does one thing for a while, and times it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, SockRef, Socket, Type};

use super::{COUNT, ECHO, Found, Order, SINK, SMALL, TOLD, Task, many, pin};
use crate::statistics::quantile;

/// For one answer.
const LIMIT: Duration = Duration::from_secs(2);
/// Failures after which the client does not go on.
const HOPELESS: u64 = 20;
/// Datagrams sent with one call.
const BATCH: u8 = 64;

/// Times of what was done, without the warm-up.
#[derive(Debug)]
pub(super) struct Clock {
    begin: Instant,
    end: Instant,
    times: Vec<f64>,
    done: u64,
    failed: u64,
    /// What the first one failed with, and after how long.
    first: Option<String>,
}

impl Clock {
    pub(super) fn start(order: &Order) -> Self {
        let begin = Instant::now() + order.warm_up();
        Self {
            begin,
            end: begin + order.during,
            times: Vec::with_capacity(1 << 16),
            done: 0,
            failed: 0,
            first: None,
        }
    }

    /// Whether to go on.
    pub(super) fn runs(&self) -> bool {
        Instant::now() < self.end && self.failed < HOPELESS
    }

    /// One is done that began at `start`; `took` is what is reported as its time.
    pub(super) fn done(&mut self, start: Instant, took: Duration) {
        if start >= self.begin {
            self.done += 1;
            self.times.push(took.as_secs_f64() * 1e6);
        }
    }

    /// One that began at `start` has failed.
    pub(super) fn failed(&mut self, start: Instant, why: &io::Error) {
        self.failed += 1;
        let after = start.elapsed();
        self.first
            .get_or_insert_with(|| format!("{why}, after {after:.1?}"));
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(super) fn found(self) -> Result<Found> {
        ensure!(
            self.failed == 0 && self.done > 0,
            "{} failed, {} did not; the first with: {}",
            self.failed,
            self.done,
            self.first.as_deref().unwrap_or("nothing")
        );
        let during = self.begin.elapsed();
        Ok(Found {
            per_second: self.done as f64 / during.as_secs_f64(),
            p50_us: quantile(&self.times, 0.5).unwrap_or_default(),
            p99_us: quantile(&self.times, 0.99).unwrap_or_default(),
            failed: self.failed,
            ..Found::default()
        })
    }
}

/// Does what `order` says.
pub fn ask(order: &Order) -> Result<Found> {
    pin(order.cpu);
    match order.task {
        Task::Connect { parallel: 1 } => connect(order),
        Task::Connect { parallel } => many::connect(order, parallel),
        Task::Exchange => exchange(order),
        Task::ExchangeUdp => exchange_udp(order),
        Task::Stream => stream(order),
        Task::Flood => flood(order),
    }
}

fn connect(order: &Order) -> Result<Found> {
    let mut clock = Clock::start(order);
    for index in 0.. {
        if !clock.runs() {
            break;
        }
        let to = order.target(index)?;
        let start = Instant::now();
        match connect_once(to) {
            Ok(took) => clock.done(start, took),
            Err(error) => clock.failed(start, &error),
        }
    }
    clock.found()
}

/// The time of `connect()`.
fn connect_once(to: SocketAddr) -> io::Result<Duration> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    // A reset, so that ports are free at once and no TIME_WAIT piles up from sample to sample.
    socket.set_linger(Some(Duration::ZERO))?;
    let start = Instant::now();
    socket.connect(&to.into())?;
    let took = start.elapsed();
    (&socket).write_all(&[ECHO])?;
    (&socket).read_exact(&mut [0])?;
    Ok(took)
}

fn stream_to(order: &Order) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&order.target(0)?, LIMIT).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

fn exchange(order: &Order) -> Result<Found> {
    let mut stream = stream_to(order)?;
    let mut clock = Clock::start(order);
    while clock.runs() {
        let start = Instant::now();
        stream.write_all(&[ECHO])?;
        stream.read_exact(&mut [0])?;
        clock.done(start, start.elapsed());
    }
    clock.found()
}

fn socket_to(order: &Order) -> Result<UdpSocket> {
    let to = order.target(0)?;
    let any = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket)
}

fn exchange_udp(order: &Order) -> Result<Found> {
    let socket = socket_to(order)?;
    let question = [ECHO; SMALL];
    let mut clock = Clock::start(order);
    while clock.runs() {
        let start = Instant::now();
        socket.send(&question)?;
        match socket.recv(&mut [0; SMALL]) {
            Ok(_) => clock.done(start, start.elapsed()),
            Err(error) => clock.failed(start, &error),
        }
    }
    clock.found()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of seconds are below 2^52"
)]
fn stream(order: &Order) -> Result<Found> {
    let mut stream = stream_to(order)?;
    let chunk = vec![SINK; 1 << 17];
    let warm = Instant::now() + order.warm_up();
    while Instant::now() < warm {
        stream.write_all(&chunk)?;
    }
    let (start, before) = (Instant::now(), busy_ns());
    let mut bytes = 0_u64;
    while start.elapsed() < order.during {
        stream.write_all(&chunk)?;
        bytes += chunk.len() as u64;
    }
    let (during, busy) = (start.elapsed(), busy_ns() - before);
    Ok(Found {
        per_second: bytes as f64 / during.as_secs_f64(),
        // For a segment of the usual size.
        cpu_ns: busy / (bytes as f64 / 1448.0),
        ..Found::default()
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn flood(order: &Order) -> Result<Found> {
    let socket = socket_to(order)?;
    let datagram = [COUNT; SMALL];
    let send_until = |end: Instant| -> Result<u64> {
        let mut sent = 0;
        while Instant::now() < end {
            sent += send_batch(&socket, &datagram)?;
        }
        Ok(sent)
    };
    send_until(Instant::now() + order.warm_up())?;
    told(&socket)?;
    let (start, before) = (Instant::now(), busy_ns());
    let sent = send_until(start + order.during)?;
    let counted = told(&socket)?;
    let (during, busy) = (start.elapsed(), busy_ns() - before);
    ensure!(counted > 0, "none of {sent} datagrams arrived");
    Ok(Found {
        per_second: counted as f64 / during.as_secs_f64(),
        cpu_ns: busy / counted as f64,
        failed: sent.saturating_sub(counted),
        ..Found::default()
    })
}

/// Sends some copies; how many.
fn send_batch(socket: &UdpSocket, datagram: &[u8]) -> Result<u64> {
    let mut part = libc::iovec {
        iov_base: datagram.as_ptr().cast_mut().cast(),
        iov_len: datagram.len(),
    };
    // SAFETY: msghdr is plain data, for which zeros mean "none".
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = &raw mut part;
    message.msg_hdr.msg_iovlen = 1;
    let mut messages = [message; BATCH as usize];
    // SAFETY: every header points to `part` and that to `datagram`, both of which outlive the call.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), BATCH.into(), 0) };
    match u64::try_from(sent) {
        Ok(sent) => Ok(sent),
        Err(_) => match io::Error::last_os_error() {
            // A full queue on the way.
            full if full.raw_os_error() == Some(libc::ENOBUFS) => Ok(0),
            other => Err(other).context("send"),
        },
    }
}

/// How many datagrams the server has counted; asked again while the question is lost.
fn told(socket: &UdpSocket) -> Result<u64> {
    let mut answer = [0; 8];
    socket.set_read_timeout(Some(LIMIT / 20))?;
    for _ in 0..20 {
        socket.send(&[TOLD])?;
        if socket.recv(&mut answer).is_ok_and(|length| length == 8) {
            return Ok(u64::from_le_bytes(answer));
        }
    }
    anyhow::bail!("the server does not tell")
}

/// Nanoseconds that all processors together have worked, by /proc/stat.
fn busy_ns() -> f64 {
    const TICK_NS: f64 = 1e7;

    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let figures = stat.lines().next().unwrap_or_default().split_whitespace();
    let ticks: f64 = figures
        .skip(1)
        .enumerate()
        // user nice system [idle iowait] irq softirq
        .filter(|(index, _)| matches!(index, 0..=2 | 5 | 6))
        .filter_map(|(_, ticks)| ticks.parse::<f64>().ok())
        .sum();
    ticks * TICK_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_that_failed_tells_what_with() {
        let order = Order {
            task: Task::Exchange,
            to: Vec::new(),
            during: Duration::from_secs(1),
            cpu: 0,
        };
        let mut clock = Clock::start(&order);
        let now = Instant::now();
        clock.failed(now, &io::ErrorKind::ConnectionReset.into());
        clock.failed(now, &io::ErrorKind::TimedOut.into());
        let error = clock.found().unwrap_err().to_string();
        assert!(
            error.starts_with("2 failed, 0 did not; the first with: connection reset, after "),
            "{error}"
        );
    }
}
