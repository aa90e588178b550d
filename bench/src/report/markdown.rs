//! The table of all figures.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::number::grouped;
use super::table::{cell, rows, workloads};
use super::{Results, targets};
use crate::contestant::Contestant;
use crate::record::{Better, LeftOut, Position};
use crate::services::ENDPOINTS;

/// The document; `plots`: how to refer to the published plots.
pub(super) fn render(results: &Results, plots: Option<&str>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _written = write(&mut text, results, plots);
    text
}

fn write(text: &mut String, results: &Results, plots: Option<&str>) -> std::fmt::Result {
    head(text, results)?;
    writeln!(text, "\n## Targets\n")?;
    targets_table(text, results)?;
    if let Some(plots) = plots {
        writeln!(text, "\n## Plots\n\n{plots}")?;
    }
    for workload in workloads(results) {
        writeln!(text, "\n## {workload}\n")?;
        workload_table(text, results, workload)?;
    }
    writeln!(text, "\n## Left out\n")?;
    left_out(text, results)
}

fn head(text: &mut String, results: &Results) -> std::fmt::Result {
    let machine = &results.machine;
    writeln!(
        text,
        "`{}`, ended {}, took {:.0} s, seed {}.",
        results.command, results.when, results.seconds, results.seed
    )?;
    if results.quick {
        writeln!(
            text,
            "\n**A quick run: few and short samples. It shows that everything works, and is not for comparing.**"
        )?;
    }
    writeln!(
        text,
        "\nMachine: {}, {} processors, {} MiB of memory, {}; Linux {}; spectre_v2: {}; idle processors {}.",
        machine.processor,
        machine.processors,
        grouped(&machine.memory_mib.to_string()),
        machine.hypervisor,
        machine.kernel,
        machine.spectre_v2,
        machine.idle
    )?;
    let versions: Vec<String> = results
        .versions
        .iter()
        .map(|(name, version)| format!("{name}: {version}"))
        .collect();
    writeln!(text, "\nVersions: {}.", versions.join("; "))?;
    writeln!(
        text,
        "\nEach figure is the median of its samples with their quartiles, `median (p25–p75)`: {} rounds in which all contestants take turns in \
        changing order after one for warming up, traffic for {} ms a sample. A sample during which other processes or the \
        hypervisor used more than a tenth of a processor is disturbed and does not count; `*` marks figures of which more than half are. Ratios are \
        never made of those. `!` counts samples in which a connection failed, which do not count either. What \
        several runs measured has the samples of all of them. ↑: more is better, ↓: less is better.",
        results.rounds, results.sample_ms
    )?;
    writeln!(
        text,
        "\nA Service is the first, or with `last` the last, of those with the same kind of frontend and backends: for iptables in the order of \
        its chains, for all others, which look Services up, in the order of names. Every Service has {ENDPOINTS} endpoints; one in ten, up to 1,250, has a node \
        port, and UDP beside TCP. While traffic is measured there are as many Services of IPv6 beside those of IPv4, so twice as many in all; for \
        programming and scale there are those of IPv4. Three with both families are there at every size."
    )
}

fn targets_table(text: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(text, "| target | wanted | measured | |\n|---|---|---|---|")?;
    for line in targets::judge(results) {
        let targets::Line {
            what,
            wanted,
            measured,
            verdict,
        } = line;
        writeln!(text, "| {what} | {wanted} | {measured} | {verdict} |")?;
    }
    Ok(())
}

fn workload_table(text: &mut String, results: &Results, workload: &str) -> std::fmt::Result {
    let rows = rows(results, workload);
    let contestants: BTreeSet<Contestant> =
        rows.values().flat_map(|row| row.keys().copied()).collect();
    let titles: Vec<&str> = contestants.iter().map(|one| one.title()).collect();
    writeln!(text, "| | unit | Services | {} |", titles.join(" | "))?;
    writeln!(text, "|---|---|---|{}", "---|".repeat(titles.len()))?;
    let mut notes = BTreeSet::new();
    for (row, records) in &rows {
        let Some(any) = records.values().next() else {
            continue;
        };
        let arrow = match any.better {
            Better::Higher => "↑",
            Better::Lower => "↓",
        };
        let services = match (row.services, row.position) {
            (0, _) => String::new(),
            (services, Some(Position::Last)) => format!("{}, last", grouped(&services.to_string())),
            (services, _) => grouped(&services.to_string()),
        };
        let cells: Vec<String> = contestants
            .iter()
            .map(|contestant| {
                records
                    .get(contestant)
                    .map_or_else(|| "-".to_owned(), |one| cell(one))
            })
            .collect();
        writeln!(
            text,
            "| {} | {} {arrow} | {services} | {} |",
            row.variant,
            any.unit,
            cells.join(" | ")
        )?;
        notes.extend(
            records
                .values()
                .filter(|record| !record.note.is_empty())
                .map(|record| format!("{}: {}", record.contestant.title(), record.note)),
        );
    }
    if !notes.is_empty() {
        writeln!(text)?;
    }
    notes.iter().try_for_each(|note| writeln!(text, "- {note}"))
}

fn left_out(text: &mut String, results: &Results) -> std::fmt::Result {
    let lines: BTreeSet<String> = results.left_out().map(line).collect();
    if lines.is_empty() {
        return writeln!(text, "Nothing.");
    }
    lines.iter().try_for_each(|line| writeln!(text, "- {line}"))
}

/// One thing that was left out, in words.
pub(super) fn line(left_out: &LeftOut) -> String {
    let LeftOut {
        workload,
        variant,
        contestant,
        services,
        reason,
        at_least: _,
    } = left_out;
    let what = match (variant.as_str(), services) {
        ("", 0) => workload.clone(),
        ("", services) => format!("{workload}, {} Services", grouped(&services.to_string())),
        (variant, 0) => format!("{workload}, {variant}"),
        (variant, services) => format!(
            "{workload}, {} Services, {variant}",
            grouped(&services.to_string())
        ),
    };
    // A log's end may follow the reason.
    let reason = reason.lines().next().unwrap_or_default();
    format!("{}: {what}: {reason}", contestant.title())
}
