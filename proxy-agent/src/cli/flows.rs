//! `kube-shunt flows`: the connections that the packet path translates. Those of host processes are translated once, in
//! `connect()`, and are not here.

use std::net::SocketAddr;

use nix::time::{ClockId, clock_gettime};
use proxy_common::addr::{Addr, proto};
use proxy_common::flags::{FlowFlags, flow_state};
use proxy_common::key::FlowKey;
use proxy_common::value::Flow;
use serde::Serialize;

use super::{Row, ServiceLabel, View, endpoint, print, protocol};
use crate::config::FlowsArgs;

#[derive(Debug, Serialize)]
struct FlowRow {
    #[serde(flatten)]
    service: ServiceLabel,
    protocol: String,
    client: SocketAddr,
    frontend: SocketAddr,
    backend: SocketAddr,
    /// What the backend sees as the client, where that is not the client itself.
    source: Option<SocketAddr>,
    state: &'static str,
    idle_seconds: u32,
}

impl Row for FlowRow {
    const TITLES: &'static [&'static str] = &[
        "PROTO", "CLIENT", "FRONTEND", "BACKEND", "SOURCE", "STATE", "IDLE", "SERVICE",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.protocol.clone(),
            self.client.to_string(),
            self.frontend.to_string(),
            self.backend.to_string(),
            self.source
                .map_or_else(|| "client".to_owned(), |source| source.to_string()),
            self.state.to_owned(),
            format!("{}s", self.idle_seconds),
            self.service.to_string(),
        ]
    }
}

/// Lists the flows.
pub fn flows(args: &FlowsArgs) -> anyhow::Result<()> {
    let FlowsArgs { list, limit } = args;
    let view = View::open(list)?;
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?.tv_sec();
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    let limit = if *limit == 0 { usize::MAX } else { *limit };
    let mut rows: Vec<FlowRow> = Vec::new();
    take(&view, view.maps.flows4(), now, limit, &mut rows)?;
    take(&view, view.maps.flows6(), now, limit, &mut rows)?;
    rows.sort_by(|a, b| {
        (&a.service, a.client, a.frontend).cmp(&(&b.service, b.client, b.frontend))
    });
    print(list.output.output, &rows)
}

fn take<A: Addr>(
    view: &View<'_>,
    flows: impl Iterator<Item = std::io::Result<(FlowKey<A>, Flow<A>)>>,
    now: u32,
    limit: usize,
    rows: &mut Vec<FlowRow>,
) -> anyhow::Result<()> {
    for flow in flows {
        if rows.len() >= limit {
            break;
        }
        let (key, flow) = flow?;
        // One row a connection: the entry for its requests.
        if flow.flags.has(FlowFlags::REPLY)
            || !view.wanted(flow.service, &[key.src.ip(), key.dst.ip(), flow.dst.ip()])
        {
            continue;
        }
        let (client, source) = (endpoint(key.src, key.sport), endpoint(flow.src, flow.sport));
        rows.push(FlowRow {
            service: view.names.label(flow.service),
            protocol: protocol(key.proto),
            client,
            frontend: endpoint(key.dst, key.dport),
            backend: endpoint(flow.dst, flow.dport),
            source: (source != client).then_some(source),
            state: state(key.proto, flow.state),
            idle_seconds: now.saturating_sub(flow.last_seen),
        });
    }
    Ok(())
}

fn state(protocol: u8, state: u16) -> &'static str {
    if flow_state::closed(state) {
        "closed"
    } else if state & (flow_state::FIN_CLIENT | flow_state::FIN_BACKEND) != 0 {
        "closing"
    } else if protocol == proto::TCP {
        "established"
    } else {
        "active"
    }
}
