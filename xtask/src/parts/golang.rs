//! Builds a part with Go, from the module proxy, in a small module of our own. It must not touch the repository.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{Component, Part};
use crate::{packages, shell};

/// Builds the part into `folder`.
pub(super) fn build(part: &Part, folder: &Path) -> Result<()> {
    let Part {
        name,
        component,
        package,
    } = part;
    let Component {
        name: _,
        module: _,
        version,
        staging: _,
        ldflags,
    } = component;
    ensure_go()?;
    let workshop = folder.join("go");
    write_module(component, &workshop)?;
    let unfinished = folder.join(format!("{name}.unfinished"));
    shell::timed(
        &format!("building {name} {version} with Go (1 to 5 minutes the first time)"),
        || {
            shell::run(
                go(&workshop)
                    .args(["build", "-mod=mod", "-trimpath", "-ldflags", ldflags, "-o"])
                    .arg(&unfinished)
                    .arg(package),
            )
        },
    )?;
    let program = folder.join(name);
    fs::rename(&unfinished, &program)
        .with_context(|| format!("cannot create {}", program.display()))
}

fn go(workshop: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(workshop)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off");
    go
}

fn ensure_go() -> Result<()> {
    if shell::find_program("go").is_some() {
        return Ok(());
    }
    shell::note("Go is missing: installing Debian's");
    packages::install(&["golang-go"])?;
    if shell::find_program("go").is_none() {
        bail!("Go is missing and apt could not install it; install Go 1.26 or later");
    }
    Ok(())
}

/// Writes a go.mod that pins the component. A module whose own tree replaces its staging modules (Kubernetes) cannot be
/// built from outside without naming their published versions.
fn write_module(component: &Component, workshop: &Path) -> Result<()> {
    let Component {
        name: _,
        module,
        version,
        staging,
        ldflags: _,
    } = component;
    fs::create_dir_all(workshop)
        .with_context(|| format!("cannot create {}", workshop.display()))?;
    let manifest = workshop.join("go.mod");
    let write = |text: &str| {
        fs::write(&manifest, text).with_context(|| format!("cannot write {}", manifest.display()))
    };
    // The go line matters: without one, Go loads the requirements of requirements, and some of those are gone for good.
    let head = "module kube-shunt.invalid/workshop\n\ngo 1.24\n";
    write(head)?;
    let replaced = match staging {
        None => String::new(),
        Some(staging) => replacements(&upstream_manifest(workshop, module, version)?, staging),
    };
    write(&format!(
        "{head}\nrequire {module} v{version}\n\n{replaced}"
    ))
}

fn upstream_manifest(workshop: &Path, module: &str, version: &str) -> Result<String> {
    let wanted = format!("{module}@v{version}");
    let told = shell::output(go(workshop).args(["mod", "download", "-json", &wanted]))?;
    let path =
        json_text(&told, "GoMod").with_context(|| format!("Go knows no go.mod of {wanted}"))?;
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// The replace lines for every requirement without a version of its own.
fn replacements(go_mod: &str, staging: &str) -> String {
    go_mod
        .lines()
        .filter_map(|line| {
            line.trim()
                .trim_start_matches("require ")
                .split_once(" v0.0.0")
        })
        .filter(|(_, rest)| rest.is_empty() || rest.starts_with(' '))
        .map(|(module, _)| format!("replace {module} => {module} {staging}\n"))
        .collect::<Vec<_>>()
        .concat()
}

/// The value of a text field in the flat JSON that go prints, one field per line.
fn json_text(json: &str, field: &str) -> Option<String> {
    let start = format!("\"{field}\": \"");
    json.lines()
        .find_map(|line| line.trim().strip_prefix(&start))
        .and_then(|rest| rest.trim_end_matches(',').strip_suffix('"'))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{json_text, replacements};

    #[test]
    fn replacements_cover_only_unversioned_modules() {
        let go_mod = "require (\n\tk8s.io/api v0.0.0\n\tk8s.io/klog/v2 v2.140.0\n\tk8s.io/cri-api v0.0.0 // indirect\n\
                      \tx.io/y v0.0.0-20240101\n)\n";
        assert_eq!(
            replacements(go_mod, "v0.36.2"),
            "replace k8s.io/api => k8s.io/api v0.36.2\nreplace k8s.io/cri-api => k8s.io/cri-api v0.36.2\n"
        );
    }

    #[test]
    fn json_text_finds_the_whole_field() {
        let json = "{\n\t\"Path\": \"k8s.io/kubernetes\",\n\t\"GoModSum\": \"h1:x\",\n\t\"GoMod\": \"/m/v1.mod\",\n}";
        assert_eq!(json_text(json, "GoMod").as_deref(), Some("/m/v1.mod"));
        assert_eq!(json_text(json, "Sum"), None);
    }
}
