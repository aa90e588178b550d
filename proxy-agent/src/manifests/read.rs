//! All of a directory at once, for those who do not stay to watch it.

use std::path::Path;

use proxy_model::{Change, Object};

use super::ManifestError;
use super::directory::{Directory, Findings};
use crate::objects::NodeFacts;

/// What the files of a directory hold.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Objects, each once.
    pub objects: Vec<Object>,
    /// What the agent itself reads of the Nodes among them.
    pub nodes: Vec<NodeFacts>,
    /// What cannot be used.
    pub errors: Vec<ManifestError>,
}

/// Reads the files of `path`. An error means that the directory cannot be read.
pub fn read(path: &Path) -> std::io::Result<Files> {
    let Findings {
        changes,
        nodes,
        errors,
    } = Directory::new(path).look_all()?;
    let objects = changes.into_iter().filter_map(|change| match change {
        Change::Upsert(object) => Some(object),
        // Nothing was there before, so nothing is gone.
        _ => None,
    });
    Ok(Files {
        objects: objects.collect(),
        nodes,
        errors,
    })
}
