//! Netlink messages as bytes: written field by field, read with every length checked. No I/O.

use std::io;

/// Message types and flags, as far as we use them.
pub(crate) mod msg {
    pub(crate) const ERROR: u16 = 2;
    pub(crate) const DONE: u16 = 3;
    pub(crate) const NEWLINK: u16 = 16;
    /// Of `sock_diag`, whose numbers overlap with rtnetlink's.
    pub(crate) const SOCK_DIAG: u16 = 20;
    pub(crate) const SOCK_DESTROY: u16 = 21;
    pub(crate) const DELLINK: u16 = 17;
    pub(crate) const GETLINK: u16 = 18;
    pub(crate) const NEWADDR: u16 = 20;
    pub(crate) const DELADDR: u16 = 21;
    pub(crate) const GETADDR: u16 = 22;
    pub(crate) const NEWROUTE: u16 = 24;
    pub(crate) const DELROUTE: u16 = 25;
    pub(crate) const GETROUTE: u16 = 26;
    pub(crate) const NEWQDISC: u16 = 36;
    pub(crate) const DELQDISC: u16 = 37;
    pub(crate) const NEWTFILTER: u16 = 44;
    pub(crate) const DELTFILTER: u16 = 45;
    pub(crate) const GETTFILTER: u16 = 46;

    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const ACK: u16 = 4;
    pub(crate) const DUMP: u16 = 0x300;
    /// In an answer: the dump was disturbed by a change and must be repeated.
    pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const EXCLUSIVE: u16 = 0x200;
}

/// Address families as they stand in a byte.
pub(crate) mod family {
    pub(crate) const UNSPEC: u8 = 0;
    pub(crate) const INET: u8 = 2;
    pub(crate) const INET6: u8 = 10;
    #[cfg(test)]
    pub(crate) const BRIDGE: u8 = 7;
}

const HEADER: usize = 16;
/// Nested attributes carry flags in the upper bits of their type.
const TYPE_MASK: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// A message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// All behind the netlink header.
    pub(crate) payload: &'a [u8],
}

impl Message<'_> {
    /// The error number of an ERROR message; 0 is an acknowledgement.
    pub(crate) fn errno(&self) -> i32 {
        read_i32(self.payload, 0)
            .unwrap_or(-libc::EPROTO)
            .saturating_neg()
    }
}

/// The messages of a datagram; a torn one ends them.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = read_u32(datagram, 0)? as usize;
        let payload = datagram.get(HEADER..len)?;
        let message = Message {
            kind: read_u16(datagram, 4)?,
            flags: read_u16(datagram, 6)?,
            sequence: read_u32(datagram, 8)?,
            payload,
        };
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `bytes` as (type, value); a torn one ends them.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = read_u16(bytes, 0)? as usize;
        let kind = read_u16(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of type `wanted`.
pub(crate) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(kind, _value)| *kind == wanted)
        .map(|(_kind, value)| value)
}

/// A native u16 at `offset`.
pub(crate) fn read_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|bytes| u16::from_ne_bytes(*bytes))
}

/// A native u32 at `offset`.
pub(crate) fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|bytes| u32::from_ne_bytes(*bytes))
}

/// A native i32 at `offset`.
pub(crate) fn read_i32(bytes: &[u8], offset: usize) -> Option<i32> {
    read_u32(bytes, offset).map(u32::cast_signed)
}

/// A string attribute, without its final zero.
pub(crate) fn read_text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// A request in the making.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of `kind` with the fixed part `fixed`.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | msg::REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        Self { bytes }
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Adds an attribute.
    #[must_use]
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.pad();
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    /// Adds a nested attribute: `inner` adds what is in it.
    #[must_use]
    pub(crate) fn nested(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        self.pad();
        let start = self.bytes.len();
        self = inner(self.attribute(kind | NESTED, &[]));
        let len = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 2) {
            field.copy_from_slice(&len.to_ne_bytes());
        }
        self
    }

    /// The finished message.
    pub(crate) fn finish(mut self, sequence: u32) -> io::Result<Vec<u8>> {
        self.pad();
        let len =
            u32::try_from(self.bytes.len()).map_err(|_too_long| io::ErrorKind::InvalidInput)?;
        for (at, field) in [(0, len), (8, sequence)] {
            if let Some(bytes) = self.bytes.get_mut(at..at + 4) {
                bytes.copy_from_slice(&field.to_ne_bytes());
            }
        }
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_read_back() {
        let bytes = Request::new(msg::NEWLINK, msg::ACK, &[0; 16])
            .attribute(3, b"eth0\0")
            .nested(18, |request| {
                request
                    .attribute(1, b"veth\0")
                    .attribute(2, &7u32.to_ne_bytes())
            })
            .attribute(4, &1500u32.to_ne_bytes())
            .finish(42)
            .unwrap();
        let all: Vec<_> = messages(&bytes).collect();
        let [message] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert_eq!(
            (message.kind, message.flags, message.sequence),
            (msg::NEWLINK, msg::ACK | msg::REQUEST, 42)
        );
        let attributes = &message.payload[16..];
        assert_eq!(read_text(attribute(attributes, 3).unwrap()), "eth0");
        assert_eq!(
            attribute(attributes, 4),
            Some(1500u32.to_ne_bytes().as_slice())
        );
        let nested = attribute(attributes, 18).unwrap();
        assert_eq!(read_text(attribute(nested, 1).unwrap()), "veth");
        assert_eq!(read_u32(attribute(nested, 2).unwrap(), 0), Some(7));
    }

    #[test]
    fn torn_input_ends_quietly() {
        let bytes = Request::new(msg::NEWLINK, 0, &[0; 16])
            .attribute(3, b"eth0\0")
            .finish(1)
            .unwrap();
        for len in 0..bytes.len() {
            let torn = &bytes[..len];
            assert_eq!(messages(torn).count(), 0, "{len}");
            assert!(attributes(torn).count() <= torn.len() / 4);
        }
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(messages(&[0; 64]).count(), 0);
    }
}
