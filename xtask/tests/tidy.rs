//! What no compiler checks: every file says what it is for, files stay small, crates keep their distance, documents are true.
//!
//! Reads the files that git knows, so that a stray file in the working tree breaks nothing.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

/// Lines of a source file, without its tests.
const LONGEST_SOURCE: usize = 400;
/// Lines of a file that is all tests: tables grow.
const LONGEST_TEST: usize = 500;

struct File {
    name: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name))
        .unwrap_or_else(|error| panic!("cannot read {name}: {error}"))
}

/// The files with one of these endings.
fn files(endings: &[&str]) -> Vec<File> {
    let listed = Command::new("git")
        .arg("-C")
        .arg(root())
        .arg("ls-files")
        .output()
        .expect("git is there");
    let names = String::from_utf8(listed.stdout).expect("names are text");
    let files: Vec<File> = names
        .lines()
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        // Deleted, but not yet committed.
        .filter(|name| root().join(name).is_file())
        .map(|name| File {
            name: name.to_owned(),
            text: read(name),
        })
        .collect();
    assert!(
        !files.is_empty(),
        "git lists no {endings:?}: a check of nothing proves nothing"
    );
    files
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Lines that contain one of `words`, but for files for which `allowed` says so.
fn lines_with(files: &[File], words: &[&str], allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| !allowed(&file.name)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            faults.extend(
                words
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{}:{number}: {word}", file.name)),
            );
        }
    }
    faults
}

/// The words of a document between backquotes that `keep` accepts.
fn quoted(text: &str, keep: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|word| keep(word))
        .collect()
}

#[test]
fn every_source_says_what_it_is_for() {
    let faults: Vec<String> = files(&[".rs"])
        .iter()
        .filter(|file| {
            !file
                .text
                .lines()
                .find(|line| !line.starts_with("#!"))
                .is_some_and(|line| line.starts_with("//! "))
        })
        .map(|file| format!("{} does not begin with //!", file.name))
        .collect();
    none(&faults);
}

#[test]
fn sources_stay_small() {
    let mut faults = Vec::new();
    for File { name, text } in files(&[".rs"]) {
        let is_test = name.contains("tests/") || name.ends_with("tests.rs");
        let longest = if is_test {
            LONGEST_TEST
        } else {
            LONGEST_SOURCE
        };
        let lines = text
            .lines()
            .take_while(|line| is_test || *line != "mod tests {")
            .count();
        if lines > longest {
            faults.push(format!(
                "{name} has {lines} lines, {longest} are allowed: look for the second idea"
            ));
        }
    }
    none(&faults);
}

#[test]
fn nothing_is_left_for_later() {
    let this = |name: &str| name == "xtask/tests/tidy.rs";
    none(&lines_with(
        &files(&[".rs"]),
        &["todo!(", "unimplemented!(", "#[ignore", "TODO", "FIXME"],
        this,
    ));
}

#[test]
fn waiting_has_a_condition() {
    // Each of these sleeps within a loop that asks for a condition and has a deadline, or paces a client.
    let pollers = [
        "tests/src/wait.rs",
        "tests/src/probe/pingpong.rs",
        "tests/src/bin/change_bench.rs",
        "tests/src/bin/demo/scale.rs",
        "proxy-agent/kernel/tests/common/mod.rs",
        "xtask/src/vm/machine.rs",
        "xtask/tests/tidy.rs",
    ];
    none(&lines_with(&files(&[".rs"]), &["thread::sleep"], |name| {
        pollers.contains(&name)
    }));
}

#[test]
fn pure_crates_stay_pure() {
    let mut faults = Vec::new();
    for (manifest, forbidden) in [
        (
            "proxy-common/Cargo.toml",
            &["kube", "tokio", "aya-ebpf", "libc", "nix"][..],
        ),
        (
            "proxy-agent/model/Cargo.toml",
            &[
                "aya",
                "aya-obj",
                "kube",
                "tokio",
                "libc",
                "nix",
                "proxy-kernel",
            ][..],
        ),
        ("proxy-agent/kernel/Cargo.toml", &["kube", "clap"][..]),
        (
            "proxy-ebpf/Cargo.toml",
            &["aya", "tokio", "proxy-model"][..],
        ),
        (
            "xtask/Cargo.toml",
            &["aya", "kube", "tokio", "proxy-common"][..],
        ),
        (
            "tests/oracle/Cargo.toml",
            &["proxy-common", "proxy-model", "proxy-kernel", "kube-shunt"][..],
        ),
    ] {
        let text = read(manifest);
        let needed = text.split("[dependencies]").nth(1).unwrap_or_default();
        let needed = needed.split("\n[").next().unwrap_or_default();
        let names: BTreeSet<&str> = needed
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, _)| name)
            .collect();
        faults.extend(
            forbidden
                .iter()
                .filter(|name| names.contains(*name))
                .map(|name| format!("{manifest} may not need {name}")),
        );
    }
    none(&faults);
}

#[test]
fn production_programs_do_not_log() {
    // The condition stands on the item that logs, at most its attributes and head away.
    const NEAR: usize = 5;
    let mut faults = Vec::new();
    for File { name, text } in files(&[".rs"])
        .iter()
        .filter(|file| file.name.starts_with("proxy-ebpf/src/"))
    {
        let lines: Vec<&str> = text.lines().collect();
        let logs = |line: &&str| line.contains("aya_log_ebpf");
        for (number, _) in lines.iter().enumerate().filter(|(_, line)| logs(line)) {
            let near = lines
                .get(number.saturating_sub(NEAR)..=number)
                .unwrap_or_default();
            if !near.iter().any(|line| line.contains("feature = \"trace\"")) {
                faults.push(format!("{name}:{}: logs without feature trace", number + 1));
            }
        }
    }
    none(&faults);
}

#[test]
fn documents_name_every_map_and_no_other() {
    let source = read("proxy-ebpf/src/maps.rs");
    let maps: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("pub(crate) static ")?
                .split(':')
                .next()
        })
        .collect();
    assert!(maps.len() > 10, "found only {maps:?}");
    let document = read("docs/maps.md");
    let rows: String = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1))
        .collect();
    let named = quoted(&rows, |word| {
        word.chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    });
    // Read-only data is a map for the kernel, a static for us.
    let named: BTreeSet<&str> = named
        .into_iter()
        .filter(|name| *name != "SETTINGS")
        .collect();
    assert_eq!(maps, named);
}

#[test]
fn documents_name_every_reason_and_no_other() {
    let source = read("proxy-common/src/reason.rs");
    let reasons: BTreeSet<&str> = source
        .lines()
        .filter(|line| line.trim_end().ends_with("\";") && line.contains(" = "))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert!(reasons.len() > 10, "found only {reasons:?}");
    let document = read("docs/metrics.md");
    let section = document
        .split("\n## Reasons")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("a section of reasons");
    let named: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(reasons, named);
}

#[test]
fn documents_name_only_flags_that_exist() {
    let mut known = BTreeSet::new();
    for file in files(&[".rs"])
        .iter()
        .filter(|file| file.name.starts_with("proxy-agent/") || file.name.starts_with("xtask/src/"))
    {
        // clap makes a flag of every field's name.
        for word in file
            .text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        {
            known.insert(word.trim_matches('-').replace('_', "-"));
        }
    }
    let mut faults = Vec::new();
    for File { name, text } in files(&[
        "README.md",
        "docs/maps.md",
        "docs/packet-path.md",
        "docs/metrics.md",
        "CONTRIBUTING.md",
    ]) {
        // Flags of other programs stand in these too.
        let flags = quoted(&text, |word| word.starts_with("--") && !word.contains(' '));
        let unknown = flags.into_iter().filter(|flag| {
            !known.contains(
                flag.trim_start_matches('-')
                    .split('=')
                    .next()
                    .unwrap_or_default(),
            )
        });
        faults.extend(unknown.map(|flag| format!("{name}: there is no {flag}")));
    }
    none(&faults);
}

#[test]
fn architecture_names_every_crate() {
    let architecture = read("ARCHITECTURE.md");
    let workspace = read("Cargo.toml");
    let members = workspace
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("the workspace has members");
    let faults: Vec<String> = members
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|member| !architecture.contains(*member))
        .map(|member| format!("ARCHITECTURE.md does not name {member}"))
        .collect();
    none(&faults);
}

#[test]
fn chart_explains_every_value() {
    let values = read("charts/kube-shunt/values.yaml");
    let readme = read("charts/kube-shunt/README.md");
    let top: Vec<&str> = values
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert!(top.len() > 10, "found only {top:?}");
    let faults: Vec<String> = top
        .into_iter()
        .filter(|name| !readme.contains(&format!("`{name}")))
        .map(|name| format!("the chart's README does not explain {name}"))
        .collect();
    none(&faults);
}
