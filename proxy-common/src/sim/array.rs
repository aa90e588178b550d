//! A BPF array: every index below its size has a value, zero at first.

use std::collections::BTreeMap;

/// Values by index.
#[derive(Clone, Debug)]
pub struct Array<T> {
    size: u32,
    values: BTreeMap<u32, T>,
}

impl<T: Copy + Default> Array<T> {
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            values: BTreeMap::new(),
        }
    }

    /// Value `index`; `None` past the end.
    pub fn get(&self, index: u32) -> Option<T> {
        (index < self.size).then(|| self.values.get(&index).copied().unwrap_or_default())
    }

    /// Writes value `index`; past the end it is dropped, as a failed update would be.
    pub fn set(&mut self, index: u32, value: T) {
        if index < self.size {
            self.values.insert(index, value);
        }
    }

    /// What was written, by index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, T)> + '_ {
        self.values.iter().map(|(index, value)| (*index, *value))
    }
}
