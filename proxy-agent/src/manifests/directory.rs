//! What the directory holds, and what a look at it changes. Keeps names and fingerprints, no objects: the planner has those.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use proxy_model::{Change, Kind, Object, ObjectRef};

use super::{ManifestError, parse};
use crate::objects::{NodeFacts, Parsed, meta, not_ours, reference};

/// Which version of a file it is. Symbolic links are followed: a `ConfigMap`'s files are links through `..data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Version {
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
    /// Objects of its last good state, with fingerprints.
    objects: BTreeMap<ObjectRef, u64>,
    /// Why it cannot be used as it is now.
    error: Option<ManifestError>,
}

/// Files to take over.
#[derive(Debug)]
pub(super) struct Differences {
    /// They are not there any more.
    pub(super) gone: Vec<OsString>,
    /// They are new or look different; in order of their names.
    pub(super) changed: Vec<(OsString, Version)>,
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
    files: BTreeMap<OsString, File>,
    /// The files that hold an object; the first by name is the one that counts.
    holders: HashMap<ObjectRef, BTreeSet<OsString>>,
    /// Fingerprints of what the planner was told.
    told: HashMap<ObjectRef, u64>,
    /// Objects that lose against another file, as reported.
    losers: HashMap<ObjectRef, BTreeSet<OsString>>,
}

/// Objects of the files read in this look. A file whose object comes to count because another gave it up is read later.
type InHand = HashMap<OsString, HashMap<ObjectRef, Parsed>>;

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: BTreeMap::new(),
            holders: HashMap::new(),
            told: HashMap::new(),
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
            .map(|name| (name.clone(), Version::of(&self.path.join(name))))
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
                present.insert(name, version);
            }
        }
        let gone = self
            .files
            .keys()
            .filter(|name| !present.contains_key(*name))
            .cloned()
            .collect();
        let differs = |(name, version): &(OsString, Version)| {
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
        gone: Vec<OsString>,
        changed: Vec<(OsString, Version)>,
    ) -> Findings {
        let (mut findings, mut affected, mut in_hand) =
            (Findings::default(), BTreeSet::new(), InHand::new());
        for name in gone {
            self.replace(&name, BTreeMap::new(), &mut affected);
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
        name: &OsString,
        version: Version,
        affected: &mut BTreeSet<ObjectRef>,
        findings: &mut Findings,
    ) -> HashMap<ObjectRef, Parsed> {
        let file = self.path.join(name);
        let parsed = match std::fs::read_to_string(&file) {
            Ok(text) => parse(&text).map_err(|error| ManifestError::Syntax {
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
        let objects = match parsed {
            Ok(objects) => objects,
            Err(error) => {
                if entry.error.replace(error.clone()).as_ref() != Some(&error) {
                    findings.errors.push(error);
                }
                return HashMap::new();
            }
        };
        entry.error = None;
        let mut in_hand = HashMap::new();
        for object in objects {
            let key = reference(&object.object);
            // What a label selector does at an API server.
            if key.kind != Kind::Node && not_ours(meta(&object.object)) {
                continue;
            }
            match in_hand.entry(key) {
                Entry::Vacant(free) => {
                    free.insert(object);
                }
                Entry::Occupied(first) => {
                    let (object, winner) = (first.key().to_string(), file.clone());
                    findings.errors.push(ManifestError::Duplicate {
                        object,
                        file: file.clone(),
                        winner,
                    });
                }
            }
        }
        let held = in_hand
            .iter()
            .map(|(key, object)| (key.clone(), fingerprint(object)))
            .collect();
        self.replace(name, held, affected);
        in_hand
    }

    /// Replaces what a file holds; every object that it held or holds may change.
    fn replace(
        &mut self,
        name: &OsString,
        objects: BTreeMap<ObjectRef, u64>,
        affected: &mut BTreeSet<ObjectRef>,
    ) {
        let file = self.files.entry(name.clone()).or_default();
        for (object, _) in std::mem::take(&mut file.objects) {
            if let Some(holders) = self.holders.get_mut(&object) {
                holders.remove(name);
                if holders.is_empty() {
                    self.holders.remove(&object);
                }
            }
            affected.insert(object);
        }
        for object in objects.keys() {
            self.holders
                .entry(object.clone())
                .or_default()
                .insert(name.clone());
            affected.insert(object.clone());
        }
        file.objects = objects;
    }

    /// Tells the planner what an object is now, if that differs from what it was told.
    fn settle(&mut self, object: ObjectRef, in_hand: &mut InHand, findings: &mut Findings) {
        let holders = self.holders.get(&object).cloned().unwrap_or_default();
        self.compare(&object, &holders, findings);
        let Some(winner) = holders.first() else {
            if self.told.remove(&object).is_some() {
                findings.changes.push(Change::Delete(object));
            }
            return;
        };
        let print = self
            .files
            .get(winner)
            .and_then(|file| file.objects.get(&object))
            .copied();
        if self.told.get(&object).copied() == print {
            return;
        }
        let file = self.path.join(winner);
        let objects = in_hand
            .entry(winner.clone())
            .or_insert_with(|| again(&file));
        if let (
            Some(Parsed {
                object: news, node, ..
            }),
            Some(print),
        ) = (objects.remove(&object), print)
        {
            findings.nodes.extend(node);
            findings.changes.push(Change::Upsert(news));
            self.told.insert(object, print);
        }
    }

    /// Reports files that newly lose an object to one that comes first by name.
    fn compare(
        &mut self,
        object: &ObjectRef,
        holders: &BTreeSet<OsString>,
        findings: &mut Findings,
    ) {
        let losers: BTreeSet<OsString> = holders.iter().skip(1).cloned().collect();
        let known = if losers.is_empty() {
            self.losers.remove(object)
        } else {
            self.losers.insert(object.clone(), losers.clone())
        };
        let known = known.unwrap_or_default();
        let Some(winner) = holders.first() else {
            return;
        };
        for loser in losers.difference(&known) {
            let (file, winner) = (self.path.join(loser), self.path.join(winner));
            findings.errors.push(ManifestError::Duplicate {
                object: object.to_string(),
                file,
                winner,
            });
        }
    }
}

/// The objects of a file that was good when it was last read. If it is not any more, its next look reports it.
fn again(file: &Path) -> HashMap<ObjectRef, Parsed> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let objects = parse(&text).unwrap_or_default();
    objects
        .into_iter()
        .map(|object| (reference(&object.object), object))
        .collect()
}

/// Whether a file of this name is read.
pub(super) fn is_manifest(name: &Path) -> bool {
    let hidden = name.as_os_str().as_encoded_bytes().starts_with(b".");
    let extension = name.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Tells equal objects from different ones without keeping them.
fn fingerprint(parsed: &Parsed) -> u64 {
    struct Sink(DefaultHasher);
    impl std::fmt::Write for Sink {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut sink = Sink(DefaultHasher::new());
    let written = match &parsed.object {
        Object::Node(_) => write!(sink, "{parsed:?}"),
        object => write!(sink, "{object:?}"),
    };
    // The sink cannot fail.
    written.map_or(0, |()| sink.0.finish())
}
