//! An mmapped array map: entries read and written as 64-bit words, without system calls.

#![expect(unsafe_code, reason = "shared memory with the kernel")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bpf::Access;

/// The memory of an array map. Every word is accessed atomically: the programs read it at any time.
#[derive(Debug)]
pub(crate) struct Words {
    base: NonNull<AtomicU64>,
    /// Entries of the map.
    entries: usize,
    /// Words from one entry to the next: the value size rounded up to eight bytes.
    stride: usize,
    mapped_bytes: usize,
    access: Access,
}

// SAFETY: the mapping is owned by this value and only accessed through atomics.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Maps the array map `fd` of `entries` values of `value_size` bytes.
    pub(crate) fn map(
        fd: impl AsFd,
        entries: u32,
        value_size: u32,
        access: Access,
    ) -> io::Result<Self> {
        let stride = (value_size as usize).div_ceil(8);
        let entries = entries as usize;
        let mapped_bytes = (entries * stride * 8).next_multiple_of(page_size());
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped_bytes,
                protection,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            base,
            entries,
            stride,
            mapped_bytes,
            access,
        })
    }

    fn entry(&self, index: usize) -> Option<&[AtomicU64]> {
        if index >= self.entries {
            return None;
        }
        // SAFETY: index < entries, and the mapping covers entries * stride words.
        let start = unsafe { self.base.add(index * self.stride) };
        // SAFETY: as above; the mapping lives as long as self, and the words are only accessed as atomics.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), self.stride) })
    }

    /// Stores the first words of an entry; the rest stays. `false`: no such entry, or the mapping is read-only.
    pub(crate) fn store(&self, index: usize, words: &[u64]) -> bool {
        let Some(entry) = self
            .entry(index)
            .filter(|_entry| self.access == Access::Write)
        else {
            return false;
        };
        for (to, word) in entry.iter().zip(words) {
            to.store(*word, Ordering::Release);
        }
        true
    }

    /// Loads an entry into `words`, as many as fit. `false`: no such entry.
    pub(crate) fn load(&self, index: usize, words: &mut [u64]) -> bool {
        let Some(entry) = self.entry(index) else {
            return false;
        };
        for (word, from) in words.iter_mut().zip(entry) {
            *word = from.load(Ordering::Acquire);
        }
        true
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: base and length are those of our own mapping, which nobody uses after this.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
        debug_assert_eq!(result, 0);
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf reads no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
