//! rtnetlink: requests, dumps, events.
//!
//! Messages are read attribute by attribute and unknown ones are skipped: a newer kernel must never make a device invisible.

pub(crate) mod diag;
pub(crate) mod socket;
pub(crate) mod tc;
pub(crate) mod wire;
