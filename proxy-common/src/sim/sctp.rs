//! SCTP packets (RFC 9260 section 3).

use std::vec::Vec;

use crate::sim::oracle;

/// Common header and one chunk; its value is `payload`. With `partial` the checksum is left to a device.
pub(super) fn packet(ports: &[u8], chunk: u8, payload: &[u8], partial: bool) -> Vec<u8> {
    // An INIT has no tag to verify yet.
    let tag = if chunk == 1 { [0; 4] } else { [7; 4] };
    let length = u16::try_from(4 + payload.len()).unwrap_or(0).to_be_bytes();
    let mut packet = [ports, &tag, &[0; 4], &[chunk, 3], &length, payload].concat();
    packet.resize(packet.len().next_multiple_of(4), 0);
    if !partial {
        let sum = oracle::crc32c(&packet);
        packet[8..12].copy_from_slice(&sum);
    }
    packet
}
