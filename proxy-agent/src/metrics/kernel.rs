//! Figures that live in the kernel maps and the device thread, read at scrape time.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use proxy_common::reason::{Hook, Reason};
use proxy_kernel::aging::AgingStats;
use proxy_kernel::devices::DeviceStatus;
use proxy_kernel::maps::Occupancy;
use proxy_kernel::stale::StaleStats;

/// Where the figures come from: the kernel, or memory in tests.
pub trait KernelFigures: std::fmt::Debug + Send + Sync + 'static {
    /// Counters by reason and hook; pairs that are not listed are zero.
    fn counters(&self) -> anyhow::Result<Vec<(Reason, Hook, u64)>>;
    /// How full the maps are.
    fn occupancy(&self) -> anyhow::Result<Vec<Occupancy>>;
    /// What the device thread knows; `None` before it runs.
    fn devices(&self) -> Option<DeviceStatus>;
    /// What aging did; `None` before it runs.
    fn aging(&self) -> Option<AgingStats>;
    /// What became of sockets of gone backends; `None` where the kernel cannot list sockets.
    fn stale(&self) -> Option<StaleStats>;
}

/// Encodes [`KernelFigures`]. A source that cannot be read is logged and left out; the rest of the scrape is served.
#[derive(Debug)]
pub struct KernelCollector<F>(pub F);

impl<F: KernelFigures> Collector for KernelCollector<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self.0.counters() {
            Ok(counters) => outcomes(&mut encoder, &counters)?,
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "cannot read the packet counters"
            ),
        }
        match self.0.occupancy() {
            Ok(maps) => occupancy(&mut encoder, &maps)?,
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "cannot read how full the maps are"
            ),
        }
        if let Some(status) = self.0.devices() {
            devices(&mut encoder, &status)?;
        }
        if let Some(stats) = self.0.aging() {
            let AgingStats {
                passes: _,
                entries4: _,
                entries6: _,
                expired,
                errors,
            } = stats;
            one(
                &mut encoder,
                "kubeshunt_flows_aged",
                "Flow entries deleted because they were idle or closed",
                &ConstCounter::new(expired),
            )?;
            one(
                &mut encoder,
                "kubeshunt_flow_aging_errors",
                "Passes over the flow tables that ended with an error",
                &ConstCounter::new(errors),
            )?;
        }
        if let Some(stats) = self.0.stale() {
            stale(&mut encoder, &stats)?;
        }
        Ok(())
    }
}

fn stale(encoder: &mut DescriptorEncoder<'_>, stats: &StaleStats) -> Result<(), std::fmt::Error> {
    let StaleStats {
        passes: _,
        destroyed,
        errors,
    } = *stats;
    one(
        encoder,
        "kubeshunt_stale_sockets_destroyed",
        "Connected UDP sockets of the node destroyed because their backend was gone",
        &ConstCounter::new(destroyed),
    )?;
    one(
        encoder,
        "kubeshunt_stale_socket_errors",
        "Passes over the node's UDP sockets that ended with an error",
        &ConstCounter::new(errors),
    )
}

fn outcomes(
    encoder: &mut DescriptorEncoder<'_>,
    counters: &[(Reason, Hook, u64)],
) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "kubeshunt_outcomes",
        "What became of packets and socket calls, by reason and hook",
        None,
        MetricType::Counter,
    )?;
    for &reason in Reason::ALL {
        for &hook in Hook::ALL {
            let found = counters.iter().find(|(r, h, _)| (*r, *h) == (reason, hook));
            let count = ConstCounter::new(found.map_or(0, |(.., count)| *count));
            count.encode(
                family.encode_family(&[("reason", reason.label()), ("hook", hook.label())])?,
            )?;
        }
    }
    Ok(())
}

fn occupancy(
    encoder: &mut DescriptorEncoder<'_>,
    maps: &[Occupancy],
) -> Result<(), std::fmt::Error> {
    per_map(
        encoder,
        "kubeshunt_map_entries",
        "Used entries of a kernel map",
        maps,
        |map| map.entries,
    )?;
    per_map(
        encoder,
        "kubeshunt_map_capacity",
        "Entries that a kernel map can hold",
        maps,
        |map| map.max_entries,
    )
}

fn per_map(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    maps: &[Occupancy],
    value: impl Fn(&Occupancy) -> u64,
) -> Result<(), std::fmt::Error> {
    let mut family: MetricEncoder<'_> =
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for map in maps {
        ConstGauge::new(value(map)).encode(family.encode_family(&[("map", map.map)])?)?;
    }
    Ok(())
}

fn devices(
    encoder: &mut DescriptorEncoder<'_>,
    status: &DeviceStatus,
) -> Result<(), std::fmt::Error> {
    one(
        encoder,
        "kubeshunt_devices_wanted",
        "Network devices that should carry our programs",
        &ConstGauge::new(status.wanted),
    )?;
    one(
        encoder,
        "kubeshunt_devices_covered",
        "Network devices that do",
        &ConstGauge::new(status.covered),
    )?;
    one(
        encoder,
        "kubeshunt_devices_reattached",
        "Programs of ours that somebody removed and we put back",
        &ConstCounter::new(status.reattached),
    )?;
    let rule = u32::from(status.masquerade);
    one(
        encoder,
        "kubeshunt_masquerade_rule",
        "Whether the nftables masquerade rule is in place (1) or not needed (0)",
        &ConstGauge::new(rule),
    )
}

fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
