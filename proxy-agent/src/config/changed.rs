//! Ends the agent when a file of `--config` changes, as kube-proxy does (SEMANTICS 13.6): the supervisor starts it with the new
//! settings, and the kernel serves meanwhile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::ConfigFile;
use crate::tasks::Shutdown;

/// A look without an event, for file systems that give none.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// Resolves with an error when a file says something else than it did. A file that is away says nothing.
pub async fn watch(files: Vec<ConfigFile>, mut shutdown: Shutdown) -> anyhow::Result<()> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Writes count when the file is closed; a look costs little, so everything but reading counts too.
        if event.as_ref().map_or(true, |event| !is_reading(event)) {
            // The receiver is gone only when the agent stops.
            let _stopping = sender.send(()).is_err();
        }
    })
    .context("cannot set up inotify")?;
    for ConfigFile { path, .. } in &files {
        // The directory, since editors and ConfigMaps put a new file or link in the old one's place.
        watcher
            .watch(parent(path), RecursiveMode::NonRecursive)
            .with_context(|| format!("--config {}: cannot watch it", path.display()))?;
    }
    loop {
        if let Some(path) = changed(&files) {
            bail!(
                "--config {} was changed: ending, to be started with the new settings",
                path.display()
            );
        }
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            event = events.recv() => event.context("inotify ended")?,
            () = tokio::time::sleep(LOOK_ANYWAY) => {}
        }
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

fn is_reading(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, DataChange, EventKind, ModifyKind};
    match event.kind {
        EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
        // Half written, perhaps; its closing follows.
        EventKind::Modify(ModifyKind::Data(data)) => data != DataChange::Other,
        _ => false,
    }
}

fn changed(files: &[ConfigFile]) -> Option<PathBuf> {
    let now = |path: &PathBuf| std::fs::read_to_string(path).ok();
    let differs = |file: &&ConfigFile| now(&file.path).is_some_and(|text| text != file.text);
    files.iter().find(differs).map(|file| file.path.clone())
}
