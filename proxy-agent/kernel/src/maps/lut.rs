//! Maglev tables in LUT: the length in the first word, the entries from the next one on, four to a word.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use proxy_common::value::{Frontend, LutWord};

use super::slots::Slots;
use crate::error::{Error, Result};
use crate::schema::LUT;
use crate::sys::misc::from_words;

/// The length last: a table that is being written has none.
pub(crate) fn write(lut: &Slots<LutWord, 1>, offset: u32, entries: &[u16]) -> Result<()> {
    let length = u16::try_from(entries.len()).map_err(|_too_long| {
        let error = io::Error::other(format!("a table of {} entries", entries.len()));
        Error::map(LUT.name, "writing")(error)
    })?;
    for (word, four) in (offset.saturating_add(1)..).zip(entries.chunks(4)) {
        let mut value = [0; 4];
        value[..four.len()].copy_from_slice(four);
        lut.write(word, &LutWord(value))?;
    }
    lut.write(offset, &LutWord([length, 0, 0, 0]))
}

/// The tables that `frontends` name, each with as many entries as its first word says and LUT has.
pub(crate) fn named<'a>(
    lut: &Slots<LutWord, 1>,
    frontends: impl Iterator<Item = &'a Frontend>,
) -> Result<Vec<(u32, Arc<[u16]>)>> {
    let mut offsets: BTreeSet<u32> = frontends.flat_map(|frontend| frontend.tables).collect();
    offsets.remove(&0);
    if offsets.is_empty() {
        return Ok(Vec::new());
    }
    let memory = lut.glance()?;
    let word = |at: u32| {
        let mut words = [0];
        let exists = memory.load(at as usize, &mut words);
        exists.then(|| from_words::<LutWord, 1>(&words).0)
    };
    let table = |offset: u32| {
        let [length, ..] = word(offset).unwrap_or_default();
        let words = (offset.saturating_add(1)..).map_while(word);
        (offset, words.flatten().take(length.into()).collect())
    };
    Ok(offsets.into_iter().map(table).collect())
}
