//! `BACKEND_STATE`, beyond single stores.

use proxy_common::value::BackendState;

use super::slots::Slots;
use crate::error::Result;
use crate::sys::misc::{from_words, to_words};

/// The array.
pub(crate) type States = Slots<BackendState, 2>;

impl States {
    /// Takes one connection out of a backend's count, unless the id has another owner by now.
    pub(crate) fn close(&self, id: u32, generation: u32) -> Result<()> {
        self.change_second(id, |shared, counted| {
            let state: BackendState = from_words(&[shared, counted]);
            let active = state.active.checked_sub(1)?;
            let [_shared, counted] = to_words::<BackendState, 2>(&BackendState { active, ..state });
            (state.generation == generation).then_some(counted)
        })
    }
}
