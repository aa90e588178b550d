//! What the directory holds, and what a look at it changes. Keeps names and fingerprints, no objects: the planner has those.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use proxy_model::{Change, Kind, ObjectRef};

use super::ManifestError;
use super::index::{FileName, Index, Name};
use super::parse::{Contents, Malformed, ParseError, contents};
use crate::objects::{NodeFacts, Parsed, meta, not_ours};

/// Which version of a file it is. Symbolic links are followed: a `ConfigMap`'s files are links through `..data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Version {
    /// Bytes.
    pub(super) const fn size(self) -> u64 {
        self.size
    }

    /// `None` for what is no file: a directory, a link that leads nowhere, something that went since.
    fn of(path: &Path) -> Option<Self> {
        let stat = std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_file)?;
        let modified = (stat.mtime(), stat.mtime_nsec());
        Some(Self {
            device: stat.dev(),
            inode: stat.ino(),
            size: stat.size(),
            modified,
        })
    }
}

#[derive(Debug, Default)]
struct File {
    version: Option<Version>,
    /// Objects of its last good state, with fingerprints; in order.
    objects: Box<[(Name, u64)]>,
    /// Why it cannot be used as it is now.
    error: Option<ManifestError>,
}

/// Files to take over.
#[derive(Debug)]
pub(super) struct Differences {
    /// They are not there any more.
    pub(super) gone: Vec<FileName>,
    /// They are new or look different; in order of their names.
    pub(super) changed: Vec<(FileName, Version)>,
}

/// What a look at the directory found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// For the planner, in order.
    pub(super) changes: Vec<Change>,
    /// Nodes that were seen anew or changed.
    pub(super) nodes: Vec<NodeFacts>,
    /// What cannot be used, each reported when it begins.
    pub(super) errors: Vec<ManifestError>,
}

/// The directory as it was last seen.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    files: BTreeMap<FileName, File>,
    index: Index,
    /// Files that lose an object to another, as reported.
    losers: HashMap<Name, BTreeSet<FileName>>,
}

/// An object of a file.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are good, and each lives for a moment"
)]
#[derive(Debug)]
enum Item {
    Good(Parsed),
    Malformed(ParseError),
}

/// Objects of the files read in this look. A file whose object comes to count because another gave it up is read later.
type InHand = HashMap<FileName, HashMap<Name, Item>>;

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: BTreeMap::new(),
            index: Index::default(),
            losers: HashMap::new(),
        }
    }

    /// Files that are in error now.
    pub(super) fn broken(&self) -> usize {
        self.files
            .values()
            .filter(|file| file.error.is_some())
            .count()
    }

    /// Looks at these files only. They are read even if they look the same: two writes within a tick of the file system's
    /// clock do.
    pub(super) fn look_at(&mut self, names: &BTreeSet<OsString>) -> Findings {
        let known = names.iter().filter(|name| is_manifest(Path::new(name)));
        let seen: Vec<_> = known
            .map(|name| {
                (
                    FileName::from(Path::new(name)),
                    Version::of(&self.path.join(name)),
                )
            })
            .collect();
        let gone = seen
            .iter()
            .filter(|(_, version)| version.is_none())
            .map(|(name, _)| name.clone());
        let gone = gone.collect();
        self.take(
            gone,
            seen.into_iter()
                .filter_map(|(name, version)| Some((name, version?)))
                .collect(),
        )
    }

    /// Looks at the whole directory. An error means that it cannot be read; nothing changes then.
    pub(super) fn look_all(&mut self) -> std::io::Result<Findings> {
        let Differences { gone, changed } = self.differences()?;
        Ok(self.take(gone, changed))
    }

    /// What differs from what is known, for [`Directory::take`].
    pub(super) fn differences(&self) -> std::io::Result<Differences> {
        let mut present = BTreeMap::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if is_manifest(Path::new(&name))
                && let Some(version) = Version::of(&self.path.join(&name))
            {
                present.insert(FileName::from(Path::new(&name)), version);
            }
        }
        let gone = self
            .files
            .keys()
            .filter(|name| !present.contains_key(*name))
            .cloned()
            .collect();
        let differs = |(name, version): &(FileName, Version)| {
            self.files.get(name).and_then(|file| file.version) != Some(*version)
        };
        Ok(Differences {
            gone,
            changed: present.into_iter().filter(differs).collect(),
        })
    }

    /// Takes over files. An object that moves from one file to another must be in one call, or it is gone for a moment.
    pub(super) fn take(
        &mut self,
        gone: Vec<FileName>,
        changed: Vec<(FileName, Version)>,
    ) -> Findings {
        let (mut findings, mut affected, mut in_hand) =
            (Findings::default(), BTreeSet::new(), InHand::new());
        for name in gone {
            self.replace(&name, Box::default(), &mut affected);
            self.files.remove(&name);
        }
        for (name, version) in changed {
            let objects = self.read(&name, version, &mut affected, &mut findings);
            in_hand.insert(name, objects);
        }
        for object in affected {
            self.settle(object, &mut in_hand, &mut findings);
        }
        findings
    }

    /// Reads a file and takes over what it holds; on an error its last good state stays.
    fn read(
        &mut self,
        name: &FileName,
        version: Version,
        affected: &mut BTreeSet<Name>,
        findings: &mut Findings,
    ) -> HashMap<Name, Item> {
        let file = self.path.join(name);
        let parsed = match std::fs::read_to_string(&file) {
            Ok(text) => contents(&text).map_err(|error| ManifestError::Syntax {
                file: file.clone(),
                error,
            }),
            Err(error) => Err(ManifestError::Read {
                file: file.clone(),
                reason: error.to_string(),
            }),
        };
        let entry = self.files.entry(name.clone()).or_default();
        entry.version = Some(version);
        let (contents, error) = match parsed {
            Ok(contents) => {
                let nameless = contents
                    .malformed
                    .iter()
                    .find(|malformed| malformed.object.is_none());
                let error = nameless.map(|malformed| ManifestError::Nameless {
                    file: file.clone(),
                    error: malformed.error.clone(),
                });
                (Some(contents), error)
            }
            Err(error) => (None, Some(error)),
        };
        let known = std::mem::replace(&mut entry.error, error);
        findings
            .errors
            .extend(entry.error.clone().filter(|_| entry.error != known));
        let Some(contents) = contents else {
            return HashMap::new();
        };
        let mut held = BTreeMap::new();
        if entry.error.is_some() {
            // Each of those that are not there may be the one without a name.
            held.extend(entry.objects.iter().cloned());
        }
        let mut in_hand = HashMap::with_capacity(contents.objects.len());
        for (key, item) in items(contents) {
            // What a label selector does at an API server.
            if let Item::Good(object) = &item
                && key.kind() != Kind::Node
                && not_ours(meta(&object.object))
            {
                held.remove(&key);
                continue;
            }
            match in_hand.entry(key) {
                Entry::Vacant(free) => {
                    held.insert(free.key().clone(), fingerprint(&item));
                    free.insert(item);
                }
                Entry::Occupied(first) => findings.errors.push(ManifestError::Duplicate {
                    object: first.key().reference().to_string(),
                    file: file.clone(),
                    winner: file.clone(),
                }),
            }
        }
        let held = held.into_iter().collect();
        self.replace(name, held, affected);
        in_hand
    }

    /// Replaces what a file holds; every object that it held or holds may change.
    fn replace(
        &mut self,
        name: &FileName,
        objects: Box<[(Name, u64)]>,
        affected: &mut BTreeSet<Name>,
    ) {
        let file = self.files.entry(name.clone()).or_default();
        let old = std::mem::replace(&mut file.objects, objects);
        for (object, _) in old {
            self.index.leave(&object, name);
            affected.insert(object);
        }
        for (object, _) in &file.objects {
            self.index.hold(object.clone(), name);
            affected.insert(object.clone());
        }
    }

    /// Tells the planner what an object is now, if that differs from what it was told.
    fn settle(&mut self, object: Name, in_hand: &mut InHand, findings: &mut Findings) {
        self.compare(&object, findings);
        let Some(winner) = self.index.winner(&object).cloned() else {
            let reference = object.reference();
            if self.index.forget(object) {
                findings.changes.push(Change::Delete(reference));
            }
            return;
        };
        let print = self.files.get(&winner).and_then(|file| {
            let found = file.objects.binary_search_by(|(held, _)| held.cmp(&object));
            file.objects.get(found.ok()?).map(|(_, print)| *print)
        });
        if self.index.told(&object) == print {
            return;
        }
        let file = self.path.join(&winner);
        let objects = in_hand.entry(winner).or_insert_with(|| again(&file));
        let (Some(item), Some(print)) = (objects.remove(&object), print) else {
            return;
        };
        findings.changes.push(match item {
            Item::Good(Parsed { object, node, .. }) => {
                findings.nodes.extend(node);
                Change::Upsert(object)
            }
            Item::Malformed(error) => {
                let reason = format!("{}:{error}", file.display());
                Change::Malformed(object.reference(), reason)
            }
        });
        self.index.tell(object, print);
    }

    /// Reports files that newly lose an object to one that comes first by name.
    fn compare(&mut self, object: &Name, findings: &mut Findings) {
        let (winner, losers) = (self.index.winner(object), self.index.losers(object));
        let (Some(winner), Some(losers)) = (winner, losers) else {
            self.losers.remove(object);
            return;
        };
        let known = self.losers.insert(object.clone(), losers.clone());
        for loser in losers.difference(&known.unwrap_or_default()) {
            findings.errors.push(ManifestError::Duplicate {
                object: object.reference().to_string(),
                file: self.path.join(loser),
                winner: self.path.join(winner),
            });
        }
    }
}

/// The objects of a file that was good when it was last read. If it is not any more, its next look reports it.
fn again(file: &Path) -> HashMap<Name, Item> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut objects = HashMap::new();
    for (name, item) in items(contents(&text).unwrap_or_default()) {
        objects.entry(name).or_insert(item);
    }
    objects
}

/// The objects that have a name, good ones first.
fn items(contents: Contents) -> impl Iterator<Item = (Name, Item)> {
    let Contents { objects, malformed } = contents;
    let good = objects
        .into_iter()
        .map(|object| (Name::of(&object.object), Item::Good(object)));
    let malformed = malformed.into_iter().filter_map(|malformed| {
        let Malformed { object, error } = malformed;
        let ObjectRef {
            kind,
            namespace,
            name,
        } = object?;
        Some((Name::new(kind, &namespace, &name), Item::Malformed(error)))
    });
    good.chain(malformed)
}

/// Whether a file of this name is read.
pub(super) fn is_manifest(name: &Path) -> bool {
    let hidden = name.as_os_str().as_encoded_bytes().starts_with(b".");
    let extension = name.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Tells equal objects from different ones without keeping them.
fn fingerprint(item: &Item) -> u64 {
    let mut hasher = DefaultHasher::new();
    match item {
        Item::Good(parsed) => (&parsed.object, &parsed.node).hash(&mut hasher),
        Item::Malformed(error) => error.hash(&mut hasher),
    }
    hasher.finish()
}
