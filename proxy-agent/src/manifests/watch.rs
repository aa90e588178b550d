//! Follows the directory by inotify and feeds what changes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher as _};
use proxy_kernel::heap;
use proxy_model::{Change, Kind};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::directory::{Differences, Directory, Findings, is_manifest};
use crate::feed::{Closed, Feed};
use crate::tasks::Shutdown;

/// A look without an event: for file systems that give none, a queue that overflowed, a directory that was replaced.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// Bytes of files that are parsed before their objects are passed on, at start. Parsed, they take several times as much.
const BYTES_AT_A_TIME: u64 = 1 << 20;

/// Feeds the directory's objects until shutdown.
pub async fn run(dir: PathBuf, feed: Feed, mut shutdown: Shutdown) -> anyhow::Result<()> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if let Some(touched) = relevant(event) {
            // The receiver is gone only when the agent stops.
            drop(sender.send((touched, Instant::now())));
        }
    })
    .context("cannot set up inotify")?;
    watch(&mut watcher, &dir)
        .with_context(|| format!("--manifests {}: cannot watch it", dir.display()))?;
    let mut source = Source {
        directory: Directory::new(&dir),
        path: dir,
        feed,
        readable: true,
    };
    if source.first().await.is_err() {
        shutdown.requested().await;
        return Ok(());
    }
    loop {
        let (mut touched, at) = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            event = events.recv() => event.context("inotify ended")?,
            () = tokio::time::sleep(LOOK_ANYWAY) => {
                // Harmless if it is watched already; needed if the directory was replaced.
                if let Err(error) = watch(&mut watcher, &source.path) {
                    tracing::debug!(%error, "cannot watch the directory");
                }
                (BTreeSet::new(), Instant::now())
            }
        };
        while let Ok((more, _)) = events.try_recv() {
            touched.extend(more);
        }
        if source.look(&touched, at).await.is_err() {
            shutdown.requested().await;
            return Ok(());
        }
    }
}

fn watch(watcher: &mut notify::RecommendedWatcher, dir: &Path) -> notify::Result<()> {
    watcher.watch(dir, RecursiveMode::NonRecursive)
}

/// The files that an event touched; `None` if it says nothing new. A write counts when the file is closed: before that, it may
/// be half written. An error (a queue that overflowed) is a reason to look.
fn relevant(event: notify::Result<notify::Event>) -> Option<BTreeSet<OsString>> {
    let Ok(event) = event else {
        return Some(BTreeSet::new());
    };
    if event.need_rescan() {
        return Some(BTreeSet::new());
    }
    let news = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Remove(_)
        | EventKind::Any
        | EventKind::Other => true,
        EventKind::Create(_) => event.paths.iter().any(|path| is_complete(path)),
        EventKind::Modify(kind) => matches!(
            kind,
            ModifyKind::Name(_) | ModifyKind::Any | ModifyKind::Metadata(_)
        ),
        EventKind::Access(_) => false,
    };
    let names = event.paths.iter().filter(|path| matters(path));
    let names: BTreeSet<OsString> = names
        .filter_map(|path| path.file_name().map(OsString::from))
        .collect();
    (news && !names.is_empty()).then_some(names)
}

/// Manifests matter, and what may lead to some: a link or a directory (`..data` of a `ConfigMap`). The temporary file that an
/// atomic writer renames does not: looking at everything for it would cost more than the change itself.
fn matters(path: &Path) -> bool {
    let leads_on = || path.symlink_metadata().is_ok_and(|stat| !stat.is_file());
    path.file_name()
        .is_some_and(|name| is_manifest(Path::new(name)))
        || leads_on()
}

/// A new link, soft or hard, has its contents already; a new file is about to be written, and closed then.
fn is_complete(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|stat| stat.is_symlink() || stat.nlink() > 1)
}

struct Source {
    directory: Directory,
    path: PathBuf,
    feed: Feed,
    readable: bool,
}

impl Source {
    /// The directory's present state as three complete lists. Without a Node object none is expected.
    async fn first(&mut self) -> Result<(), Closed> {
        let at = Instant::now();
        for &kind in Kind::ALL {
            self.feed
                .metrics()
                .relists
                .get_or_create(&[("kind", kind.label())])
                .inc();
            self.feed.send(Change::RelistStart(kind), at).await?;
        }
        self.read_all(at).await?;
        for &kind in Kind::ALL {
            self.feed.send(Change::RelistEnd(kind), at).await?;
        }
        heap::give_back();
        Ok(())
    }

    /// The first look, some files at a time: a directory of 10,000 Services is 40 MiB when it is parsed at once.
    async fn read_all(&mut self, at: Instant) -> Result<(), Closed> {
        match self.directory.differences() {
            Ok(Differences { gone: _, changed }) => {
                let (mut some, mut bytes) = (Vec::new(), 0);
                for (name, version) in changed {
                    bytes += version.size();
                    some.push((name, version));
                    if bytes >= BYTES_AT_A_TIME {
                        let findings = self.directory.take(Vec::new(), std::mem::take(&mut some));
                        self.tell(findings, at).await?;
                        bytes = 0;
                    }
                }
                let findings = self.directory.take(Vec::new(), some);
                self.tell(findings, at).await?;
            }
            Err(error) => self.unreadable(&error),
        }
        Ok(())
    }

    fn unreadable(&mut self, error: &std::io::Error) {
        if std::mem::replace(&mut self.readable, false) {
            warn!(dir = %self.path.display(), %error, "--manifests: cannot read the directory; the last good state stays");
        }
    }

    /// What was touched first; then, if that was more than manifests (a link's target, a `ConfigMap`'s `..data`), the rest.
    async fn look(&mut self, touched: &BTreeSet<OsString>, at: Instant) -> Result<(), Closed> {
        if touched.iter().any(|name| is_manifest(Path::new(name))) {
            let findings = self.directory.look_at(touched);
            self.tell(findings, at).await?;
        }
        if touched.is_empty() || touched.iter().any(|name| !is_manifest(Path::new(name))) {
            self.look_all(at).await?;
        }
        Ok(())
    }

    async fn look_all(&mut self, at: Instant) -> Result<(), Closed> {
        let findings = match self.directory.look_all() {
            Ok(findings) => findings,
            Err(error) => {
                self.unreadable(&error);
                return Ok(());
            }
        };
        if !std::mem::replace(&mut self.readable, true) {
            info!(dir = %self.path.display(), "--manifests: the directory is readable again");
        }
        self.tell(findings, at).await
    }

    async fn tell(&mut self, findings: Findings, at: Instant) -> Result<(), Closed> {
        let Findings {
            changes,
            nodes,
            errors,
        } = findings;
        for error in errors {
            self.feed
                .metrics()
                .manifest_errors
                .get_or_create(&[("cause", error.cause())])
                .inc();
            warn!(cause = error.cause(), "{error}");
        }
        self.feed
            .metrics()
            .manifests_broken
            .set(i64::try_from(self.directory.broken()).unwrap_or(i64::MAX));
        for facts in nodes {
            self.feed.node(facts);
        }
        if !changes.is_empty() {
            tracing::debug!(changes = changes.len(), "manifests changed");
        }
        for change in changes {
            if let Change::Delete(object) = &change
                && object.kind == Kind::Node
            {
                self.feed
                    .node_gone(&object.name, crate::health::NodeState::NotExpected);
            }
            self.feed.send(change, at).await?;
        }
        Ok(())
    }
}
