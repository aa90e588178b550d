//! One mmapped array: entries of T written and read without system calls.
//!
//! For readers it is mapped when it is first read: its pages count as memory of the process, and most readers never look.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use aya::Pod;

use crate::error::{Error, Result};
use crate::schema::MapSpec;
use crate::sys::bpf::Access;
use crate::sys::misc::{from_words, to_words};
use crate::sys::words::Words;

use super::table::Handle;

/// An array of T in N words each: the value size rounded up to eight bytes.
pub(crate) struct Slots<T, const N: usize> {
    handle: Handle,
    access: Access,
    words: OnceLock<Words>,
    types: PhantomData<fn() -> T>,
}

impl<T, const N: usize> fmt::Debug for Slots<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("map", &self.handle.spec.name)
            .finish_non_exhaustive()
    }
}

impl<T: Pod, const N: usize> Slots<T, N> {
    /// The array behind `handle`, which may write; mapped at once if it is to be written.
    pub(crate) fn of(handle: Handle, access: Access) -> Result<Self> {
        const { assert!(N == size_of::<T>().div_ceil(8)) };
        let slots = Self {
            handle,
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
            &self.handle.fd,
            self.handle.max_entries,
            self.handle.spec.value_size,
            self.access,
        )
        .map_err(Error::map(self.handle.spec.name, "mapping its memory"))?;
        Ok(self.words.get_or_init(|| words))
    }

    /// Another mapping of the same array.
    pub(crate) fn duplicate(&self) -> Result<Self> {
        Self::of(self.handle.duplicate()?, self.access)
    }

    pub(crate) fn max_entries(&self) -> u32 {
        self.handle.max_entries
    }

    pub(crate) fn spec(&self) -> &'static MapSpec {
        self.handle.spec
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
        Err(Error::map(self.handle.spec.name, "writing")(error))
    }

    /// Reads an entry; `None` if there is no such one.
    pub(crate) fn read(&self, slot: u32) -> Result<Option<T>> {
        let mut words = [0; N];
        let exists = self.words()?.load(slot as usize, &mut words);
        Ok(exists.then(|| from_words(&words)))
    }

    /// Replaces the second word of an entry by what `change` makes of the first two, with no store of another in between;
    /// `None` leaves it.
    pub(crate) fn change_second(
        &self,
        slot: u32,
        change: impl Fn(u64, u64) -> Option<u64>,
    ) -> Result<()> {
        let memory = self.words()?;
        let mut first = [0];
        if memory.load(slot as usize, &mut first) {
            let [first] = first;
            memory.change(slot as usize, 1, |second| change(first, second));
        }
        Ok(())
    }

    /// The entries that are not all zeroes.
    pub(crate) fn used(&self) -> Result<impl Iterator<Item = (u32, T)> + use<'_, T, N>> {
        let memory = self.words()?;
        Ok((0..self.handle.max_entries).filter_map(|slot| {
            let mut words = [0; N];
            let exists = memory.load(slot as usize, &mut words);
            (exists && words != [0; N]).then(|| (slot, from_words(&words)))
        }))
    }
}
