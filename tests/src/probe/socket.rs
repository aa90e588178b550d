//! Sockets as the requests want them.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::answer::{Answer, Said};
use super::{Request, unmapped};

fn socket(request: &Request, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(request.to), kind, Some(protocol))?;
    if request.from.is_some() || request.from_port.is_some() {
        let any = if request.to.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        socket.set_reuse_address(true)?;
        socket.bind(
            &SocketAddr::new(request.from.unwrap_or(any), request.from_port.unwrap_or(0)).into(),
        )?;
    }
    Ok(socket)
}

/// A connection that [`ask_tcp`] talks over.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Connection {
    /// Connects as `request` says.
    pub fn open(request: &Request) -> io::Result<Self> {
        let socket = socket(request, Type::STREAM, Protocol::TCP)?;
        let limit = Duration::from_millis(request.timeout_ms);
        socket.connect_timeout(&request.to.into(), limit)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self {
            lines: BufReader::new(stream.try_clone()?),
            stream,
        })
    }

    /// The stream to write to, and the lines read from it.
    pub fn parts(&mut self) -> (&mut TcpStream, &mut BufReader<TcpStream>) {
        (&mut self.stream, &mut self.lines)
    }

    /// Asks who is there.
    pub fn ask(&mut self, number: u64, request: &Request) -> io::Result<Answer> {
        self.stream.write_all(&question(number, request))?;
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        understand(
            line.as_bytes(),
            number,
            request,
            self.stream.peer_addr()?,
            self.stream.local_addr()?,
        )
    }

    /// Closes with a reset, so that the port is free at once.
    pub fn abort(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Segments sent again so far.
    pub fn retransmits(&self) -> u64 {
        use std::os::fd::AsRawFd as _;

        // SAFETY: tcp_info is plain integers.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut length = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or(0);
        // SAFETY: pointer and length describe `info`.
        let failed = unsafe {
            libc::getsockopt(
                self.stream.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &raw mut length,
            )
        };
        if failed == 0 {
            info.tcpi_total_retrans.into()
        } else {
            0
        }
    }
}

/// A UDP socket, connected or not.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    connected: bool,
}

impl Datagrams {
    /// Opens the socket, and connects it if asked to.
    pub fn open(request: &Request, connected: bool) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;

        let socket = socket(request, Type::DGRAM, Protocol::UDP)?;
        // Unconnected sockets hear of ICMP errors only with this.
        let on: libc::c_int = 1;
        let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(0);
        for (level, option) in [
            (libc::IPPROTO_IP, libc::IP_RECVERR),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        ] {
            // SAFETY: pointer and length describe `on`. It fails for the family that the socket is not of, which is right.
            let _other_family = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    level,
                    option,
                    (&raw const on).cast(),
                    length,
                )
            };
        }
        if connected {
            socket.connect(&request.to.into())?;
        }
        Ok(Self {
            socket: socket.into(),
            connected,
        })
    }

    /// Sends a question.
    pub fn send(&self, number: u64, request: &Request) -> io::Result<()> {
        let question = question(number, request);
        if self.connected {
            self.socket.send(&question)?;
        } else {
            self.socket.send_to(&question, request.to)?;
        }
        Ok(())
    }

    /// Asks who is there; answers to earlier questions are ignored.
    pub fn ask(&self, number: u64, request: &Request) -> io::Result<Answer> {
        self.send(number, request)?;
        let end = Instant::now() + Duration::from_millis(request.timeout_ms);
        let mut buffer = vec![0; 65_536];
        loop {
            let left = end
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
                .ok_or(io::ErrorKind::TimedOut)?;
            self.socket.set_read_timeout(Some(left))?;
            let (length, from) = if self.connected {
                (self.socket.recv(&mut buffer)?, self.socket.peer_addr()?)
            } else {
                self.socket.recv_from(&mut buffer)?
            };
            match understand(
                buffer.split_at(length).0,
                number,
                request,
                from,
                self.socket.local_addr()?,
            ) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => return done,
            }
        }
    }
}

fn question(number: u64, request: &Request) -> Vec<u8> {
    let mut text = format!("ask {number} {} ", request.answer_length);
    text.extend(std::iter::repeat_n(
        '.',
        request.length.saturating_sub(text.len() + 1),
    ));
    text.push('\n');
    text.into()
}

/// Checks an answer; `NotFound` if it is one to another question.
fn understand(
    answer: &[u8],
    number: u64,
    request: &Request,
    peer: SocketAddr,
    local: SocketAddr,
) -> io::Result<Answer> {
    let said: Said = serde_json::from_slice(answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if said.number != number {
        return Err(io::ErrorKind::NotFound.into());
    }
    if said.length < request.length || answer.len() < request.answer_length {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Kept in the form the socket gave: a mapped peer must stay mapped.
    Ok(Answer {
        name: said.name,
        client: said.client,
        peer,
        local: unmapped(local),
    })
}
