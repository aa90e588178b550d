//! What the project wants of itself, and whether a run shows it: met, missed, or not measured. A target is never dropped.

mod line;

use integration::live::Flows;
use integration::topology::Family;

use super::Results;
use super::number::grouped;
use super::ratio::{Why, figure, ratio};
use super::table::{best, rows};
use crate::contestant::Contestant;
use crate::plan::Subset;
use crate::record::{Better, Position, Record};
use crate::services::Edge;
use crate::workload::{connections, packets};
pub(super) use line::Line;
use line::{Limit, Value, line};

/// kube-proxy's mode iptables: the faster of its two tools counts.
const IPTABLES: [Contestant; 2] = [Contestant::IptablesLegacy, Contestant::IptablesNft];

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

    /// What a new connection costs: all of it, and `connect()` alone. In time, so a rate is the other way round.
    fn latency(&self) -> Vec<Line> {
        let ours = |ways: &[&str], figure: &str| -> Vec<&Record> {
            let variants = ways.iter().map(|way| connections::variant(way, 1, figure));
            variants
                .flat_map(|variant| self.ours(Subset::Connections, &variant))
                .collect()
        };
        let over = |ours: &Record, other: Option<&Record>| match (ours.better, other) {
            (Better::Higher, Some(other)) => ratio(other, ours),
            _ => ratio_to(ours, other),
        };
        let against_direct = |ways: &[&str], figure, limit, what: &str, name: &str| {
            let values = ours(ways, figure).into_iter().map(|ours| {
                let direct = self.beside(Contestant::Direct, ours);
                Value::new(over(ours, direct), place(ours))
            });
            let what = format!("{what} through a ClusterIP against the pod's address, {name}");
            line(what, Limit::Most(limit), "x", &values.collect::<Vec<_>>())
        };
        let flat = |ways: &[&str], name: &str| {
            let values = ways.iter().flat_map(|way| {
                let ours = ours(&[way], "connections");
                let first = ours.iter().min_by_key(|record| record.services).copied();
                let is_larger = move |record: &&Record| {
                    first.is_some_and(|first| first.services < record.services)
                };
                let larger = ours.into_iter().filter(is_larger);
                larger.map(move |record| Value::new(over(record, first), place(record)))
            });
            line(
                format!("new connection, flat: against 1 Service, {name}"),
                Limit::Most(1.1),
                "x",
                &values.collect::<Vec<_>>(),
            )
        };
        let ways = [
            (
                [connections::NODE, connections::NODE6],
                1.02,
                "connect hook",
            ),
            ([connections::POD, connections::POD6], 1.10, "packet path"),
        ];
        let mut lines = Vec::new();
        for (figure, what) in [
            (
                "connections",
                "new connection (there, one byte, back, closed)",
            ),
            ("p50", "connect() alone, p50,"),
        ] {
            for (ways, limit, name) in ways {
                lines.push(against_direct(&ways, figure, limit, what, name));
            }
        }
        for (ways, _, name) in ways {
            lines.push(flat(&ways, name));
        }
        lines
    }

    fn rates(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for way in connections::ways() {
            for (peers, name) in [
                (&IPTABLES[..], "iptables, the faster of legacy and nft"),
                (&[Contestant::Nftables][..], "nftables"),
            ] {
                let values = connections::PARALLEL.iter().flat_map(|&parallel| {
                    let variant = connections::variant(way, parallel, "connections");
                    let values = self.against(Subset::Connections, &variant, peers);
                    values.into_iter().map(move |value| Value {
                        of: format!("{}, {parallel} at a time", value.of),
                        ..value
                    })
                });
                lines.push(line(
                    format!("new connections/s against kube-proxy {name}: {way}"),
                    Limit::Above(1.0),
                    "x",
                    &values.collect::<Vec<_>>(),
                ));
            }
        }
        lines
    }

    /// kube-shunt over the best of `peers`, where more is better; else the other way round: more is good for us.
    fn against(&self, workload: Subset, variant: &str, peers: &[Contestant]) -> Vec<Value> {
        let rows = rows(self.results, workload.name());
        let rows = rows.iter().filter(|(row, _)| row.variant == variant);
        rows.filter_map(|(_, records)| {
            let ours = *records.get(&Contestant::KubeShunt)?;
            let over = |peer: &Record| match ours.better {
                Better::Higher => ratio(ours, peer),
                Better::Lower => ratio(peer, ours),
            };
            let peer = best(records, peers);
            let value = match (peer, self.bound(ours, peers)) {
                (Some(peer), _) => Value::new(over(peer), place(ours)),
                (None, Some(bound)) => Value {
                    at_least: true,
                    ..Value::new(figure(ours).map(|ours| bound / ours), place(ours))
                },
                _ if peers.iter().any(|peer| records.contains_key(peer)) => {
                    Value::new(Err(Why::Disturbed), place(ours))
                }
                _ => Value::new(Err(self.why_alone(ours, peers)), place(ours)),
            };
            let is_missing = |peer: &&Contestant| !records.contains_key(peer);
            let missing = peers.iter().filter(is_missing);
            let missing = missing.map(|peer| format!("{}{}", peer.title(), at(ours)));
            Some(Value {
                without: peer.into_iter().flat_map(|_| missing.clone()).collect(),
                ..value
            })
        })
        .collect()
    }

    /// What the best of `peers` took at least in place of `ours`, since all of them were given up then.
    fn bound(&self, ours: &Record, peers: &[Contestant]) -> Option<f64> {
        let bounds = self.results.left_out().filter(|out| {
            peers.contains(&out.contestant)
                && out.workload == ours.workload
                && out.variant == ours.variant
                && out.services == ours.services
        });
        bounds.filter_map(|out| out.at_least).min_by(f64::total_cmp)
    }

    /// Why none of `peers` stands beside `ours`: whether any was to be measured at as many Services.
    fn why_alone(&self, ours: &Record, peers: &[Contestant]) -> Why {
        let takes_part = self.results.left_out().any(|out| {
            peers.contains(&out.contestant)
                && out.workload == ours.workload
                && out.services == ours.services
        });
        if takes_part {
            Why::NotMeasured
        } else {
            Why::NoPeer
        }
    }

    fn packets(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for edge in Edge::ALL {
            let past_the_stack = [
                (Contestant::HostRoutingConntrack, 1.5),
                (Contestant::HostRouting, 2.5),
            ];
            let through_it = [
                (Contestant::KubeShuntConntrack, 1.5),
                (Contestant::KubeShunt, 2.5),
            ];
            let mut ways = through_it.to_vec();
            // What goes to another node leaves by its stack in either case, unless XDP sends it.
            if edge == Edge::Remote {
                ways.push((Contestant::KubeShuntXdp, 2.5));
            } else {
                ways.extend(past_the_stack);
            }
            for (contestant, limit) in ways {
                let values = Family::BOTH.into_iter().flat_map(|family| {
                    let variant = packets::variant(family, edge, Flows::New);
                    let ours = self.of(contestant, Subset::Packets, &variant);
                    ours.into_iter().map(|ours| {
                        let ratio = match self.beside(Contestant::Nftables, ours) {
                            Some(peer) => ratio(ours, peer),
                            None => Err(self.why_alone(ours, &[Contestant::Nftables])),
                        };
                        Value::new(ratio, place(ours))
                    })
                });
                lines.push(line(
                    format!(
                        "{}/s against kube-proxy nftables, {}",
                        packets::variant(Family::V4, edge, Flows::New),
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
                    .map(move |record| Value::new(figure(record), format!(" ({family})")))
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
                .map(|record| Value::new(figure(record), ""))
                .collect()
        };
        let against = |variant: &str| -> Vec<Value> {
            let mut values = self.against(Subset::Programming, variant, &Contestant::KUBE_PROXY);
            values.retain(|value| value.of.contains("10,000"));
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
                .map(|record| Value::new(figure(record), ""))
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

/// `ours` over `other`, if there is one.
fn ratio_to(ours: &Record, other: Option<&Record>) -> Result<f64, Why> {
    other.map_or(Err(Why::NotMeasured), |other| ratio(ours, other))
}

/// ` at 1,000 Services, last`; the family where it is not the usual one.
fn place(record: &Record) -> String {
    let position = match record.position {
        Some(Position::Last) if record.services > 1 => ", last",
        Some(Position::First) if record.services > 1 => ", first",
        _ => "",
    };
    let family = if record.variant.starts_with("IPv6") {
        " (IPv6)"
    } else {
        ""
    };
    format!("{}{position}{family}", at(record))
}

/// ` at 1,000 Services`.
fn at(record: &Record) -> String {
    match record.services {
        1 => " at 1 Service".to_owned(),
        services => format!(" at {} Services", grouped(&services.to_string())),
    }
}
