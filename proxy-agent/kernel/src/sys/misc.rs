//! Single calls: socket options, the monotonic clock, plain bytes of plain data.

#![expect(unsafe_code, reason = "raw system calls")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _};

use aya::Pod;

/// `SO_NETNS_COOKIE`: since 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Cookie of the network namespace that `socket` lives in; `None` where the kernel does not tell (before 5.14).
pub(crate) fn netns_cookie(socket: impl AsFd) -> io::Result<Option<u64>> {
    let mut cookie = 0u64;
    let mut len = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(8);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes to `cookie`, and the length to `len`.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        return Ok(Some(cookie));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
        error => Err(error),
    }
}

/// Whole seconds of the monotonic clock, as `bpf_ktime_get_ns` counts them.
pub(crate) fn monotonic_seconds() -> u32 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes a timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    debug_assert_eq!(result, 0);
    u32::try_from(now.tv_sec).unwrap_or(u32::MAX)
}

/// `value` as the words of an mmapped entry; what does not fill the last word is zero.
pub(crate) fn to_words<T: Pod, const N: usize>(value: &T) -> [u64; N] {
    const { assert!(size_of::<T>() <= N * 8) };
    let mut words = [0u64; N];
    let from = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: Pod values have no uninitialised bytes; the target is larger (asserted), and they do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(from, words.as_mut_ptr().cast(), size_of::<T>()) };
    words
}

/// The inverse of [`to_words`].
pub(crate) fn from_words<T: Pod, const N: usize>(words: &[u64; N]) -> T {
    const { assert!(size_of::<T>() <= N * 8) };
    // SAFETY: any bytes are a T (Pod), the source is larger (asserted), and the read is unaligned.
    unsafe { std::ptr::read_unaligned(words.as_ptr().cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_bytes_in_order() {
        let bytes: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let words: [u64; 2] = to_words(&bytes);
        assert_eq!(words[0].to_ne_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(words[1].to_ne_bytes(), [9, 10, 11, 12, 0, 0, 0, 0]);
        assert_eq!(from_words::<[u8; 12], 2>(&words), bytes);
    }
}
