//! How many instructions the verifier may walk for each program on each kernel. Pure but for reading and writing one file.
//!
//! The file is TOML of the simplest kind: a section for each kernel, `program = count` in it.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail};

/// More than this above the budget is a failure, in percent.
const TOLERANCE: u64 = 10;

const HEAD: &str = "# Instructions that the verifier walked for each program, by kernel: what it thinks of their complexity, and the
# cheapest alarm for speed and portability there is. `cargo xtask vm-test` fails on 10 % more; after a change that is
# worth its instructions, `cargo xtask vm-test --update` writes this file anew.
#
# Kernels below 5.16 do not tell; their figure is the instructions that are left after verification.
";

/// Counts by kernel and program.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Budget(BTreeMap<String, BTreeMap<String, u64>>);

impl Budget {
    /// Reads the file; there is an empty budget where there is none.
    pub(super) fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot understand {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut kernels: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        let mut section = None;
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            if let Some(name) = line
                .strip_prefix("[\"")
                .and_then(|rest| rest.strip_suffix("\"]"))
            {
                section = Some(kernels.entry(name.to_owned()).or_default());
                continue;
            }
            let (program, count) = line
                .split_once(" = ")
                .with_context(|| format!("no `program = count`: {line}"))?;
            let count = count.parse().with_context(|| format!("no count: {line}"))?;
            section
                .as_mut()
                .with_context(|| format!("no kernel above: {line}"))?
                .insert(program.to_owned(), count);
        }
        Ok(Self(kernels))
    }

    /// Writes the file.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.text()).with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (kernel, programs) in &self.0 {
            // A String takes everything.
            let _never = writeln!(text, "\n[\"{kernel}\"]");
            for (program, count) in programs {
                let _never = writeln!(text, "{program} = {count}");
            }
        }
        text
    }

    /// Replaces the counts of a kernel.
    pub(super) fn set(&mut self, kernel: &str, programs: BTreeMap<String, u64>) {
        self.0.insert(kernel.to_owned(), programs);
    }

    /// Fails if a program is over its budget, is missing, or has none.
    pub(super) fn check(&self, kernel: &str, counted: &BTreeMap<String, u64>) -> Result<()> {
        let empty = BTreeMap::new();
        let budget = self.0.get(kernel).unwrap_or(&empty);
        let mut faults = Vec::new();
        for (program, &count) in counted {
            match budget.get(program) {
                None => faults.push(format!("{program} has {count} instructions and no budget")),
                Some(&allowed) if count * 100 > allowed * (100 + TOLERANCE) => {
                    faults.push(format!(
                        "{program} has {count} instructions, {allowed} are allowed (+{TOLERANCE} %)"
                    ));
                }
                Some(_) => {}
            }
        }
        faults.extend(
            budget
                .keys()
                .filter(|name| !counted.contains_key(*name))
                .map(|name| format!("{name} was not loaded")),
        );
        if faults.is_empty() {
            return Ok(());
        }
        bail!(
            "{}; if that is worth it: cargo xtask vm-test --update",
            faults.join("; ")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Budget;

    fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        counts
            .iter()
            .map(|&(name, count)| (name.to_owned(), count))
            .collect()
    }

    fn check(counted: &[(&str, u64)], fault: Option<&str>) {
        let mut budget = Budget::default();
        budget.set("6.1", counts(&[("connect4", 100), ("tc_ingress", 1000)]));
        let outcome = budget
            .check("6.1", &counts(counted))
            .map_err(|error| error.to_string());
        match fault {
            None => assert_eq!(outcome, Ok(())),
            Some(fault) => assert!(
                outcome.as_ref().is_err_and(|said| said.contains(fault)),
                "{outcome:?}"
            ),
        }
    }

    #[test]
    fn ten_percent_more_passes_and_a_bit_more_fails() {
        check(&[("connect4", 110), ("tc_ingress", 1)], None);
        check(
            &[("connect4", 111), ("tc_ingress", 1)],
            Some("connect4 has 111"),
        );
    }

    #[test]
    fn new_and_missing_programs_are_faults() {
        check(
            &[("connect4", 1), ("tc_ingress", 1), ("sendmsg4", 5)],
            Some("no budget"),
        );
        check(&[("connect4", 1)], Some("tc_ingress was not loaded"));
    }

    #[test]
    fn written_budget_reads_back() {
        let mut budget = Budget::default();
        budget.set("5.10", counts(&[("a", 1)]));
        budget.set("6.12", counts(&[("a", 2), ("b", 3)]));
        assert_eq!(Budget::parse(&budget.text()).ok(), Some(budget));
    }

    #[test]
    fn damaged_budget_is_an_error() {
        for text in ["a = 1", "[\"6.1\"]\na = many", "[\"6.1\"]\na: 1"] {
            assert!(Budget::parse(text).is_err(), "{text}");
        }
    }
}
