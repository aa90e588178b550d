//! What cannot work in a `KubeShuntConfiguration`: the field, the value, what is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;

use proxy_kernel::{NamePattern, XdpDevices};

use super::super::algorithm;
use super::super::error::FieldError;
use super::KubeShuntConfiguration;

/// Most entries of most maps.
const ENTRIES: RangeInclusive<i64> = 64..=16_777_216;

/// All that is wrong, in the order of the document.
pub(crate) fn validate(config: &KubeShuntConfiguration) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |field: &str, value: &dyn Display, outcome: Result<(), String>| {
        errors.extend(
            outcome
                .err()
                .map(|allowed| FieldError::new(field, value, &allowed)),
        );
    };
    let KubeShuntConfiguration {
        kind: _,
        api_version: _,
        manifests: _,
        api_servers,
        list_page_size,
        watch_timeout_seconds,
        watch_backoff_max_milliseconds,
        source_ip,
        host_routing,
        algorithm,
        local_detector,
        cgroup_root: _,
        xdp,
        devices,
        maps,
        health_timeout_seconds,
        sync_batch_changes,
    } = config;
    for (index, server) in api_servers.iter().enumerate() {
        check(&format!("apiServers[{index}]"), server, url(server));
    }
    let mut range = |field: &str, value: i64, range: RangeInclusive<i64>| {
        let allowed = || format!("must be within {} to {}", range.start(), range.end());
        check(
            field,
            &value,
            range.contains(&value).then_some(()).ok_or_else(allowed),
        );
    };
    range("listPageSize", *list_page_size, 1..=10_000);
    range("watchTimeoutSeconds", *watch_timeout_seconds, 10..=3_600);
    range(
        "watchBackoffMaxMilliseconds",
        *watch_backoff_max_milliseconds,
        100..=60_000,
    );
    range("maps.frontends", maps.frontends, ENTRIES);
    range("maps.backends", maps.backends, ENTRIES);
    range("maps.flows", maps.flows, 64..=67_108_864);
    range("maps.embryos", maps.embryos, ENTRIES);
    if *health_timeout_seconds != 0 {
        range("healthTimeoutSeconds", *health_timeout_seconds, 5..=3_600);
    }
    range("syncBatchChanges", *sync_batch_changes, 1..=1_000_000);
    check(
        "sourceIP",
        source_ip,
        one_of(source_ip, &["preserve", "kube-proxy"]),
    );
    check(
        "hostRouting",
        host_routing,
        one_of(host_routing, &["stack", "bpf"]),
    );
    if !algorithm.is_empty() {
        check(
            "algorithm",
            algorithm,
            algorithm::of_name(algorithm).map(drop),
        );
    }
    check(
        "localDetector",
        local_detector,
        one_of(local_detector, &["auto", "device", "kube-proxy"]),
    );
    check("xdp", xdp, xdp_devices(xdp).map(drop));
    for (list, patterns) in [("include", &devices.include), ("exclude", &devices.exclude)] {
        for (index, pattern) in patterns.iter().enumerate() {
            let parsed = pattern
                .parse::<NamePattern>()
                .map_err(|error| error.to_string());
            check(
                &format!("devices.{list}[{index}]"),
                pattern,
                parsed.map(drop),
            );
        }
    }
    errors
}

fn one_of(value: &str, allowed: &[&str]) -> Result<(), String> {
    allowed
        .contains(&value)
        .then_some(())
        .ok_or_else(|| format!("must be one of {}", allowed.join(", ")))
}

fn url(text: &str) -> Result<(), String> {
    let uri: Option<http::Uri> = text.parse().ok();
    let good = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some()
    });
    good.then_some(())
        .ok_or_else(|| "must be a URL as in https://192.0.2.10:6443".to_owned())
}

/// Names of network devices are 1 to 15 bytes without '/', ':' and white space (`dev_valid_name` in the kernel).
pub(in super::super) fn xdp_devices(text: &str) -> Result<XdpDevices, String> {
    let devices: XdpDevices = text.parse().unwrap_or_default();
    let XdpDevices::Named(names) = &devices else {
        return Ok(devices);
    };
    let valid = |name: &String| {
        (1..=15).contains(&name.len())
            && !name.contains(['/', ':'])
            && !name.contains(char::is_whitespace)
            && !matches!(name.as_str(), "none" | "auto")
    };
    if !names.is_empty() && names.iter().all(valid) {
        Ok(devices)
    } else {
        Err("must be none, auto, or device names with commas as in eth0,eth1".to_owned())
    }
}
