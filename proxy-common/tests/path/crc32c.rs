//! SCTP's checksum by difference, against a full computation by a crate of others.

use crc::{CRC_32_ISCSI, Crc};
use proptest::prelude::*;
use proxy_common::path::crc32c;
use proxy_common::sim::oracle;

/// `CRC32c` has the name of the first protocol that used it.
const WHOLE: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The checksum of `packet`, whose field is taken for zero, as it lies in it.
fn whole(packet: &[u8]) -> [u8; 4] {
    let mut packet = packet.to_vec();
    packet[8..12].fill(0);
    WHOLE.checksum(&packet).to_le_bytes()
}

/// Changes the ports of `packet` and its checksum by difference.
fn change(packet: &mut [u8], ports: [u8; 4]) {
    let word = |at: usize| u32::from_ne_bytes(packet[at..at + 4].try_into().unwrap());
    let length = u16::try_from(packet.len()).unwrap();
    let new = u32::from_ne_bytes(ports);
    let checksum = crc32c::update(word(8), word(0), new, length);
    packet[..4].copy_from_slice(&ports);
    packet[8..12].copy_from_slice(&checksum.to_ne_bytes());
}

#[test]
fn every_length_of_a_packet_has_its_power() {
    for length in (12..=u16::MAX)
        .step_by(61)
        .chain([12, 13, 16, 255, 256, 257, 511, 512, u16::MAX])
    {
        let mut packet: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let sum = whole(&packet);
        packet[8..12].copy_from_slice(&sum);
        change(&mut packet, [0xde, 0xad, 0x0b, 0xee]);
        assert_eq!(packet[8..12], whole(&packet), "{length} bytes");
    }
}

proptest! {
    #[test]
    fn sum_by_difference_equals_a_recomputed_one(
        mut packet in proptest::collection::vec(any::<u8>(), 12..3000), ports: [[u8; 4]; 3],
    ) {
        let sum = whole(&packet);
        packet[8..12].copy_from_slice(&sum);
        prop_assert_eq!(oracle::crc32c(&packet), sum);
        for ports in ports {
            change(&mut packet, ports);
            prop_assert_eq!(&packet[8..12], &whole(&packet));
        }
    }

    #[test]
    fn wrong_sum_stays_as_wrong(mut packet in proptest::collection::vec(any::<u8>(), 12..200), ports: [u8; 4], flip in 1_u32..) {
        let sum = u32::from_le_bytes(whole(&packet)) ^ flip;
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
        change(&mut packet, ports);
        let now = u32::from_le_bytes(packet[8..12].try_into().unwrap());
        prop_assert_eq!(now ^ flip, u32::from_le_bytes(whole(&packet)));
    }
}
