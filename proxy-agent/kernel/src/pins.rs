//! Where things are pinned: `<bpf-root>/v<LAYOUT_VERSION>/{maps,links}/`. Paths and directories, nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proxy_common::layout::LAYOUT_VERSION;

use crate::error::{Error, Result};

/// The directories of one layout version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pins {
    version: PathBuf,
}

impl Pins {
    /// Those of this build's layout.
    pub(crate) fn current(bpf_root: &Path) -> Self {
        Self {
            version: bpf_root.join(format!("v{LAYOUT_VERSION}")),
        }
    }

    /// The directory of all maps.
    pub(crate) fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    /// Where the maps of another shape wait until the new ones serve. (bpffs reserves names with dots.)
    pub(crate) fn old_maps(&self) -> PathBuf {
        self.version.join("maps-old")
    }

    /// The pin of one map.
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Where a map that grows waits until its contents are copied.
    pub(crate) fn old_map(&self, name: &str) -> PathBuf {
        self.maps().join(format!("{name}-old"))
    }

    /// The directory of all links.
    pub(crate) fn links(&self) -> PathBuf {
        self.version.join("links")
    }

    /// The pin of one link.
    pub(crate) fn link(&self, name: &str) -> PathBuf {
        self.links().join(name)
    }

    /// Makes the directories.
    pub(crate) fn create(&self) -> Result<()> {
        for directory in [self.maps(), self.links()] {
            fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        }
        Ok(())
    }
}

/// Directories of other layout versions under `bpf_root`: `v<number>`, but not ours.
pub(crate) fn other_versions(bpf_root: &Path) -> Vec<PathBuf> {
    let ours = format!("v{LAYOUT_VERSION}");
    entries(bpf_root)
        .into_iter()
        .filter(|(name, _path)| *name != ours && is_version(name))
        .map(|(_name, path)| path)
        .collect()
}

/// Whether `name` is a layout directory's.
pub(crate) fn is_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Names and paths in a directory, sorted; none if there is no such directory.
pub(crate) fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let Ok(read) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut entries: Vec<_> = read
        .filter_map(io::Result::ok)
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        })
        .collect();
    entries.sort();
    entries
}

/// Removes a file; a missing one is fine. Whether there was one.
pub(crate) fn unlink(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_v_and_digits() {
        for (name, expected) in [
            ("v0", true),
            ("v12", true),
            ("v", false),
            ("vx", false),
            ("maps", false),
            ("v1-old", false),
        ] {
            assert_eq!(is_version(name), expected, "{name}");
        }
    }
}
