//! Bytes that both sides can compute, and a checksum that notices any change in them.

use std::io::{self, Read, Write};

const CHUNK: usize = 65_536;

/// Bytes `offset..` of the endless stream, as many as fit.
fn fill(offset: u64, chunk: &mut [u8]) {
    for (index, word) in (offset / 8..).zip(chunk.chunks_mut(8)) {
        // An odd constant, so that every word differs: swapped, lost and doubled segments show.
        let value = index
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes();
        word.copy_from_slice(value.split_at(word.len()).0);
    }
}

/// Writes `bytes` bytes of the stream.
pub fn send(to: &mut impl Write, bytes: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut sent = 0;
    while sent < bytes {
        let part = chunk
            .split_at_mut(CHUNK.min(usize::try_from(bytes - sent).unwrap_or(CHUNK)))
            .0;
        fill(sent, part);
        to.write_all(part)?;
        sent += part.len() as u64;
    }
    Ok(())
}

/// Reads `bytes` bytes and compares each with the stream; how many were right before the first wrong one.
pub fn receive(from: &mut impl Read, bytes: u64) -> io::Result<u64> {
    let (mut chunk, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut right = 0;
    let mut intact = true;
    let mut seen = 0;
    while seen < bytes {
        let length = CHUNK.min(usize::try_from(bytes - seen).unwrap_or(CHUNK));
        let (part, want) = (
            chunk.split_at_mut(length).0,
            expected.split_at_mut(length).0,
        );
        from.read_exact(part)?;
        fill(seen, want);
        seen += length as u64;
        intact &= part == want;
        if intact {
            right = seen;
        }
    }
    Ok(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_noticed() {
        let mut bytes = Vec::new();
        send(&mut bytes, 200_003).unwrap();
        assert_eq!(receive(&mut bytes.as_slice(), 200_003).unwrap(), 200_003);
        bytes[150_000] ^= 1;
        assert_eq!(receive(&mut bytes.as_slice(), 200_003).unwrap(), 131_072);
    }
}
