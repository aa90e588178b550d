//! What is wrong with a configuration, so that it can be put right without looking anything up.

use std::fmt;
use std::path::PathBuf;

use super::settings::Setting;

/// A field whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path in the document, as in `conntrack.min`.
    pub field: String,
    /// The value.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl FieldError {
    /// For `field`, which is `value`.
    pub(crate) fn new(field: &str, value: &dyn fmt::Display, allowed: &str) -> Self {
        Self {
            field: field.to_owned(),
            value: value.to_string(),
            allowed: allowed.to_owned(),
        }
    }
}

/// Settings that cannot work.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("--config {path:?}: cannot read it: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The file is no YAML, or something else than configuration.
    #[error("{place}: {problem}")]
    Document {
        /// The file, and the line or the kind.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// Values that are not allowed, one a line.
    #[error("{}", .0.join("\n"))]
    Values(Vec<String>),
    /// The host name could not be read, so there is no default.
    #[error("--node-name is not set, and the host name cannot be read: {0}")]
    HostName(String),
}

impl ConfigError {
    /// One wrong value, as `what value: allowed`.
    pub(crate) fn value(what: &str, value: &str, allowed: &str) -> Self {
        Self::Values(vec![format!("{what} {value:?}: {allowed}")])
    }
}

/// One line for an error in a field, named as the operator set it: by flag, or by document and path.
pub(crate) fn line(error: &FieldError, document: &str, by_flag: Option<&Setting>) -> String {
    let FieldError {
        field,
        value,
        allowed,
    } = error;
    match by_flag {
        Some(setting) => format!("--{} {value:?}: {allowed}", setting.flag),
        None => format!("{document}: {field}: {value:?}: {allowed}"),
    }
}
