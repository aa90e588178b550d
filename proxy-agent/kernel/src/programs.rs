//! The loaded programs, by name.

use std::os::fd::OwnedFd;

/// All programs of the object. Cloning duplicates the handles.
#[derive(Debug)]
pub struct Programs {
    _loaded: Vec<(Name, OwnedFd)>,
}

/// The programs of the object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Name {
    /// TC ingress of devices with a link-layer header.
    TcIngress,
}

impl Programs {
    /// Verified instructions by program name (0 where the kernel does not tell, below 5.16).
    pub fn verified_instructions(&self) -> Vec<(&'static str, u32)> {
        todo!()
    }
}
