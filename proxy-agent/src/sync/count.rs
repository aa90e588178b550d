//! What a plan amounts to, in figures.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proxy_model::{MapOp, Trigger};

use crate::metrics::{FAMILIES, Metrics};

/// Observes one sync for each family that it wrote something for; `full`: after a list (SEMANTICS 12).
pub(super) fn duration(metrics: &Metrics, ops: &[MapOp], full: bool, took: Duration) {
    let seconds = took.as_secs_f64();
    for (family, wrote) in FAMILIES.into_iter().zip(families(ops)) {
        if !wrote {
            continue;
        }
        let labels = [("ip_family", family)];
        let kind = if full {
            &metrics.sync_full
        } else {
            &metrics.sync_partial
        };
        for histogram in [&metrics.sync_duration, kind] {
            histogram.get_or_create(&labels).observe(seconds);
        }
    }
}

/// Observes how long changes took from their beginning into the kernel (SEMANTICS 6.4). Those from before `started` are not
/// ours to be measured by: we were not there.
pub(super) fn programmed(metrics: &Metrics, triggers: Vec<Trigger>, started: Timestamp) {
    let now = Timestamp::now();
    for Trigger { is_v6, unix_ns } in triggers {
        let Ok(began) = Timestamp::from_nanosecond(unix_ns.into()) else {
            continue;
        };
        if began >= started {
            let took = now.duration_since(began).as_secs_f64().max(0.0);
            let [v4, v6] = FAMILIES;
            let labels = [("ip_family", if is_v6 { v6 } else { v4 })];
            metrics
                .network_programming
                .get_or_create(&labels)
                .observe(took);
        }
    }
}

/// Whether there is something for IPv4, and for IPv6. States of backends belong to either.
fn families(ops: &[MapOp]) -> [bool; 2] {
    let mut wrote = [false; 2];
    for op in ops {
        match op {
            MapOp::WriteStates(_) | MapOp::WriteTable { .. } => {}
            MapOp::WriteBackends4 { .. }
            | MapOp::UpsertFrontends4(_)
            | MapOp::DeleteFrontends4(_)
            | MapOp::SetAddrs4(_)
            | MapOp::AddRanges4 { .. }
            | MapOp::RemoveRanges4 { .. }
            | MapOp::SetCidrs4 { .. } => wrote[0] = true,
            MapOp::WriteBackends6 { .. }
            | MapOp::UpsertFrontends6(_)
            | MapOp::DeleteFrontends6(_)
            | MapOp::SetAddrs6(_)
            | MapOp::AddRanges6 { .. }
            | MapOp::RemoveRanges6 { .. }
            | MapOp::SetCidrs6 { .. } => wrote[1] = true,
        }
    }
    wrote
}

/// Counts the elements of `ops`.
pub(super) fn operations(metrics: &Metrics, ops: &[MapOp]) {
    let mut counts = BTreeMap::new();
    for op in ops {
        let (name, elements) = match op {
            MapOp::WriteStates(states) => ("write_state", states.len()),
            MapOp::WriteBackends4 { backends, .. } => ("write_backends", backends.len()),
            MapOp::WriteBackends6 { backends, .. } => ("write_backends", backends.len()),
            MapOp::UpsertFrontends4(frontends) => ("upsert_frontends", frontends.len()),
            MapOp::UpsertFrontends6(frontends) => ("upsert_frontends", frontends.len()),
            MapOp::DeleteFrontends4(frontends) => ("delete_frontends", frontends.len()),
            MapOp::DeleteFrontends6(frontends) => ("delete_frontends", frontends.len()),
            MapOp::SetAddrs4(addrs) => ("set_addresses", addrs.len()),
            MapOp::SetAddrs6(addrs) => ("set_addresses", addrs.len()),
            MapOp::AddRanges4 { ranges, .. } => ("add_ranges", ranges.len()),
            MapOp::AddRanges6 { ranges, .. } => ("add_ranges", ranges.len()),
            MapOp::RemoveRanges4 { ranges, .. } => ("remove_ranges", ranges.len()),
            MapOp::RemoveRanges6 { ranges, .. } => ("remove_ranges", ranges.len()),
            MapOp::WriteTable { .. } => ("write_table", 1),
            MapOp::SetCidrs4 { services, .. } => ("set_cidrs", services.len()),
            MapOp::SetCidrs6 { services, .. } => ("set_cidrs", services.len()),
        };
        *counts.entry(name).or_insert(0) += elements;
    }
    for (name, elements) in counts {
        let elements = u64::try_from(elements).unwrap_or(u64::MAX);
        metrics
            .map_operations
            .get_or_create(&[("operation", name)])
            .inc_by(elements);
    }
}
