//! The netlink sockets: for requests and dumps, and for events.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use netlink_sys::protocols::{NETLINK_ROUTE, NETLINK_SOCK_DIAG};
use netlink_sys::{Socket, SocketAddr};

use super::wire::{Message, Request, messages, msg};

/// Bytes the kernel may queue for us. A node that starts hundreds of pods at once sends as many events.
const QUEUE: usize = 8 << 20;
/// How often an interrupted dump is repeated.
const DUMPS: usize = 10;

/// A socket for requests and their answers. Lives in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Requests {
    socket: Socket,
    sequence: u32,
}

impl Requests {
    /// For links, addresses, routes and filters.
    pub(crate) fn open() -> io::Result<Self> {
        Self::of(NETLINK_ROUTE)
    }

    /// For sockets.
    pub(crate) fn sock_diag() -> io::Result<Self> {
        Self::of(NETLINK_SOCK_DIAG)
    }

    fn of(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    fn send(&mut self, request: Request) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence)?;
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Sends a request (with ACK set) and waits for its acknowledgement.
    pub(crate) fn request(&mut self, request: Request) -> io::Result<()> {
        self.send(request)?;
        loop {
            let (datagram, _from) = self.socket.recv_from_full()?;
            for message in messages(&datagram) {
                if message.sequence == self.sequence && message.kind == msg::ERROR {
                    return result(message.errno());
                }
            }
        }
    }

    /// Sends a dump request and hands every answer to `take`, from the start again if the kernel says that things moved.
    pub(crate) fn dump<T: Default>(
        &mut self,
        request: &Request,
        take: impl Fn(&mut T, &Message<'_>),
    ) -> io::Result<T> {
        for _attempt in 0..DUMPS {
            if let Some(dumped) = self.dump_once(request, &take)? {
                return Ok(dumped);
            }
        }
        Err(io::Error::other("the dump was interrupted again and again"))
    }

    fn dump_once<T: Default>(
        &mut self,
        request: &Request,
        take: impl Fn(&mut T, &Message<'_>),
    ) -> io::Result<Option<T>> {
        self.send(request.clone())?;
        let mut dumped = T::default();
        let mut interrupted = false;
        loop {
            let (datagram, _from) = self.socket.recv_from_full()?;
            for message in messages(&datagram).filter(|message| message.sequence == self.sequence) {
                interrupted |= message.flags & msg::DUMP_INTERRUPTED != 0;
                match message.kind {
                    // The end carries an error number too, as a negative number.
                    msg::DONE => {
                        result(message.errno().max(0))?;
                        return Ok((!interrupted).then_some(dumped));
                    }
                    msg::ERROR => {
                        result(message.errno())?;
                        return Ok((!interrupted).then_some(dumped));
                    }
                    _part => take(&mut dumped, &message),
                }
            }
        }
    }
}

fn result(errno: i32) -> io::Result<()> {
    if errno == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(errno))
    }
}

/// Multicast groups that tell of links, addresses and routes.
const GROUPS: [u32; 5] = [
    1,  // RTNLGRP_LINK
    5,  // RTNLGRP_IPV4_IFADDR
    7,  // RTNLGRP_IPV4_ROUTE
    9,  // RTNLGRP_IPV6_IFADDR
    11, // RTNLGRP_IPV6_ROUTE
];
/// `RTNLGRP_TC`: qdiscs and filters.
const GROUP_TC: u32 = 4;

/// A socket that hears of changes. Non-blocking.
#[derive(Debug)]
pub(crate) struct Events {
    socket: Socket,
}

/// Why [`Events::receive`] has nothing.
#[derive(Debug)]
pub(crate) enum Quiet {
    /// Nothing happened.
    Empty,
    /// Events were lost: dump everything again.
    Overflow,
    /// The socket is broken.
    Broken(io::Error),
}

impl Events {
    /// `filters`: hear of qdiscs and filters too.
    pub(crate) fn open(filters: bool) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // Beyond net.core.rmem_max only with CAP_NET_ADMIN over the initial namespace: what the kernel grants has to do.
        if let Err(error) =
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &QUEUE)
        {
            tracing::debug!(%error, "the event socket keeps its default buffer");
        }
        for group in GROUPS.into_iter().chain(filters.then_some(GROUP_TC)) {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self { socket })
    }

    /// The next datagram of events.
    pub(crate) fn receive(&self) -> Result<Vec<u8>, Quiet> {
        match self.socket.recv_from_full() {
            Ok((datagram, _from)) => Ok(datagram),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Quiet::Empty),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Err(Quiet::Overflow),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Quiet::Empty),
            Err(error) => Err(Quiet::Broken(error)),
        }
    }

    /// For poll(2).
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
