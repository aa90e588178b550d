//! Long-lived connections that talk all the time, so that a lost packet or a reset shows.

use std::io::{self, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::answer::{Answer, Attempt, Failure, Report};
use super::socket::{Connection, Datagrams};
use super::{Proto, Request};
use crate::wait::monotonic_ns;

/// Opens `request.count` connections, prints a line when all talk, and goes on until standard input closes.
pub fn run(request: &Request, pause_us: u64) -> Report {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let talking: Vec<_> = (0..request.count)
            .map(|index| {
                // Distinct source ports, if one was asked for.
                let port = request
                    .from_port
                    .map(|port| port.wrapping_add(u16::try_from(index).unwrap_or(0)));
                let request = Request {
                    from_port: port,
                    ..request.clone()
                };
                let (started, wait) = std::sync::mpsc::channel();
                let stop = &stop;
                let thread = scope
                    .spawn(move || talk(&request, Duration::from_micros(pause_us), stop, &started));
                // Closed without a word if the first request failed; the report tells.
                let _failed = wait.recv();
                thread
            })
            .collect();
        println!("talking");
        let _closed = io::stdout().flush();
        let _end = io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
        let mut report = Report::default();
        for thread in talking {
            let part = thread.join().unwrap_or_default();
            report.attempts.extend(part.attempts);
            report.sent += part.sent;
            report.answered += part.answered;
            report.retransmits += part.retransmits;
            report.slowest_ns = report.slowest_ns.max(part.slowest_ns);
        }
        report
    })
}

enum Line {
    Tcp(Connection),
    Udp(Datagrams),
}

impl Line {
    fn open(request: &Request) -> io::Result<Self> {
        match request.proto {
            Proto::Tcp => Connection::open(request).map(Self::Tcp),
            Proto::Udp => Datagrams::open(request, true).map(Self::Udp),
        }
    }

    fn ask(&mut self, number: u64, request: &Request) -> io::Result<Answer> {
        match self {
            Self::Tcp(connection) => connection.ask(number, request),
            Self::Udp(socket) => socket.ask(number, request),
        }
    }
}

/// One connection. A lost datagram is counted and the talk goes on, on another socket if this one was disconnected; TCP ends with
/// its first error.
fn talk(
    request: &Request,
    pause: Duration,
    stop: &AtomicBool,
    started: &std::sync::mpsc::Sender<()>,
) -> Report {
    let mut report = Report::default();
    let mut outcome;
    let start = Instant::now();
    match Line::open(request) {
        Err(error) => outcome = Err(Failure::from(&error)),
        Ok(mut line) => {
            loop {
                // The last answer is to a question asked after the end was called for.
                let last = stop.load(Ordering::Relaxed);
                let asked = Instant::now();
                report.sent += 1;
                outcome = line
                    .ask(report.sent, request)
                    .map_err(|error| Failure::from(&error));
                report.slowest_ns = report
                    .slowest_ns
                    .max(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
                if outcome.is_ok() {
                    report.answered += 1;
                    // The receiver is gone after the first.
                    let _later = started.send(());
                } else if matches!(line, Line::Tcp(_)) {
                    break;
                } else if matches!(outcome, Err(Failure::Disconnected))
                    && let Ok(again) = Line::open(request)
                {
                    // Asked again there, also if this was the last question.
                    line = again;
                    continue;
                }
                if last {
                    break;
                }
                std::thread::sleep(pause);
            }
            if let Line::Tcp(connection) = line {
                report.retransmits = connection.retransmits();
            }
        }
    }
    report.attempts.push(Attempt {
        at_ns: monotonic_ns(),
        took_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        connect_ns: 0,
        outcome,
    });
    report
}
