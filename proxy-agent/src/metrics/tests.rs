//! docs/metrics.md and the registry say the same.

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::reason::{Hook, Reason};
use proxy_kernel::aging::AgingStats;
use proxy_kernel::devices::DeviceStatus;
use proxy_kernel::maps::Occupancy;
use proxy_kernel::stale::StaleStats;

use super::*;

const DOC: &str = include_str!("../../../docs/metrics.md");

#[derive(Debug)]
struct Canned;

impl KernelFigures for Canned {
    fn counters(&self) -> anyhow::Result<Vec<(Reason, Hook, u64)>> {
        Ok(vec![(Reason::NewFlow, Hook::TcIngress, 7)])
    }

    fn occupancy(&self) -> anyhow::Result<Vec<Occupancy>> {
        Ok(vec![Occupancy {
            map: "FLOWS_V4",
            entries: 3,
            max_entries: 10,
        }])
    }

    fn devices(&self) -> Option<DeviceStatus> {
        Some(DeviceStatus {
            wanted: 3,
            covered: 2,
            ..DeviceStatus::default()
        })
    }

    fn aging(&self) -> Option<AgingStats> {
        Some(AgingStats {
            expired: 11,
            ..AgingStats::default()
        })
    }

    fn stale(&self) -> Option<StaleStats> {
        Some(StaleStats {
            destroyed: 12,
            ..StaleStats::default()
        })
    }
}

fn scrape() -> String {
    let metrics = Metrics::default();
    let mut registry = metrics.registry();
    metrics
        .object_errors
        .get_or_create(&[("kind", "no_ports")])
        .inc();
    let answer = [("code", "200"), ("host", "h"), ("method", "GET")]
        .map(|(name, value)| (name, value.to_owned()));
    metrics.api_requests.get_or_create(&answer).inc();
    let asked = [("host", "h"), ("verb", "GET")].map(|(name, value)| (name, value.to_owned()));
    metrics
        .api_request_duration
        .get_or_create(&asked)
        .observe(0.1);
    let events = crate::events::Events::nowhere("n1");
    events.register(&mut registry);
    registry.register_collector(Box::new(ProcessCollector::default()));
    registry.register_collector(Box::new(KernelCollector(Canned)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

/// Name as Prometheus stores it, to type and label names.
fn registered() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = scrape();
    let mut families = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            families.insert(
                name.to_owned(),
                (format!("{name}{suffix}"), kind.to_owned(), BTreeSet::new()),
            );
        } else if let Some((sample, rest)) = line.split_once('{') {
            let family = families
                .iter_mut()
                .filter(|(name, _)| sample.starts_with(name.as_str()))
                .max_by_key(|(name, _)| name.len());
            let labels = rest
                .split("=\"")
                .filter_map(|part| part.rsplit(['"', ',']).next())
                .filter(|name| !name.is_empty() && *name != "le");
            if let Some((_, (_, _, known))) = family {
                known.extend(
                    labels
                        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
                        .map(str::to_owned),
                );
            }
        }
    }
    families
        .into_values()
        .map(|(name, kind, labels)| (name, (kind, labels)))
        .collect()
}

/// The rows of the document's first table.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = DOC.lines().filter_map(|line| line.strip_prefix("| `"));
    let parse = |row: &str| {
        let (name, rest) = row.split_once("` |")?;
        let mut cells = rest.split('|').map(str::trim);
        let (kind, labels) = (cells.next()?, cells.next()?);
        let labels = labels
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        Some((name.to_owned(), (kind.to_owned(), labels)))
    };
    // The other tables have two columns.
    rows.filter_map(parse)
        .filter(|(_, (kind, _))| ["counter", "gauge", "histogram", "info"].contains(&kind.as_str()))
        .collect()
}

#[test]
fn document_and_registry_agree() {
    let (registered, documented) = (registered(), documented());
    assert!(
        registered.len() > 30,
        "only {} metrics seen",
        registered.len()
    );
    for (name, of) in &registered {
        assert_eq!(
            documented.get(name),
            Some(of),
            "{name}: type or labels differ from docs/metrics.md"
        );
    }
    for name in documented.keys() {
        assert!(
            registered.contains_key(name),
            "docs/metrics.md lists {name}, which does not exist"
        );
    }
}

#[test]
fn document_lists_every_reason() {
    for reason in Reason::ALL {
        assert!(
            DOC.contains(&format!("`{}`", reason.label())),
            "docs/metrics.md does not explain reason {}",
            reason.label()
        );
    }
}

#[test]
fn figures_of_the_kernel_come_through_and_absent_ones_are_zero() {
    let text = scrape();
    for line in [
        r#"kubeshunt_outcomes_total{reason="new_flow",hook="tc_ingress"} 7"#,
        r#"kubeshunt_outcomes_total{reason="new_flow",hook="xdp"} 0"#,
        r#"kubeshunt_map_entries{map="FLOWS_V4"} 3"#,
        "kubeshunt_devices_covered 2",
        "kubeshunt_flows_aged_total 11",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is missing in:\n{text}"
        );
    }
}

#[test]
fn process_figures_are_real() {
    let text = scrape();
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing"))
            .parse()
            .unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(
        value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds")
    );
    assert!((unix_seconds(SystemTime::now()) - value("process_start_time_seconds")).abs() < 60.0);
}

#[test]
fn known_label_values_start_at_zero() {
    let text = scrape();
    for line in [
        r#"kubeshunt_relists_total{kind="Service"} 0"#,
        r#"kubeproxy_proxy_healthz_total{code="503"} 0"#,
        r#"kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv6",traffic_policy="external"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing");
    }
}

/// SEMANTICS 12: of kube-proxy's metrics that exist here, name, type, labels, and upper bounds of the buckets.
#[test]
fn semantics_12_kube_proxys_metrics_have_its_types_labels_and_buckets() {
    let sync: Vec<f64> = (0..15).map(|k| 0.001 * f64::from(1 << k)).collect();
    let programming = [0.25, 0.5]
        .into_iter()
        .chain((1..60).map(f64::from))
        .chain((60..120).step_by(5).map(f64::from))
        .chain((120..=300).step_by(30).map(f64::from))
        .collect();
    let none = Vec::new();
    let family = &["ip_family"][..];
    let rows: [(&str, &str, &[&str], &Vec<f64>); 13] = [
        (
            "sync_proxy_rules_duration_seconds",
            "histogram",
            family,
            &sync,
        ),
        (
            "sync_full_proxy_rules_duration_seconds",
            "histogram",
            family,
            &sync,
        ),
        (
            "sync_partial_proxy_rules_duration_seconds",
            "histogram",
            family,
            &sync,
        ),
        (
            "network_programming_duration_seconds",
            "histogram",
            family,
            &programming,
        ),
        (
            "sync_proxy_rules_last_timestamp_seconds",
            "gauge",
            family,
            &none,
        ),
        (
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "gauge",
            family,
            &none,
        ),
        (
            "sync_proxy_rules_endpoint_changes_pending",
            "gauge",
            &[],
            &none,
        ),
        (
            "sync_proxy_rules_endpoint_changes_total",
            "counter",
            &[],
            &none,
        ),
        (
            "sync_proxy_rules_service_changes_pending",
            "gauge",
            &[],
            &none,
        ),
        (
            "sync_proxy_rules_service_changes_total",
            "counter",
            &[],
            &none,
        ),
        (
            "sync_proxy_rules_no_local_endpoints_total",
            "gauge",
            &["ip_family", "traffic_policy"],
            &none,
        ),
        ("proxy_healthz_total", "counter", &["code"], &none),
        ("proxy_livez_total", "counter", &["code"], &none),
    ];
    let (text, known) = (scrape(), registered());
    for (name, kind, labels, buckets) in rows {
        let name = format!("kubeproxy_{name}");
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        assert_eq!(known.get(&name), Some(&(kind.to_owned(), labels)), "{name}");
        let start = format!("{name}_bucket{{le=\"");
        let bounds: Vec<f64> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&start)?.split('"').next()?.parse().ok())
            .collect();
        for series in bounds.chunk_by(|lower, upper| lower < upper) {
            let finite = series.iter().filter(|bound| bound.is_finite());
            let same = finite.clone().count() == buckets.len()
                && finite.zip(buckets).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(same, "{name}: {series:?} are not {buckets:?}");
        }
        assert_eq!(bounds.is_empty(), kind != "histogram", "{name}");
    }
}
