//! The client: requests one after the other, each timed.

use std::io::{self, BufRead as _, Write as _};
use std::time::Instant;

use super::answer::{Answer, Attempt, Failure, Report};
use super::socket::{Connection, Datagrams};
use super::{Mode, Proto, Request, UdpSockets, bulk, pingpong};
use crate::wait::monotonic_ns;

/// Failures in a row after which no more requests are made: the rest would fail too, after minutes.
const HOPELESS: u32 = 5;

/// Does what `request` says. Prints a line when it begins; in ping-pong mode, when all connections talk.
pub fn run(request: &Request) -> Report {
    if let Mode::PingPong { pause_us } = request.mode {
        return pingpong::run(request, pause_us);
    }
    println!("talking");
    if request.mode == Mode::Scatter {
        return scatter(request);
    }
    let mut shared = None;
    let mut attempts = Vec::new();
    let mut in_a_row = 0;
    for number in 0..request.count {
        let attempt = attempt(request, number.into(), &mut shared);
        in_a_row = if attempt.outcome.is_ok() {
            0
        } else {
            in_a_row + 1
        };
        attempts.push(attempt);
        if in_a_row == HOPELESS {
            break;
        }
    }
    Report {
        attempts,
        ..Report::default()
    }
}

/// Questions without answers. Fails with the first that cannot be sent.
fn scatter(request: &Request) -> Report {
    let mut report = Report::default();
    for number in 0..request.count {
        let sent =
            Datagrams::open(request, true).and_then(|socket| socket.send(number.into(), request));
        if let Err(error) = sent {
            report.attempts.push(Attempt {
                at_ns: monotonic_ns(),
                took_ns: 0,
                connect_ns: 0,
                outcome: Err(Failure::from(&error)),
            });
            break;
        }
        report.sent += 1;
    }
    report
}

/// One request. `shared` is the socket of the modes that use one for all.
fn attempt(request: &Request, number: u64, shared: &mut Option<Datagrams>) -> Attempt {
    let start = Instant::now();
    let mut connect_ns = 0;
    let outcome = match request.proto {
        Proto::Tcp => Connection::open(request).and_then(|mut connection| {
            connect_ns = nanoseconds(start);
            transfer(&mut connection, number, request)
        }),
        Proto::Udp => datagram(request, number, shared),
    };
    Attempt {
        at_ns: monotonic_ns(),
        took_ns: nanoseconds(start),
        connect_ns,
        outcome: outcome.map_err(|error| Failure::from(&error)),
    }
}

fn datagram(request: &Request, number: u64, shared: &mut Option<Datagrams>) -> io::Result<Answer> {
    let connected = matches!(
        request.udp,
        UdpSockets::Connected | UdpSockets::OneConnected
    );
    match request.udp {
        UdpSockets::Connected | UdpSockets::Unconnected => {
            Datagrams::open(request, connected)?.ask(number, request)
        }
        UdpSockets::OneConnected | UdpSockets::OneUnconnected => {
            let socket = match shared.take() {
                Some(socket) => socket,
                None => Datagrams::open(request, connected)?,
            };
            shared.insert(socket).ask(number, request)
        }
    }
}

fn transfer(connection: &mut Connection, number: u64, request: &Request) -> io::Result<Answer> {
    let answer = connection.ask(number, request)?;
    let (stream, lines) = connection.parts();
    match request.mode {
        Mode::Upload { bytes } => {
            writeln!(stream, "upload {bytes}")?;
            bulk::send(stream, bytes)?;
            let mut right = String::new();
            lines.read_line(&mut right)?;
            intact(right.trim().parse().unwrap_or(0), bytes)?;
        }
        Mode::Download { bytes } => {
            writeln!(stream, "download {bytes}")?;
            intact(bulk::receive(lines, bytes)?, bytes)?;
        }
        Mode::Ask | Mode::PingPong { .. } | Mode::Scatter => {}
    }
    if request.from_port.is_some() {
        connection.abort()?;
    }
    Ok(answer)
}

fn intact(right: u64, bytes: u64) -> io::Result<()> {
    if right == bytes {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{right} of {bytes} bytes are right"),
        ))
    }
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
