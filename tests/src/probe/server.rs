//! The server: one TCP listener and one UDP socket, both for IPv4 and IPv6, that say who they are and whom they see.

use std::io::{self, BufRead as _, BufReader, IoSliceMut, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};

use super::answer::Said;
use super::{bulk, unmapped};

/// Serves on `port` until killed; prints a line once both sockets are open.
pub fn serve(name: &str, port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    setsockopt(&udp, sockopt::Ipv6RecvPacketInfo, &true)?;
    println!("serving");
    io::stdout().flush()?;
    std::thread::scope(|scope| {
        scope.spawn(|| datagrams(name, &udp));
        for connection in listener.incoming() {
            let connection = connection?;
            let name = name.to_owned();
            // A client that goes away is no fault of the server's.
            std::thread::spawn(move || talk(&name, &connection).ok());
        }
        Ok(())
    })
}

/// Answers lines until the client closes.
fn talk(name: &str, connection: &TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let client = unmapped(connection.peer_addr()?);
    let mut lines = BufReader::new(connection);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let mut words = line.split_whitespace();
        match (
            words.next(),
            words.next().and_then(|word| word.parse().ok()),
        ) {
            (Some("upload"), Some(bytes)) => {
                let sum = bulk::receive(&mut lines, bytes)?;
                writeln!(&*connection, "{sum}")?;
            }
            (Some("download"), Some(bytes)) => bulk::send(&mut &*connection, bytes)?,
            (Some("GET"), _) => return http(name, client, connection, lines),
            _ => (&*connection).write_all(&reply(name, client, &line))?,
        }
        line.clear();
    }
    Ok(())
}

/// For curl: one answer to any path.
fn http(
    name: &str,
    client: SocketAddr,
    mut connection: &TcpStream,
    mut lines: BufReader<&TcpStream>,
) -> io::Result<()> {
    let mut header = String::new();
    while lines.read_line(&mut header)? > 2 {
        header.clear();
    }
    let body = format!("this is {name}, you are {client}\n");
    write!(
        connection,
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Answers datagrams, from the address they were sent to: a node has several.
fn datagrams(name: &str, socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<SockaddrIn6>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        );
        // An error is ICMP about a client that went away.
        let Ok(received) = received else { continue };
        let (Some(from), length) = (received.address, received.bytes) else {
            continue;
        };
        let to = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
            _ => None,
        });
        let request =
            String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        let client = unmapped(SocketAddr::new(from.ip().into(), from.port()));
        let answer = reply(name, client, &request);
        let source = to.map(|info| libc::in6_pktinfo {
            ipi6_ifindex: 0,
            ..info
        });
        let source: Vec<_> = source.iter().map(ControlMessage::Ipv6PacketInfo).collect();
        // An unreachable client is no fault of the server's.
        let _lost = sendmsg(
            socket.as_raw_fd(),
            &[io::IoSlice::new(&answer)],
            &source,
            MsgFlags::empty(),
            Some(&from),
        );
    }
}

/// The answer to `ask <number> <answer length> ...`.
fn reply(name: &str, client: SocketAddr, request: &str) -> Vec<u8> {
    let mut words = request
        .split_whitespace()
        .skip(1)
        .map(|word| word.parse::<u64>().ok());
    let number = words.next().flatten().unwrap_or(0);
    let answer_length = words
        .next()
        .flatten()
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(0);
    let mut said = Said {
        name: name.to_owned(),
        client,
        number,
        length: request.len(),
        filler: String::new(),
    };
    let mut text = serde_json::to_vec(&said).unwrap_or_default();
    // `,"filler":""` and the line end.
    if let Some(missing) = answer_length
        .checked_sub(text.len() + 13)
        .filter(|&missing| missing > 0)
    {
        said.filler = ".".repeat(missing);
        text = serde_json::to_vec(&said).unwrap_or_default();
    }
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_length_asked_for() {
        let client = SocketAddr::from(([10, 0, 0, 1], 77));
        let answer = reply("x", client, "ask 5 1000 ....");
        let said: Said = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            (answer.len(), said.number, said.client, said.length),
            (1000, 5, client, 15)
        );
    }
}
