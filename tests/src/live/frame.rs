//! The frame that a source sends again and again, and where the flows that it is of differ.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Result, bail};

use super::Flows;

/// Bytes of a datagram in a frame: UDP's header and 18 of payload, as a small packet has them.
const DATAGRAM: u16 = 8 + 18;
/// Its protocol.
pub(super) const UDP: u8 = 17;
/// Low half of the source address and what balances it together, so that checksums are the same for every flow: IPv4's identification, or
/// a word of the payload of a datagram in IPv6, which has no checksum but UDP's.
pub(super) const BALANCE: u16 = 0x7fff;

/// The frames: UDP with 18 bytes of payload.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Of the device that they come in by.
    pub to_mac: [u8; 6],
    /// The client's. With [`Flows::New`] the address's low half and the port are replaced.
    pub from: SocketAddr,
    /// Whom they are for, of the same family.
    pub to: SocketAddr,
    /// First byte of the payload.
    pub payload: u8,
}

impl Template {
    pub(super) fn frame(&self, flows: Flows) -> Result<Vec<u8>> {
        let mut frame = self.to_mac.to_vec();
        // Locally administered, nobody's.
        frame.extend([0x02, 0x18, 0, 0, 0xee, 0x01]);
        let (source, balance) = match flows {
            Flows::One => (self.from.ip(), 0),
            Flows::New => (without_low_half(self.from.ip()), BALANCE),
        };
        match (source, self.to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                let start = frame.len() + 2;
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend((20 + DATAGRAM).to_be_bytes());
                frame.extend(balance.to_be_bytes());
                frame.extend([0x40, 0, 64, UDP, 0, 0]);
                frame.extend(source.octets());
                frame.extend(to.octets());
                let sum = checksum(frame.get(start..).unwrap_or_default());
                put(&mut frame, start + 10, sum);
                // No UDP checksum.
                self.datagram(&mut frame);
            }
            (IpAddr::V6(source), IpAddr::V6(to)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(DATAGRAM.to_be_bytes());
                frame.extend([UDP, 64]);
                let start = frame.len();
                frame.extend(source.octets());
                frame.extend(to.octets());
                self.datagram(&mut frame);
                let datagram = frame.len() - usize::from(DATAGRAM);
                if flows == Flows::New {
                    put(&mut frame, datagram + 12, balance);
                    put(&mut frame, datagram + 14, !self.from.port());
                }
                // The rest of the pseudo header, RFC 8200 section 8.1.
                let mut summed = frame.get(start..).unwrap_or_default().to_vec();
                summed.extend(DATAGRAM.to_be_bytes());
                summed.extend([0, UDP]);
                // Zero would mean that there is none.
                put(
                    &mut frame,
                    datagram + 6,
                    match checksum(&summed) {
                        0 => u16::MAX,
                        sum => sum,
                    },
                );
            }
            _ => bail!("from {} to {} is of two families", self.from, self.to),
        }
        Ok(frame)
    }

    fn datagram(&self, frame: &mut Vec<u8>) {
        let end = frame.len() + usize::from(DATAGRAM);
        frame.extend(self.from.port().to_be_bytes());
        frame.extend(self.to.port().to_be_bytes());
        frame.extend(DATAGRAM.to_be_bytes());
        frame.extend([0, 0, self.payload]);
        frame.resize(end, 0);
    }
}

fn without_low_half(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            [a, b, 0, 0].into()
        }
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments[7] = 0;
            Ipv6Addr::from(segments).into()
        }
    }
}

/// A word at `offset`, which there is.
fn put(frame: &mut [u8], offset: usize, word: u16) {
    if let Some(place) = frame.get_mut(offset..offset + 2) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// Where a frame of UDP has what a flow differs in: source port, low half of the source, and the words that balance them.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) port: i16,
    pub(super) source: i16,
    pub(super) source_balance: i16,
    /// Only where a checksum covers ports.
    pub(super) port_balance: Option<i16>,
}

impl Places {
    pub(super) fn of(frame: &[u8]) -> Self {
        // The first half of the header's first byte says the family.
        if frame.get(14).is_some_and(|first| first >> 4 == 6) {
            Self {
                port: 54,
                source: 36,
                source_balance: 66,
                port_balance: Some(68),
            }
        } else {
            Self {
                port: 34,
                source: 28,
                source_balance: 18,
                port_balance: None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: [&str; 2] = ["172.18.0.3:30080", "[fd00:18::3]:30080"];
    const FROM: [&str; 2] = ["198.18.3.4:5000", "[2001:db8:99::1234]:5000"];

    fn templates() -> [Template; 2] {
        [0, 1].map(|family| Template {
            to_mac: [2, 0, 0, 0, 0, 1],
            from: FROM[family].parse().unwrap(),
            to: TO[family].parse().unwrap(),
            payload: b'e',
        })
    }

    /// What a receiver adds up: an IPv4 header, or a datagram in IPv6 with its pseudo header. Zero if all is well.
    fn remainder(frame: &[u8]) -> u16 {
        if frame[14] >> 4 == 4 {
            return checksum(&frame[14..34]);
        }
        let rest = [DATAGRAM.to_be_bytes(), [0, UDP]].concat();
        checksum(&[&frame[22..], &rest].concat())
    }

    #[test]
    fn frames_have_a_right_checksum() {
        for template in templates() {
            for flows in [Flows::One, Flows::New] {
                let mut frame = template.frame(flows).unwrap();
                assert_eq!(frame.len() % 4, 0);
                assert_eq!(remainder(&frame), 0, "{template:?}");
                frame[22] ^= 1;
                assert_ne!(remainder(&frame), 0);
            }
        }
    }

    #[test]
    fn every_flow_has_the_same_checksum() {
        for template in templates() {
            let mut frame = template.frame(Flows::New).unwrap();
            let places = Places::of(&frame);
            let (flow, port) = (0x1234_u16, 0x4321_u16);
            let mut put = |place: i16, word: u16| put(&mut frame, place.try_into().unwrap(), word);
            put(places.source, flow);
            put(places.source_balance, BALANCE - flow);
            if let Some(balance) = places.port_balance {
                put(places.port, port);
                put(balance, !port);
            }
            assert_eq!(remainder(&frame), 0, "{template:?}");
        }
    }

    #[test]
    fn a_flow_is_of_one_family() {
        let [v4, v6] = templates();
        let mixed = Template { to: v6.to, ..v4 };
        assert!(mixed.frame(Flows::One).is_err());
    }
}
