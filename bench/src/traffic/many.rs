//! Many connections at a time, by one thread and epoll.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use super::client::Clock;
use super::{ECHO, Found, Order};

/// After which a connection is given up.
const LIMIT: Duration = Duration::from_secs(2);

/// One connection under way.
struct Slot {
    socket: Socket,
    start: Instant,
    /// The time of `connect()`, once it is done.
    connected: Option<Duration>,
}

/// What an event meant to a connection.
enum Step {
    Waits,
    Done(Duration),
    Failed(io::Error),
}

/// `parallel` connections at a time; each that ends is followed by another.
pub(super) fn connect(order: &Order, parallel: u32) -> Result<Found> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let mut clock = Clock::start(order);
    let mut slots = Vec::new();
    let mut next = 0;
    let mut open = |index| {
        next += 1;
        Slot::open(order.target(next)?, &epoll, index)
    };
    for index in 0..parallel {
        slots.push(open(index)?);
    }
    let mut events = [EpollEvent::empty(); 128];
    while clock.runs() {
        let count = epoll.wait(&mut events, EpollTimeout::from(50_u8))?;
        for event in events.iter().take(count) {
            let index = u32::try_from(event.data())?;
            let Some(slot) = slots.get_mut(index as usize) else {
                continue;
            };
            match slot.step() {
                Step::Waits => continue,
                Step::Done(took) => clock.done(slot.start, took),
                Step::Failed(error) => clock.failed(slot.start, &error),
            }
            *slot = open(index)?;
        }
        if count == 0 {
            for (index, slot) in (0..).zip(&mut slots) {
                if slot.start.elapsed() > LIMIT {
                    clock.failed(slot.start, &io::ErrorKind::TimedOut.into());
                    *slot = open(index)?;
                }
            }
        }
    }
    clock.found()
}

impl Slot {
    fn open(to: SocketAddr, epoll: &Epoll, index: u32) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None)?;
        socket.set_linger(Some(Duration::ZERO))?;
        let start = Instant::now();
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                return Err(error.into());
            }
            _ => {}
        }
        // Edges: one when it is connected, one when the answer comes.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&socket, EpollEvent::new(flags, index.into()))?;
        Ok(Self {
            socket,
            start,
            connected: None,
        })
    }

    fn step(&mut self) -> Step {
        let Some(took) = self.connected else {
            let took = self.start.elapsed();
            if let Err(error) | Ok(Some(error)) = self.socket.take_error() {
                return Step::Failed(error);
            }
            self.connected = Some(took);
            return match (&self.socket).write_all(&[ECHO]) {
                Ok(()) => Step::Waits,
                Err(error) => Step::Failed(error),
            };
        };
        match (&self.socket).read(&mut [0]) {
            Ok(1) => Step::Done(took),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::Waits,
            Err(error) => Step::Failed(error),
            Ok(_) => Step::Failed(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
