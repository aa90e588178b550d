//! The one place with `unsafe`: bpf(2), mmap and socket options that neither aya nor nix offers, behind safe functions.
//!
//! Nothing here knows what kube-shunt is.

pub(crate) mod bpf;
pub(crate) mod elements;
pub mod heap;
pub(crate) mod links;
pub(crate) mod misc;
pub(crate) mod words;
