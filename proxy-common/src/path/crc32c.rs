//! SCTP's checksum (RFC 9260 section 6.8), by difference.
//!
//! `CRC32c` is linear: when the ports of a packet change, its sum changes by the remainder of the difference, moved to the ports'
//! place in the packet. So the change costs two products whatever the packet's length, and not one byte of payload is read.
//!
//! Polynomials over GF(2) are kept as the sum itself is: bit 31 is the coefficient of `x^0`, bit 0 that of `x^31`.

/// The polynomial without its `x^32`.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// `1`.
const ONE: u32 = 1 << 31;
/// `x^8`: one byte further.
const BYTE: u32 = ONE >> 8;

/// `x^(8 n)` for `n` of 0 to 255.
static BYTES: [u32; 256] = powers(BYTE);
/// `x^(8 * 256 n)` for `n` of 0 to 255.
static PAGES: [u32; 256] = powers(multiply(BYTES[255], BYTE));

/// The powers of `base`, from the zeroth on.
const fn powers(base: u32) -> [u32; 256] {
    let mut powers = [ONE; 256];
    let mut n = 1;
    while n < 256 {
        powers[n] = multiply(powers[n - 1], base);
        n += 1;
    }
    powers
}

/// `a * b` modulo the polynomial. Without branches: what the verifier has to follow does not depend on the operands.
#[inline(never)] // its loop is verified at each place that it is copied to
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 0;
    while bit < u32::BITS {
        product ^= b & all(a >> (31 - bit));
        b = (b >> 1) ^ (POLYNOMIAL & all(b));
        bit += 1;
    }
    product
}

/// Ones everywhere if the lowest bit is set, else zeros.
#[inline]
const fn all(bit: u32) -> u32 {
    (bit & 1).wrapping_neg()
}

/// The checksum after the first four bytes of `length` have changed from `old` to `new`; all as they lie in the packet.
#[inline]
pub fn update(checksum: u32, old: u32, new: u32, length: u16) -> u32 {
    let [pages, bytes] = length.to_be_bytes();
    let factor = multiply(PAGES[usize::from(pages)], BYTES[usize::from(bytes)]);
    // The first byte of a packet is the lowest of the number, and so is the sum's on the wire.
    let change = multiply(u32::from_le(old ^ new), factor);
    checksum ^ change.to_le()
}
