//! What the terminal shows at the end: the targets, and where kube-shunt stands beside the best of kube-proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Results;
use super::markdown::line;
use super::number::{grouped, short};
use super::ratio::{figure, ratio};
use super::table::{best_peer, rows, workloads};
use super::targets::{self, Line};
use crate::contestant::Contestant;
use crate::record::{Position, Record};
use crate::statistics::median;

/// The summary.
pub(super) fn render(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _written = write(&mut text, results);
    text
}

fn write(text: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(
        text,
        "kube-shunt, the pod's own address, and the best mode of kube-proxy (medians; ratios are kube-shunt over the other; *: disturbed by other load)"
    )?;
    for workload in workloads(results) {
        writeln!(text, "\n{workload}")?;
        for (row, records) in rows(results, workload) {
            let Some(ours) = records.get(&Contestant::KubeShunt) else {
                continue;
            };
            let place = match (row.services, row.position) {
                (0, _) => String::new(),
                (services, Some(Position::Last)) => {
                    format!("{} last", grouped(&services.to_string()))
                }
                (services, _) => grouped(&services.to_string()),
            };
            // Direct has no position: its record stands in the row without one.
            let direct = records
                .get(&Contestant::Direct)
                .copied()
                .or_else(|| direct_of(results, ours));
            writeln!(
                text,
                "  {:66} {place:>11} {:>11} {:6} {:>18} {}",
                row.variant,
                show(ours),
                ours.unit,
                against("direct", ours, direct),
                peers(&records, ours)
            )?;
        }
    }
    let lines: BTreeSet<String> = results.left_out().map(line).collect();
    if !lines.is_empty() {
        writeln!(text, "\nleft out")?;
    }
    for line in lines {
        writeln!(text, "  {line}")?;
    }
    writeln!(text, "\ntargets")?;
    for Line {
        what,
        wanted,
        measured,
        verdict,
    } in targets::judge(results)
    {
        writeln!(text, "  {verdict:12}  {what}: {measured} (wanted {wanted})")?;
    }
    if results.quick {
        writeln!(text, "\nA quick run: its figures are not for comparing.")?;
    }
    Ok(())
}

fn direct_of<'a>(results: &'a Results, ours: &Record) -> Option<&'a Record> {
    results.records().find(|record| {
        record.contestant == Contestant::Direct
            && record.workload == ours.workload
            && record.variant == ours.variant
            && record.services == ours.services
    })
}

/// The figure; marked if it is not to be trusted.
fn show(record: &Record) -> String {
    match (figure(record), median(&record.all())) {
        (Ok(figure), _) => short(figure),
        (Err(_), Some(median)) => format!("{}*", short(median)),
        (Err(_), None) => "-".to_owned(),
    }
}

fn against(name: &str, ours: &Record, other: Option<&Record>) -> String {
    let Some(other) = other else {
        return String::new();
    };
    match ratio(ours, other) {
        Ok(ratio) => format!("{ratio:.2} x {name}"),
        Err(why) => format!("- ({why})"),
    }
}

fn peers(records: &BTreeMap<Contestant, &Record>, ours: &Record) -> String {
    best_peer(records).map_or_else(String::new, |peer| {
        against(peer.contestant.title(), ours, Some(peer))
    })
}
