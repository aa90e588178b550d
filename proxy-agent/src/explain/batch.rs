//! `--batch`: questions as JSON lines in, answers as JSON lines out, in the same order. Nothing else is written to the output.

use std::io::{BufRead, Write};

use anyhow::Context as _;
use serde::Serialize;

use super::answer::{Answer, Failure};
use super::question::{self, Question};

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Answers.
    pub answered: usize,
    /// Lines that got an error.
    pub failed: usize,
}

/// Answers every line of `input`; empty lines are skipped. An error about the line is written in the answer's place, with the
/// line's id and number (from 1), and the rest goes on.
pub fn run(
    input: impl BufRead,
    mut output: impl Write,
    mut answer: impl FnMut(&Question) -> anyhow::Result<Answer>,
) -> anyhow::Result<Count> {
    let mut count = Count::default();
    for (number, line) in (1_usize..).zip(input.split(b'\n')) {
        let line = line.context("--batch: cannot be read")?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let asked = question::line(&String::from_utf8_lossy(&line));
        let answered = asked.and_then(|question| {
            answer(&question).map_err(|error| (question.id.clone(), format!("{error:#}")))
        });
        match answered {
            Ok(answer) => {
                count.answered += 1;
                write(&mut output, &answer)?;
            }
            Err((id, error)) => {
                count.failed += 1;
                let error = format!("line {number}: {error}");
                write(&mut output, &Failure { id, error })?;
            }
        }
    }
    output.flush()?;
    Ok(count)
}

/// One line of JSON.
pub(super) fn write(output: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(output.write_all(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::answer::{Hook, Verdict};

    fn answer(question: &Question) -> anyhow::Result<Answer> {
        anyhow::ensure!(question.dst.port() != 9, "no answer to nine");
        Ok(Answer {
            id: question.id.clone(),
            verdict: Verdict::Pass,
            service: None,
            frontend: None,
            backends: Vec::new(),
            masquerade: false,
            hook: Hook::Tc,
            reason: "not_ours".to_owned(),
        })
    }

    #[test]
    fn a_bad_line_gets_an_error_with_its_id_and_the_rest_goes_on() {
        let input = concat!(
            r#"{"id":"1","src":"10.0.0.1","dst":"10.0.0.2:1","proto":"tcp"}"#,
            "\n\n",
            r#"{"id":"2","src":"10.0.0.1","dst":"10.0.0.2","proto":"tcp"}"#,
            "\nnonsense\n",
            r#"{"id":3,"src":"10.0.0.1","dst":"10.0.0.2:9","proto":"tcp"}"#,
            "\n[]\n",
            r#"{"id":"4","src":"10.0.0.1","dst":"10.0.0.2:1","proto":"tcp"}"#,
        );
        let mut output = Vec::new();
        let count = run(input.as_bytes(), &mut output, answer).unwrap();
        assert_eq!((count.answered, count.failed), (2, 4));
        let lines: Vec<serde_json::Value> = String::from_utf8(output)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let ids: Vec<_> = lines.iter().map(|line| line["id"].to_string()).collect();
        assert_eq!(ids, ["\"1\"", "\"2\"", "null", "3", "null", "\"4\""]);
        // Empty lines count, so that an editor finds the line.
        let failed: Vec<_> = lines
            .iter()
            .map(|line| Some(line.get("error")?.as_str()?.split_once(':')?.0))
            .collect();
        let expected = [
            None,
            Some("line 3"),
            Some("line 4"),
            Some("line 5"),
            Some("line 6"),
            None,
        ];
        assert_eq!(failed, expected);
    }
}
