//! The first packet of a connection, and what a program made of it.

use std::net::{IpAddr, SocketAddr};

use proxy_common::sim::build::Build;

use super::question::Proto;

/// No process has this source port, so a live connection is never mistaken for the new one that is asked about.
const NOBODY: u16 = 0;

/// Type of the SCTP chunk that opens an association (RFC 9260 section 3.2).
const INIT: u8 = 1;

/// An Ethernet frame with the first packet from `src` to `dst`.
pub(super) fn of(src: IpAddr, dst: SocketAddr, proto: Proto) -> Vec<u8> {
    let src = SocketAddr::new(src, NOBODY);
    match proto {
        Proto::Tcp => Build::tcp(src, dst).syn(),
        Proto::Udp => Build::udp(src, dst).payload(b"?"),
        Proto::Sctp => Build::sctp(src, dst).chunk(INIT),
    }
    .frame()
}

/// Source address and destination of a frame that [`of`] built and a program changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) src: IpAddr,
    pub(super) dst: SocketAddr,
}

impl Ends {
    /// `None` if the frame is of another protocol by now: an ICMP error.
    pub(super) fn read(frame: &[u8], proto: Proto) -> Option<Self> {
        let v6 = frame.get(12..14)? == [0x86, 0xdd];
        let (kind, src, dst, ports) = if v6 {
            (20, 22, 38, 54)
        } else {
            (23, 26, 30, 34)
        };
        if *frame.get(kind)? != proto.number() {
            return None;
        }
        let ip = |at: usize| -> Option<IpAddr> {
            Some(if v6 {
                IpAddr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?)
            } else {
                IpAddr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?)
            })
        };
        let port = <[u8; 2]>::try_from(frame.get(ports + 2..ports + 4)?).ok()?;
        Some(Self {
            src: ip(src)?,
            dst: SocketAddr::new(ip(dst)?, u16::from_be_bytes(port)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_as_it_was_built() {
        for (src, dst) in [("10.1.2.3", "10.96.0.10:53"), ("fd00::1", "[fd00::a]:53")] {
            let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
            for proto in Proto::ALL {
                let frame = of(src, dst, proto);
                assert_eq!(
                    Ends::read(&frame, proto),
                    Some(Ends { src, dst }),
                    "{proto:?}"
                );
            }
            assert_eq!(Ends::read(&of(src, dst, Proto::Udp), Proto::Tcp), None);
        }
    }
}
