//! A Debian suite read with apt, apart from the machine's own: signatures are checked, the machine's lists stay untouched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};

use crate::{packages, places, shell};

/// Debian's keys, wherever this machine got its own packages from.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org";
/// Package lists younger than this are not asked for again.
const FRESH: Duration = Duration::from_hours(24);

/// A suite with lists and packages of its own.
pub(crate) struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// The suites, as `(path on the mirror, suite)`, read if that is not fresh. `installed`: dependencies count as
    /// met by what the machine has.
    pub(crate) fn open(name: &str, suites: &[(&str, &str)], installed: bool) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            packages::install(&["debian-archive-keyring"])?;
        }
        let folder = places::cache(&format!("apt/{name}"))?;
        for part in ["lists/partial", "archives/partial", "debs"] {
            let part = folder.join(part);
            fs::create_dir_all(&part)
                .with_context(|| format!("cannot create {}", part.display()))?;
        }
        let sources = suites
            .iter()
            .map(|(path, suite)| {
                format!("deb [signed-by={KEYRING}] {MIRROR}/{path} {suite} main\n")
            })
            .collect::<Vec<_>>()
            .concat();
        let status = folder.join("status");
        if installed {
            fs::copy("/var/lib/dpkg/status", &status)
                .context("cannot read the list of installed packages")?;
        } else {
            fs::write(&status, "").with_context(|| format!("cannot write {}", status.display()))?;
        }
        fs::write(folder.join("sources.list"), sources).context("cannot write sources.list")?;
        let archive = Self { folder };
        archive.update()?;
        Ok(archive)
    }

    fn update(&self) -> Result<()> {
        let stamp = self.folder.join("updated");
        let age = stamp.metadata().and_then(|meta| meta.modified()).ok();
        if age
            .and_then(|then| SystemTime::now().duration_since(then).ok())
            .is_some_and(|age| age < FRESH)
        {
            return Ok(());
        }
        shell::output(self.apt("apt-get").args(["-q", "update"]))
            .context("cannot read the package lists")?;
        fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))
    }

    /// A program of apt's that only knows this archive.
    pub(crate) fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let place = |part: &str| self.folder.join(part).display().to_string();
        for option in [
            format!("Dir::Etc::SourceList={}", place("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", place("lists")),
            format!("Dir::State::Status={}", place("status")),
            format!("Dir::Cache={}", place("")),
            format!("Dir::Cache::Archives={}", place("archives")),
            "Acquire::Languages=none".to_owned(),
            // The sandbox user cannot write to a folder of ours.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            apt.args(["-o", &option]);
        }
        apt
    }

    /// Fetches `package` and those of its dependencies that `wanted` accepts; the files.
    pub(crate) fn fetch(
        &self,
        package: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<PathBuf>> {
        let mut depends = self.apt("apt-cache");
        depends.args([
            "depends",
            "--recurse",
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
            "--no-breaks",
        ]);
        let told = shell::output(depends.args(["--no-replaces", "--no-enhances", package]))?;
        let names: Vec<&str> = told
            .lines()
            .filter(|line| !line.starts_with([' ', '|', '<']) && wanted(line))
            .collect();
        ensure!(!names.is_empty(), "the archive has no {package}");
        let folder = self.folder.join("debs");
        let mut asked = self.apt("apt-get");
        let urls = shell::output(asked.args(["download", "--print-uris"]).args(&names))?;
        // Lines of the form: 'url' file size digest
        let files: Vec<PathBuf> = urls
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .map(|file| folder.join(file))
            .collect();
        ensure!(
            files.len() == names.len(),
            "apt-get knows {} of {} packages",
            files.len(),
            names.len()
        );
        if files.iter().any(|file| !file.is_file()) {
            shell::timed(&format!("fetching {}", names.join(" ")), || {
                shell::output(
                    self.apt("apt-get")
                        .current_dir(&folder)
                        .args(["-q", "download"])
                        .args(&names),
                )
            })?;
        }
        Ok(files)
    }
}
