//! A BPF array: every index below its size has a value, zero at first. Packets may change it too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

/// Values by index.
#[derive(Clone, Debug)]
pub struct Array<T> {
    size: u32,
    values: RefCell<BTreeMap<u32, T>>,
}

impl<T: Copy + Default> Array<T> {
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            values: RefCell::default(),
        }
    }

    /// Value `index`; `None` past the end.
    pub fn get(&self, index: u32) -> Option<T> {
        let values = self.values.borrow();
        (index < self.size).then(|| values.get(&index).copied().unwrap_or_default())
    }

    /// Writes value `index`; past the end it is dropped, as a failed update would be.
    pub fn set(&self, index: u32, value: T) {
        if index < self.size {
            self.values.borrow_mut().insert(index, value);
        }
    }

    /// What was written, by index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, T)> + use<T> {
        let values = self.values.borrow();
        let values: Vec<(u32, T)> = values
            .iter()
            .map(|(index, value)| (*index, *value))
            .collect();
        values.into_iter()
    }
}
