//! The server: one thread, all sockets by epoll, so that 64 clients at a time cost it no context switches of its own.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::SockRef;

use super::{COUNT, ECHO, SINK, TOLD, pin};

/// Bytes read at a time.
const CHUNK: usize = 1 << 17;
/// Bytes of datagrams that may wait.
const BACKLOG: usize = 4 << 20;
/// Datagrams taken before connections get their turn.
const DATAGRAMS: usize = 256;

struct Connection {
    stream: TcpStream,
    sink: bool,
    fresh: bool,
}

/// Serves `port` on processor `cpu` until killed; prints a line once it listens.
pub fn serve(port: u16, cpu: usize) -> io::Result<()> {
    pin(cpu);
    // Both families by one socket: the kernel's default.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    // std listens with a backlog of 128: 64 clients that come back at once must fit.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1024)?)?;
    listener.set_nonblocking(true)?;
    let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    udp.set_nonblocking(true)?;
    setsockopt(&udp, sockopt::Ipv6RecvPacketInfo, &true)?;
    // The addresses that it answers from are routed to the pod, and on no device of it.
    SockRef::from(&udp).set_freebind_v6(true)?;
    setsockopt(&udp, sockopt::RcvBufForce, &BACKLOG)?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let readable = |fd: RawFd| EpollEvent::new(EpollFlags::EPOLLIN, fd.cast_unsigned().into());
    epoll.add(&listener, readable(listener.as_raw_fd()))?;
    epoll.add(&udp, readable(udp.as_raw_fd()))?;
    println!("serving");
    let mut connections = HashMap::new();
    let mut events = [EpollEvent::empty(); 128];
    let mut buffer = vec![0; CHUNK];
    let mut counted = 0;
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in events.iter().take(count) {
            let fd = RawFd::try_from(event.data()).unwrap_or(-1);
            if fd == listener.as_raw_fd() {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    epoll.add(&stream, readable(stream.as_raw_fd()))?;
                    let connection = Connection {
                        stream,
                        sink: false,
                        fresh: true,
                    };
                    connections.insert(connection.stream.as_raw_fd(), connection);
                }
            } else if fd == udp.as_raw_fd() {
                datagrams(&udp, &mut buffer, &mut counted);
            } else if let Some(connection) = connections.get_mut(&fd)
                && !connection.serve(&mut buffer)
            {
                // Closing takes it out of epoll.
                connections.remove(&fd);
            }
        }
    }
}

impl Connection {
    /// Answers what has come; false: the client is gone.
    fn serve(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => false,
            Ok(_) => {
                if self.fresh {
                    self.sink = buffer.first() == Some(&SINK);
                    self.fresh = false;
                }
                self.sink || self.stream.write_all(&[ECHO]).is_ok()
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// Takes datagrams that wait. Answers come from the address that was asked: the pod has very many.
fn datagrams(socket: &UdpSocket, buffer: &mut [u8], counted: &mut u64) {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    for _ in 0..DATAGRAMS {
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let Ok(received) = recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), flags) else {
            return;
        };
        let (from, length) = (received.address, received.bytes);
        let to = received.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
                _ => None,
            })
        });
        let (Some(from), Some(&first)) = (from, buffer.first()) else {
            continue;
        };
        let told = counted.to_le_bytes();
        let answer = match first {
            COUNT => {
                *counted += 1;
                continue;
            }
            TOLD => {
                *counted = 0;
                &told[..]
            }
            _ => buffer.get(..length).unwrap_or_default(),
        };
        let source = to.map(|info| libc::in6_pktinfo {
            ipi6_ifindex: 0,
            ..info
        });
        let source: Vec<_> = source.iter().map(ControlMessage::Ipv6PacketInfo).collect();
        // An unreachable client is no fault of the server's.
        let _lost = sendmsg(fd, &[IoSlice::new(answer)], &source, flags, Some(&from));
    }
}
