//! What the project wants of itself, and whether a run shows it: met, missed, or not measured. A target is never dropped.

use integration::live::Flows;

use super::Results;
use super::number::{grouped, short};
use super::ratio::{Why, figure, ratio};
use super::table::{best_peer, rows};
use crate::contestant::Contestant;
use crate::plan::Subset;
use crate::record::{Better, Position, Record};
use crate::services::Edge;
use crate::workload::{connections, packets};

/// One target and its verdict.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Line {
    /// What it is about.
    pub(super) what: String,
    /// The limit.
    pub(super) wanted: String,
    /// The worst that was measured.
    pub(super) measured: String,
    /// `met`, `missed` or `not measured`.
    pub(super) verdict: &'static str,
}

/// A limit.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// At most.
    Most(f64),
    /// At least.
    Least(f64),
    /// More than.
    Above(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Most(limit) => value <= limit,
            Self::Least(limit) => value >= limit,
            Self::Above(limit) => value > limit,
        }
    }

    /// The value that is further from the limit, on the wrong side.
    fn worse(self, a: f64, b: f64) -> bool {
        match self {
            Self::Most(_) => a > b,
            Self::Least(_) | Self::Above(_) => a < b,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::Most(limit) => format!("≤ {}{unit}", short(limit)),
            Self::Least(limit) => format!("≥ {}{unit}", short(limit)),
            Self::Above(limit) => format!("> {}{unit}", short(limit)),
        }
    }
}

/// A value, and for which row it was.
type Value = (Result<f64, Why>, String);

/// The worst of `values` decides; one that could not be told leaves the target open.
fn line(what: impl Into<String>, limit: Limit, unit: &str, values: &[Value]) -> Line {
    let mut worst: Option<(f64, &str)> = None;
    let mut open = None;
    for (value, of) in values {
        match value {
            Err(why) => open = Some((*why).max(open.unwrap_or(*why))),
            Ok(value) if worst.is_none_or(|(known, _)| limit.worse(*value, known)) => {
                worst = Some((*value, of));
            }
            Ok(_) => {}
        }
    }
    let (measured, verdict) = match (worst, open) {
        // One that misses is enough.
        (Some((value, of)), _) if !limit.holds(value) => (show(value, unit, of), "missed"),
        (_, Some(why)) => (format!("- ({why})"), "not measured"),
        (Some((value, of)), None) => (show(value, unit, of), "met"),
        (None, None) => ("-".to_owned(), "not measured"),
    };
    Line {
        what: what.into(),
        wanted: limit.text(unit),
        measured,
        verdict,
    }
}

fn show(value: f64, unit: &str, of: &str) -> String {
    format!("{}{unit}{of}", short(value))
}

/// All targets.
pub(super) fn judge(results: &Results) -> Vec<Line> {
    let judge = Judge { results };
    [
        judge.latency(),
        judge.rates(),
        judge.packets(),
        judge.programs(),
        judge.programming(),
        judge.scale(),
    ]
    .concat()
}

struct Judge<'a> {
    results: &'a Results,
}

impl<'a> Judge<'a> {
    /// Records of kube-shunt.
    fn ours(&self, workload: Subset, variant: &str) -> Vec<&'a Record> {
        self.of(Contestant::KubeShunt, workload, variant)
    }

    fn of(&self, contestant: Contestant, workload: Subset, variant: &str) -> Vec<&'a Record> {
        let found = self.results.records().filter(|record| {
            record.contestant == contestant
                && record.workload == workload.name()
                && record.variant == variant
        });
        found.collect()
    }

    /// `contestant`'s figure beside `record`; what has no position stands beside every position.
    fn beside(&self, contestant: Contestant, record: &Record) -> Option<&'a Record> {
        self.results.records().find(|other| {
            other.contestant == contestant
                && other.workload == record.workload
                && other.variant == record.variant
                && other.services == record.services
                && other
                    .position
                    .is_none_or(|position| record.position.is_none_or(|ours| ours == position))
        })
    }

    fn latency(&self) -> Vec<Line> {
        let against_direct = |way, limit, name: &str| {
            let variant = connections::variant(way, 1, "p50");
            let values = self.ours(Subset::Connections, &variant).into_iter();
            let values = values.map(|ours| {
                let direct = self.beside(Contestant::Direct, ours);
                let value = direct.map_or(Err(Why::NotMeasured), |direct| ratio(ours, direct));
                (value, place(ours))
            });
            let what =
                format!("new connection through a ClusterIP against the pod's address, {name}");
            line(what, Limit::Most(limit), "x", &values.collect::<Vec<_>>())
        };
        let flat = |way, name: &str| {
            let variant = connections::variant(way, 1, "p50");
            let ours = self.ours(Subset::Connections, &variant);
            let first = ours.iter().min_by_key(|record| record.services).copied();
            let values = ours
                .iter()
                .filter(|record| first.is_some_and(|first| first.services < record.services))
                .map(|record| {
                    let value = first.map_or(Err(Why::NotMeasured), |first| ratio(record, first));
                    (value, place(record))
                });
            line(
                format!("the same, flat: against 1 Service, {name}"),
                Limit::Most(1.1),
                "x",
                &values.collect::<Vec<_>>(),
            )
        };
        vec![
            against_direct(connections::NODE, 1.02, "connect hook"),
            against_direct(connections::POD, 1.10, "packet path"),
            flat(connections::NODE, "connect hook"),
            flat(connections::POD, "packet path"),
        ]
    }

    fn rates(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for way in connections::ways() {
            let values = connections::PARALLEL.iter().flat_map(|&parallel| {
                let variant = connections::variant(way, parallel, "connections");
                self.against_best_peer(Subset::Connections, &variant)
                    .into_iter()
                    .map(move |(value, of)| (value, format!("{of}, {parallel} at a time")))
            });
            lines.push(line(
                format!("new connections/s against kube-proxy's best mode, {way}"),
                Limit::Above(1.0),
                "x",
                &values.collect::<Vec<_>>(),
            ));
        }
        lines
    }

    /// kube-shunt over the best mode, where more is better; else the other way round: more is good for us.
    fn against_best_peer(&self, workload: Subset, variant: &str) -> Vec<Value> {
        let rows = rows(self.results, workload.name());
        rows.iter()
            .filter(|(row, _)| row.variant == variant)
            .filter_map(|(_, records)| {
                let ours = *records.get(&Contestant::KubeShunt)?;
                let value =
                    best_peer(records).map_or(Err(Why::NotMeasured), |peer| match ours.better {
                        Better::Higher => ratio(ours, peer),
                        Better::Lower => ratio(peer, ours),
                    });
                Some((value, place(ours)))
            })
            .collect()
    }

    fn packets(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for edge in Edge::ALL {
            let variant = packets::variant(edge, Flows::New);
            for (contestant, limit) in [
                (Contestant::KubeShuntConntrack, 1.5),
                (Contestant::KubeShunt, 2.5),
            ] {
                let values = self.of(contestant, Subset::Packets, &variant).into_iter();
                let values = values.map(|ours| {
                    let peer = self.beside(Contestant::Nftables, ours);
                    let value = peer.map_or(Err(Why::NotMeasured), |peer| ratio(ours, peer));
                    (value, place(ours))
                });
                lines.push(line(
                    format!(
                        "{variant}/s against kube-proxy nftables, {}",
                        contestant.title()
                    ),
                    Limit::Least(limit),
                    "x",
                    &values.collect::<Vec<_>>(),
                ));
            }
        }
        lines
    }

    fn programs(&self) -> Vec<Line> {
        [
            ("established TCP", "TCP established", 110.0),
            ("new TCP flow", "TCP new", 600.0),
            ("not ours", "TCP not ours", 30.0),
        ]
        .map(|(what, case, limit)| {
            let values = ["IPv4", "IPv6"].into_iter().flat_map(|family| {
                let variant = format!("{family} tc_ingress {case}");
                self.ours(Subset::Program, &variant)
                    .into_iter()
                    .map(move |record| (figure(record), format!(" ({family})")))
            });
            let what = format!("TC ingress, less an empty program: {what}");
            line(what, Limit::Most(limit), " ns", &values.collect::<Vec<_>>())
        })
        .into()
    }

    /// Figures of ours at 10,000 Services.
    fn at_ten_thousand(&self, variant: &str) -> Vec<&'a Record> {
        let mut records = self.ours(Subset::Programming, variant);
        records.retain(|record| record.services == 10_000);
        records
    }

    fn programming(&self) -> Vec<Line> {
        let own = |variant: &str| -> Vec<Value> {
            let records = self.at_ten_thousand(variant).into_iter();
            records
                .map(|record| (figure(record), String::new()))
                .collect()
        };
        let against = |variant: &str| -> Vec<Value> {
            let mut values = self.against_best_peer(Subset::Programming, variant);
            values.retain(|(_, of)| of.contains("10,000"));
            values
        };
        let change = "one endpoint changes, watch event to packets: p99";
        let cold = "cold start to the last Service";
        let memory = "memory of the process";
        vec![
            line(
                "one endpoint change at 10,000 Services, event to effect, p99",
                Limit::Most(1.0),
                " ms",
                &own(change),
            ),
            line(
                "the same, against kube-proxy's best mode",
                Limit::Least(1_000.0),
                "x",
                &against(change),
            ),
            line(
                "cold start at 10,000 Services x 10 endpoints",
                Limit::Most(2.0),
                " s",
                &own(cold),
            ),
            line(
                "the same, against kube-proxy's best mode",
                Limit::Least(5.0),
                "x",
                &against(cold),
            ),
            line(
                "agent's memory at 10,000 Services x 10 endpoints",
                Limit::Most(60.0),
                " MiB",
                &own(memory),
            ),
            line(
                "the same, against kube-proxy's best mode",
                Limit::Above(4.0),
                "x",
                &against(memory),
            ),
        ]
    }

    fn scale(&self) -> Vec<Line> {
        let own = |variant: &str| -> Vec<Value> {
            let mut records = self.ours(Subset::Scale, variant);
            records.retain(|record| record.services == 100_000);
            records
                .iter()
                .map(|record| (figure(record), String::new()))
                .collect()
        };
        vec![
            line(
                "100,000 Services x 10 endpoints from a feed",
                Limit::Most(5.0),
                " s",
                &own("start from JSON files: until every Service is in the kernel"),
            ),
            line(
                "one change among them, p99",
                Limit::Most(2.0),
                " ms",
                &own("one endpoint changes, file to kernel: p99"),
            ),
            line(
                "agent's memory with them",
                Limit::Most(250.0),
                " MiB",
                &own("start from JSON files: memory of the process"),
            ),
        ]
    }
}

/// ` at 1,000 Services, last`.
fn place(record: &Record) -> String {
    let position = match record.position {
        Some(Position::Last) if record.services > 1 => ", last",
        Some(Position::First) if record.services > 1 => ", first",
        _ => "",
    };
    format!(
        " at {} Services{position}",
        grouped(&record.services.to_string())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(of: &[Result<f64, Why>]) -> Vec<Value> {
        of.iter().map(|value| (*value, String::new())).collect()
    }

    #[test]
    fn the_worst_value_decides() {
        let judged = |of: &[_]| line("", Limit::Most(1.1), "x", &values(of)).verdict;
        assert_eq!(judged(&[Ok(1.0), Ok(1.1)]), "met");
        assert_eq!(judged(&[Ok(1.0), Ok(1.11)]), "missed");
        let least = |of: &[_]| line("", Limit::Least(1.5), "x", &values(of)).verdict;
        assert_eq!(least(&[Ok(9.0), Ok(1.5)]), "met");
        assert_eq!(least(&[Ok(9.0), Ok(1.4)]), "missed");
        assert_eq!(
            line("", Limit::Above(1.0), "x", &values(&[Ok(1.0)])).verdict,
            "missed"
        );
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let judged = |of: &[_]| line("", Limit::Most(1.1), "x", &values(of)).verdict;
        assert_eq!(judged(&[]), "not measured");
        assert_eq!(judged(&[Ok(1.0), Err(Why::Disturbed)]), "not measured");
        assert_eq!(judged(&[Ok(2.0), Err(Why::Disturbed)]), "missed");
    }
}
