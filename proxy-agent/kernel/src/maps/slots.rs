//! One mmapped array: entries of T written and read without system calls.
//!
//! It is mapped when it is first used: all its pages count as memory of the process from then on, and many are never looked at
//! (LUT without Maglev, BACKENDS of a family that nobody uses, any of them by most readers).

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

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
    words: Arc<OnceLock<Words>>,
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
    /// The array behind `handle`, which may write.
    pub(crate) fn of(handle: Handle, access: Access) -> Self {
        const { assert!(N == size_of::<T>().div_ceil(8)) };
        Self {
            handle,
            access,
            words: Arc::default(),
            types: PhantomData,
        }
    }

    fn words(&self) -> Result<&Words> {
        if let Some(words) = self.words.get() {
            return Ok(words);
        }
        let words = self.map(self.access)?;
        Ok(self.words.get_or_init(|| words))
    }

    fn map(&self, access: Access) -> Result<Words> {
        Words::map(
            &self.handle.fd,
            self.handle.max_entries,
            self.handle.spec.value_size,
            access,
        )
        .map_err(Error::map(self.handle.spec.name, "mapping its memory"))
    }

    /// Another handle; both use one mapping.
    pub(crate) fn duplicate(&self) -> Result<Self> {
        Ok(Self {
            handle: self.handle.duplicate()?,
            access: self.access,
            words: Arc::clone(&self.words),
            types: PhantomData,
        })
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

    /// The entries that are not all zeroes.
    pub(crate) fn used(&self) -> Result<Vec<(u32, T)>> {
        let memory = self.glance()?;
        let entries = (0..self.handle.max_entries).filter_map(|slot| {
            let mut words = [0; N];
            let exists = memory.load(slot as usize, &mut words);
            (exists && words != [0; N]).then(|| (slot, from_words(&words)))
        });
        Ok(entries.collect())
    }

    /// For reading many entries once: what was not mapped before is not mapped afterwards.
    pub(crate) fn glance(&self) -> Result<Glance<'_>> {
        Ok(match self.words.get() {
            Some(words) => Glance::Mapped(words),
            None => Glance::ForNow(self.map(Access::Read)?),
        })
    }
}

/// See [`Slots::glance`].
pub(crate) enum Glance<'a> {
    Mapped(&'a Words),
    ForNow(Words),
}

impl Deref for Glance<'_> {
    type Target = Words;

    fn deref(&self) -> &Words {
        match self {
            Self::Mapped(words) => words,
            Self::ForNow(words) => words,
        }
    }
}
