//! One mmapped array: entries of T written and read without system calls.
//!
//! For readers it is mapped when it is first read: its pages count as memory of the process, and most readers never look.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use aya::Pod;

use crate::error::{Error, Result};
use crate::schema::MapSpec;
use crate::sys::bpf::Access;
use crate::sys::misc::{from_words, to_words};
use crate::sys::words::Words;

use super::table::open_checked;

/// An array of T in N words each: the value size rounded up to eight bytes.
pub(crate) struct Slots<T, const N: usize> {
    spec: &'static MapSpec,
    fd: OwnedFd,
    max_entries: u32,
    access: Access,
    words: OnceLock<Words>,
    types: PhantomData<fn() -> T>,
}

impl<T, const N: usize> fmt::Debug for Slots<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("map", &self.spec.name)
            .finish_non_exhaustive()
    }
}

impl<T: Pod, const N: usize> Slots<T, N> {
    /// Opens the array pinned at `path`; maps it if it is to be written.
    pub(crate) fn open(spec: &'static MapSpec, path: &Path, access: Access) -> Result<Self> {
        const { assert!(N == size_of::<T>().div_ceil(8)) };
        // The kernel maps arrays only from handles that may write (bpf_map_mmap wants VM_SHARED): the mapping itself restricts.
        let (fd, max_entries) = open_checked(spec, path, Access::Write)?;
        let slots = Self {
            spec,
            fd,
            max_entries,
            access,
            words: OnceLock::new(),
            types: PhantomData,
        };
        if access == Access::Write {
            slots.words()?;
        }
        Ok(slots)
    }

    fn words(&self) -> Result<&Words> {
        if let Some(words) = self.words.get() {
            return Ok(words);
        }
        let words = Words::map(
            &self.fd,
            self.max_entries,
            self.spec.value_size,
            self.access,
        )
        .map_err(Error::map(self.spec.name, "mapping its memory"))?;
        Ok(self.words.get_or_init(|| words))
    }

    pub(crate) fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Writes an entry, word by word.
    pub(crate) fn write(&self, slot: u32, value: &T) -> Result<()> {
        self.write_words(slot, &to_words::<T, N>(value))
    }

    /// Writes the first words of an entry; the others stay.
    pub(crate) fn write_words(&self, slot: u32, words: &[u64]) -> Result<()> {
        if self.words()?.store(slot as usize, words) {
            return Ok(());
        }
        let error = std::io::Error::other(format!(
            "there is no entry {slot}, or the map is open for reading only"
        ));
        Err(Error::map(self.spec.name, "writing")(error))
    }

    /// The entries that are not all zeroes.
    pub(crate) fn used(&self) -> Result<impl Iterator<Item = (u32, T)> + use<'_, T, N>> {
        let memory = self.words()?;
        Ok((0..self.max_entries).filter_map(|slot| {
            let mut words = [0; N];
            let exists = memory.load(slot as usize, &mut words);
            (exists && words != [0; N]).then(|| (slot, from_words(&words)))
        }))
    }
}
