//! All of a directory at once, for those who do not stay to watch it.

use std::path::Path;

use proxy_model::{Change, Object};

use super::directory::{Directory, Findings};
use crate::objects::NodeFacts;

/// What the files of a directory hold.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Objects, each once.
    pub objects: Vec<Object>,
    /// What the agent itself reads of the Nodes among them.
    pub nodes: Vec<NodeFacts>,
    /// What cannot be used, a sentence each.
    pub errors: Vec<String>,
}

/// Reads the files of `path`. An error means that the directory cannot be read.
pub fn read(path: &Path) -> std::io::Result<Files> {
    let Findings {
        changes,
        nodes,
        errors,
    } = Directory::new(path).look_all()?;
    let mut files = Files {
        objects: Vec::new(),
        nodes,
        errors: errors.iter().map(ToString::to_string).collect(),
    };
    for change in changes {
        match change {
            Change::Upsert(object) => files.objects.push(object),
            Change::Malformed(object, reason) => files.errors.push(format!("{object}: {reason}")),
            // Nothing was there before, so nothing is gone.
            Change::Delete(_) | Change::RelistStart(_) | Change::RelistEnd(_) => {}
        }
    }
    Ok(files)
}
