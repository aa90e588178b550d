//! `--manifests DIR`: files instead of an API server, with the same pipeline behind them.
//!
//! A file that cannot be used is reported once and its last good state stays; it never stops the others. Nor does an object of
//! a file that is malformed: the planner is told, and keeps what it knows of it.

mod directory;
mod index;
mod parse;
mod quick;
mod read;
mod thorough;
mod watch;

use std::path::PathBuf;

pub(crate) use parse::documents;
pub use parse::{ParseError, parse};
pub use read::{Files, read};
pub use watch::run;

/// Why a file, or an object of it, is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("{}: cannot be read: {reason}; its last good state stays", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        reason: String,
    },
    /// It is not what it should be.
    #[error("{}:{error}; its last good state stays", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, column, field and what is wrong.
        error: ParseError,
    },
    /// A part of it is YAML, but no object that has a name.
    #[error("{}:{error}; what else the file held stays", file.display())]
    Nameless {
        /// The file.
        file: PathBuf,
        /// Line, column, field and what is wrong.
        error: ParseError,
    },
    /// An object is in two files.
    #[error("{object} is in {} too; that one is used, the one in {} is ignored", winner.display(), file.display())]
    Duplicate {
        /// The object.
        object: String,
        /// The file that lost.
        file: PathBuf,
        /// The file that comes first by name.
        winner: PathBuf,
    },
}

impl ManifestError {
    /// The metric label.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Syntax { .. } => "syntax",
            Self::Nameless { .. } => "nameless",
            Self::Duplicate { .. } => "duplicate",
        }
    }
}

#[cfg(test)]
mod tests;
