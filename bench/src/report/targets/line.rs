//! One target's line: the worst of what was measured decides, and what was left out is named.

use crate::report::number::short;
use crate::report::ratio::Why;

/// One target and its verdict.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::report) struct Line {
    /// What it is about.
    pub(in crate::report) what: String,
    /// The limit.
    pub(in crate::report) wanted: String,
    /// The worst that was measured, and what was not.
    pub(in crate::report) measured: String,
    /// `met`, `met where measured`, `missed` or `not measured`.
    pub(in crate::report) verdict: &'static str,
}

/// A limit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
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

    /// Whether `a` is further from the limit than `b`, on the wrong side.
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

/// A figure or a ratio.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Value {
    pub(super) figure: Result<f64, Why>,
    /// Whether it is only known to be as much, or more.
    pub(super) at_least: bool,
    /// For what it is, as in ` at 1,000 Services, last`.
    pub(super) of: String,
    /// Whom it is not compared with, though it should be.
    pub(super) without: Vec<String>,
}

impl Value {
    pub(super) fn new(figure: Result<f64, Why>, of: impl Into<String>) -> Self {
        Self {
            figure,
            at_least: false,
            of: of.into(),
            without: Vec::new(),
        }
    }

    fn show(&self, value: f64, unit: &str) -> String {
        let bound = if self.at_least { "≥ " } else { "" };
        format!("{bound}{}{unit}{}", short(value), self.of)
    }
}

/// The line of a target.
pub(super) fn line(what: impl Into<String>, limit: Limit, unit: &str, values: &[Value]) -> Line {
    let mut worst: Option<(f64, &Value)> = None;
    let mut out: Vec<(String, &str)> = Vec::new();
    for value in values {
        match value.figure {
            // More than that is known of nobody.
            Ok(number) if value.at_least && !limit.holds(number) => {
                let why = format!("only known to be {}", value.show(number, unit));
                out.push((why, ""));
            }
            Ok(number) => {
                if worst.is_none_or(|(known, _)| limit.worse(number, known)) {
                    worst = Some((number, value));
                }
            }
            Err(why) => out.push((why.to_string(), &value.of)),
        }
    }
    let absent = Why::NoPeer.to_string();
    let is_open = out.iter().any(|(why, _)| *why != absent);
    let verdict = match worst {
        None => "not measured",
        Some((number, _)) if !limit.holds(number) => "missed",
        Some(_) if is_open => "met where measured",
        Some(_) => "met",
    };
    let measured = worst.map_or_else(
        || "-".to_owned(),
        |(number, value)| value.show(number, unit),
    );
    let rest = reasons(&out, worst.is_some());
    let rest = rest.into_iter().chain(withouts(values));
    let rest = rest.collect::<Vec<_>>().join("; ");
    let measured = match &*rest {
        "" => measured,
        rest => format!("{measured} ({rest})"),
    };
    Line {
        what: what.into(),
        wanted: limit.text(unit),
        measured,
        verdict,
    }
}

/// What was left out, together where the reason is the same; `places`: where, too.
fn reasons(out: &[(String, &str)], places: bool) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (why, of) in out {
        // Of a place among the Services and of connections at a time there are many.
        let of = of.split(", ").next().unwrap_or_default().trim();
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, all)) if all.contains(&of) => {}
            Some((_, all)) => all.push(of),
            None => reasons.push((why, vec![of])),
        }
    }
    let reason = |(why, all): (&str, Vec<&str>)| match &*all.join(" and ") {
        of if places && !of.is_empty() => format!("{why} {of}"),
        _ => why.to_owned(),
    };
    reasons.into_iter().map(reason).collect()
}

fn withouts(values: &[Value]) -> Option<String> {
    let mut all: Vec<&str> = Vec::new();
    for name in values.iter().flat_map(|value| &value.without) {
        if !all.contains(&&**name) {
            all.push(name);
        }
    }
    (!all.is_empty()).then(|| format!("without {}", all.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(limit: Limit, of: &[Result<f64, Why>]) -> Line {
        let value = |value: &_| Value::new(*value, " at 1 Service");
        line("", limit, "x", &of.iter().map(value).collect::<Vec<_>>())
    }

    #[test]
    fn the_worst_value_decides() {
        let most = |of: &[_]| judged(Limit::Most(1.1), of).verdict;
        assert_eq!(most(&[Ok(1.0), Ok(1.1)]), "met");
        assert_eq!(most(&[Ok(1.0), Ok(1.11)]), "missed");
        let least = |of: &[_]| judged(Limit::Least(1.5), of).verdict;
        assert_eq!(least(&[Ok(9.0), Ok(1.5)]), "met");
        assert_eq!(least(&[Ok(9.0), Ok(1.4)]), "missed");
        assert_eq!(judged(Limit::Above(1.0), &[Ok(1.0)]).verdict, "missed");
    }

    #[test]
    fn what_was_measured_is_judged_and_the_rest_is_named() {
        let judged = |of: &[_]| judged(Limit::Most(1.1), of);
        assert_eq!(judged(&[]).verdict, "not measured");
        assert_eq!(judged(&[Err(Why::Disturbed)]).verdict, "not measured");
        assert_eq!(judged(&[Ok(2.0), Err(Why::Disturbed)]).verdict, "missed");
        let partly = judged(&[Ok(1.0), Err(Why::Disturbed)]);
        assert_eq!(partly.verdict, "met where measured");
        assert_eq!(
            partly.measured,
            "1.00x at 1 Service (other load during the samples at 1 Service)"
        );
    }

    #[test]
    fn where_no_peer_can_be_there_is_nothing_to_be_ahead_of() {
        let line = judged(Limit::Above(1.0), &[Ok(1.5), Err(Why::NoPeer)]);
        assert_eq!(line.verdict, "met");
        assert_eq!(
            line.measured,
            "1.50x at 1 Service (no kube-proxy at 1 Service)"
        );
    }

    #[test]
    fn a_bound_is_marked_and_never_makes_a_target_missed() {
        let bound = |value| {
            let value = Value {
                at_least: true,
                ..Value::new(Ok(value), "")
            };
            line("", Limit::Least(5.0), "x", &[value])
        };
        let (good, open) = (bound(60.0), bound(3.0));
        assert_eq!((&*good.measured, good.verdict), ("≥ 60.0x", "met"));
        assert_eq!(
            (&*open.measured, open.verdict),
            ("- (only known to be ≥ 3.00x)", "not measured")
        );
    }

    #[test]
    fn who_is_missing_from_a_comparison_is_named_once() {
        let value = Value {
            without: vec!["kube-proxy iptables (nft) at 10,000 Services".to_owned()],
            ..Value::new(Ok(2.0), "")
        };
        let line = line("", Limit::Above(1.0), "x", &[value.clone(), value]);
        assert_eq!(
            line.measured,
            "2.00x (without kube-proxy iptables (nft) at 10,000 Services)"
        );
    }
}
