//! Counts what test runners say. Pure: lines in, numbers out.

use std::collections::BTreeSet;

/// What was counted so far.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that ran and passed.
    pub(crate) passed: usize,
    /// Names of tests that failed, and of whatever else did.
    pub(crate) failed: Vec<String>,
    /// Skips with their reasons, as `<test>: <reason>`.
    pub(crate) skipped: Vec<String>,
}

impl Tally {
    /// Adds the output of one run of `cargo test`. A test that skips itself passes for the runner, but not for us.
    pub(crate) fn add_cargo_output(&mut self, output: &str) {
        let failed_before = self.failed.len();
        let (mut counted_failures, mut names, mut skipped) = (0, BTreeSet::new(), BTreeSet::new());
        for line in output.lines() {
            if let Some(name) = test_name(line) {
                names.insert(name);
            }
            if let Some((_, skip)) = line.split_once("SKIPPED ") {
                // Tests of one name can live in several programs; each skip has a line of its own.
                skipped.insert(skip.split_once(": ").map_or(skip, |(name, _)| name));
                self.skipped.push(skip.to_owned());
            }
            if let Some(counts) = line.strip_prefix("test result: ") {
                self.passed += count(counts, " passed");
                counted_failures += count(counts, " failed");
            }
            if let Some(name) = line
                .strip_prefix("test ")
                .and_then(|rest| rest.strip_suffix(" ... FAILED"))
            {
                self.failed.push(name.to_owned());
            }
        }
        self.passed = self
            .passed
            .saturating_sub(skipped.intersection(&names).count());
        let named = self.failed.len() - failed_before;
        // A runner with one thread prints the verdict on a line of its own; the count is right all the same.
        self.failed
            .extend((named..counted_failures).map(|_| "a test, see above".to_owned()));
    }

    /// The sum, as the last line of `cargo xtask test`.
    pub(crate) fn sum(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        )
    }
}

/// The name in `test <name> ... <verdict>`.
fn test_name(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?
        .split_once(" ... ")
        .map(|(name, _)| name)
}

/// The number before `word` in `ok. 3 passed; 0 failed; ...`.
fn count(counts: &str, word: &str) -> usize {
    let before = counts.split(word).next().unwrap_or_default();
    before
        .rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn check(output: &str, passed: usize, failed: &[&str], skipped: &[&str]) {
        let mut tally = Tally::default();
        tally.add_cargo_output(output);
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(
            tally,
            Tally {
                passed,
                failed: owned(failed),
                skipped: owned(skipped)
            }
        );
    }

    #[test]
    fn results_of_several_programs_add_up() {
        check(
            "test a ... ok\ntest b ... FAILED\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured\n\
             test c ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n",
            2,
            &["b"],
            &[],
        );
    }

    #[test]
    fn skipped_test_is_not_a_passed_one() {
        check(
            "SKIPPED a: needs root\ntest a ... ok\ntest b ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored\n",
            1,
            &[],
            &["a: needs root"],
        );
    }

    #[test]
    fn skipped_part_of_a_test_leaves_the_test_passed() {
        check(
            "SKIPPED xdp on lo: no such mode\ntest a ... ok\ntest result: ok. 1 passed; 0 failed\n",
            1,
            &[],
            &["xdp on lo: no such mode"],
        );
    }

    #[test]
    fn one_thread_prints_verdicts_on_their_own_lines() {
        check(
            "test a ... SKIPPED a: old kernel\nok\ntest b ... said\nFAILED\ntest result: FAILED. 1 passed; 1 failed\n",
            0,
            &["a test, see above"],
            &["a: old kernel"],
        );
    }
}
