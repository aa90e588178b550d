//! Fetches a part from its official release where the network allows. A silent network costs a few seconds, no more.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::Part;
use crate::shell;

/// Where a release keeps a program.
struct Release {
    url: String,
    /// A file with the hexadecimal SHA-256 of the download, alone or beside its name.
    digest: String,
    /// The program's path in the archive; a bare program has none.
    member: Option<String>,
}

/// Fetches the part into `folder`.
pub(super) fn fetch(part: &Part, folder: &Path) -> Result<()> {
    if shell::find_program("curl").is_none() {
        bail!("curl is missing");
    }
    let Release {
        url,
        digest,
        member,
    } = release(part)?;
    let file = url.rsplit('/').next().unwrap_or(part.name).to_owned();
    let download = folder.join(format!("{file}.unfinished"));
    let published = shell::output(curl().arg(&digest))?;
    shell::timed(&format!("fetching {url}"), || {
        shell::run(curl().arg("--output").arg(&download).arg(&url))
    })?;
    let told = shell::output(Command::new("sha256sum").arg(&download))?;
    let actual = told.split_whitespace().next().unwrap_or_default();
    if !names_digest(&published, &file, actual) {
        bail!("{url} does not have the digest that {digest} names");
    }
    let unpacked = match member {
        None => download,
        Some(member) => {
            shell::run(
                Command::new("tar")
                    .arg("-C")
                    .arg(folder)
                    .arg("-xf")
                    .arg(&download)
                    .arg(&member),
            )?;
            fs::remove_file(&download)
                .with_context(|| format!("cannot remove {}", download.display()))?;
            folder.join(member)
        }
    };
    shell::run(Command::new("chmod").arg("755").arg(&unpacked))?;
    let program = folder.join(part.name);
    fs::rename(&unpacked, &program).with_context(|| format!("cannot create {}", program.display()))
}

fn curl() -> Command {
    let mut curl = Command::new("curl");
    curl.args([
        "--fail",
        "--silent",
        "--show-error",
        "--location",
        "--proto",
        "=https",
        "--connect-timeout",
        "5",
    ]);
    // A download that stalls is given up for the build with Go.
    curl.args(["--speed-limit", "10000", "--speed-time", "20"]);
    curl
}

fn release(part: &Part) -> Result<Release> {
    let version = part.component.version;
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("no release for {other}"),
    };
    Ok(match part.component.name {
        "kubernetes" => {
            let url = format!(
                "https://dl.k8s.io/v{version}/bin/linux/{arch}/{}",
                part.name
            );
            Release {
                digest: format!("{url}.sha256"),
                url,
                member: None,
            }
        }
        "etcd" => {
            let base = format!("https://github.com/etcd-io/etcd/releases/download/v{version}");
            let name = format!("etcd-v{version}-linux-{arch}");
            Release {
                url: format!("{base}/{name}.tar.gz"),
                digest: format!("{base}/SHA256SUMS"),
                member: Some(format!("{name}/etcd")),
            }
        }
        "helm" => {
            let url = format!("https://get.helm.sh/helm-v{version}-linux-{arch}.tar.gz");
            Release {
                digest: format!("{url}.sha256sum"),
                url,
                member: Some(format!("linux-{arch}/helm")),
            }
        }
        other => bail!("{other} has no known place of release"),
    })
}

/// Whether a digest file says that `file` has the digest `actual`.
fn names_digest(published: &str, file: &str, actual: &str) -> bool {
    published.lines().any(|line| {
        let mut words = line.split_whitespace();
        let digest = words.next().unwrap_or_default();
        let name = words.next().unwrap_or(file).trim_start_matches('*');
        digest.len() == 64 && digest.eq_ignore_ascii_case(actual) && name == file
    })
}

#[cfg(test)]
mod tests {
    use super::names_digest;

    #[test]
    fn digest_must_belong_to_the_file() {
        let (one, two) = ("a".repeat(64), "b".repeat(64));
        let listed = format!("{one}  other.tar.gz\n{two} *etcd.tar.gz\n");
        assert!(names_digest(&listed, "etcd.tar.gz", &two));
        assert!(!names_digest(&listed, "etcd.tar.gz", &one));
        assert!(
            names_digest(&one, "kube-apiserver", &one),
            "a bare digest needs no name"
        );
        assert!(
            !names_digest("", "etcd", ""),
            "an empty answer proves nothing"
        );
    }
}
