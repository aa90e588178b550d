//! `kube-shunt backends`: where the kernel sends new connections, by Service.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use proxy_common::addr::Addr;
use proxy_common::flags::BackendFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Class, Frontend, backend_state};
use serde::Serialize;

use super::{Row, ServiceLabel, View, endpoint, print, protocol};
use crate::config::BackendsArgs;

#[derive(Debug, Serialize)]
struct BackendRow {
    #[serde(flatten)]
    service: ServiceLabel,
    backend: SocketAddr,
    protocol: String,
    backend_id: u32,
    generation: u32,
    local: bool,
    state: &'static str,
}

impl Row for BackendRow {
    const TITLES: &'static [&'static str] =
        &["SERVICE", "BACKEND", "ID", "GENERATION", "LOCAL", "STATE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.service.to_string(),
            format!("{}/{}", self.backend, self.protocol),
            self.backend_id.to_string(),
            self.generation.to_string(),
            if self.local { "yes" } else { "no" }.to_owned(),
            self.state.to_owned(),
        ]
    }
}

/// Lists the backends.
pub fn backends(args: &BackendsArgs) -> anyhow::Result<()> {
    let BackendsArgs { list, from } = args;
    let view = View::open(list)?;
    let dump = view.maps.dump()?;
    let states: HashMap<u32, BackendState> = dump.states.into_iter().collect();
    // Frontends of one Service share their backends: one row for each.
    let mut rows = BTreeMap::new();
    collect(
        &view,
        from.class(),
        &dump.frontends4,
        dump.backends4,
        &states,
        &mut rows,
    );
    collect(
        &view,
        from.class(),
        &dump.frontends6,
        dump.backends6,
        &states,
        &mut rows,
    );
    let rows: Vec<BackendRow> = rows.into_values().collect();
    print(list.output.output, &rows)
}

type Rows = BTreeMap<(ServiceLabel, SocketAddr), BackendRow>;

fn collect<A: Addr>(
    view: &View<'_>,
    class: Class,
    frontends: &[(FrontendKey<A>, Frontend)],
    slots: Vec<(u32, Backend<A>)>,
    states: &HashMap<u32, BackendState>,
    rows: &mut Rows,
) {
    let slots: HashMap<u32, Backend<A>> = slots.into_iter().collect();
    for (key, frontend) in frontends {
        let slice = frontend.slice(class);
        for backend in (slice.offset..slice.offset.saturating_add(slice.count))
            .filter_map(|slot| slots.get(&slot))
        {
            if !view.wanted(frontend.service, &[key.addr.ip(), backend.addr.ip()]) {
                continue;
            }
            let service = view.names.label(frontend.service);
            let address = endpoint(backend.addr, backend.port);
            let row = BackendRow {
                service: service.clone(),
                backend: address,
                protocol: protocol(key.proto),
                backend_id: backend.id,
                generation: backend.generation,
                local: backend.flags.has(BackendFlags::LOCAL),
                state: state(backend, states.get(&backend.id)),
            };
            rows.insert((service, address), row);
        }
    }
}

fn state<A>(backend: &Backend<A>, state: Option<&BackendState>) -> &'static str {
    match state {
        Some(state) if state.generation != backend.generation => "stale",
        Some(BackendState {
            state: backend_state::ACTIVE,
            ..
        }) => "active",
        Some(BackendState {
            state: backend_state::DRAINING,
            ..
        }) => "draining",
        Some(_) | None => "gone",
    }
}
