//! Records in the order and shape that table, plots and summary show them in.

use std::collections::BTreeMap;

use super::Results;
use super::number::short;
use crate::contestant::Contestant;
use crate::record::{Better, Position, Record};
use crate::statistics::Spread;

/// What one row of a table is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Row {
    /// Where its variant first came in the run.
    pub(super) place: usize,
    /// As in the records.
    pub(super) variant: String,
    /// As in the records.
    pub(super) services: u32,
    /// As in the records.
    pub(super) position: Option<Position>,
}

/// The rows of a workload, each with a record of every contestant that has one.
pub(super) type Rows<'a> = BTreeMap<Row, BTreeMap<Contestant, &'a Record>>;

/// The workloads in the order of the run.
pub(super) fn workloads(results: &Results) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for record in results.records() {
        if !names.contains(&&*record.workload) {
            names.push(&record.workload);
        }
    }
    names
}

/// The rows of `workload`. What has no position stands beside the first.
pub(super) fn rows<'a>(results: &'a Results, workload: &str) -> Rows<'a> {
    let mut variants: Vec<&str> = Vec::new();
    let mut rows = Rows::new();
    for record in results
        .records()
        .filter(|record| record.workload == workload)
    {
        let place = variants
            .iter()
            .position(|variant| *variant == record.variant)
            .unwrap_or_else(|| {
                variants.push(&record.variant);
                variants.len() - 1
            });
        let row = Row {
            place,
            variant: record.variant.clone(),
            services: record.services,
            position: record
                .position
                .filter(|position| *position == Position::Last),
        };
        rows.entry(row)
            .or_default()
            .insert(record.contestant, record);
    }
    rows
}

/// A figure: the median of its quiet samples and their quartiles; of all samples and marked where half are disturbed. Marked too where samples
/// failed.
pub(super) fn cell(record: &Record) -> String {
    let quiet = record.quiet();
    let enough = quiet.len() * 2 >= record.samples.len();
    let values = if enough { quiet } else { record.all() };
    let failed = match record.failed {
        0 => String::new(),
        failed => format!(" !{failed}"),
    };
    let mark = if enough {
        failed
    } else {
        format!(" *{failed}")
    };
    match Spread::of(&values) {
        None => "-".to_owned(),
        Some(Spread { median, .. }) if values.len() < 3 => format!("{}{mark}", short(median)),
        Some(Spread { low, median, high }) => {
            format!("{} ({}–{}){mark}", short(median), short(low), short(high))
        }
    }
}

/// The best of kube-proxy's modes in a row.
pub(super) fn best_peer<'a>(row: &BTreeMap<Contestant, &'a Record>) -> Option<&'a Record> {
    best(row, &Contestant::KUBE_PROXY)
}

/// The best of `among` in a row.
pub(super) fn best<'a>(
    row: &BTreeMap<Contestant, &'a Record>,
    among: &[Contestant],
) -> Option<&'a Record> {
    row.values()
        .filter(|record| among.contains(&record.contestant))
        .filter_map(|record| Some((super::ratio::figure(record).ok()?, *record)))
        .reduce(|best, other| {
            let better = match best.1.better {
                Better::Higher => other.0 > best.0,
                Better::Lower => other.0 < best.0,
            };
            if better { other } else { best }
        })
        .map(|(_, record)| record)
}
