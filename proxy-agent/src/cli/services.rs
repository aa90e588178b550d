//! `kube-shunt services`: every frontend in the kernel, by Service.

use std::net::SocketAddr;

use proxy_common::addr::Addr;
use proxy_common::flags::FrontendFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Class, Frontend};
use serde::Serialize;

use super::{Row, ServiceLabel, View, endpoint, print, protocol};
use crate::config::ListArgs;

#[derive(Debug, Serialize)]
struct ServiceRow {
    #[serde(flatten)]
    service: ServiceLabel,
    kind: &'static str,
    frontend: SocketAddr,
    protocol: String,
    backends_inside: u32,
    backends_outside: u32,
    backends_host: u32,
    affinity_seconds: u32,
    /// No endpoint at all: clients are refused. Otherwise an empty set drops.
    rejects: bool,
}

impl Row for ServiceRow {
    const TITLES: &'static [&'static str] = &[
        "ID", "SERVICE", "TYPE", "FRONTEND", "INSIDE", "OUTSIDE", "HOST", "AFFINITY",
    ];

    fn cells(&self) -> Vec<String> {
        let count = |backends: u32| match backends {
            0 if self.rejects => "reject".to_owned(),
            0 => "drop".to_owned(),
            backends => backends.to_string(),
        };
        let affinity = if self.affinity_seconds == 0 {
            "-".to_owned()
        } else {
            format!("{}s", self.affinity_seconds)
        };
        vec![
            self.service.service_id.to_string(),
            self.service.to_string(),
            self.kind.to_owned(),
            format!("{}/{}", self.frontend, self.protocol),
            count(self.backends_inside),
            count(self.backends_outside),
            count(self.backends_host),
            affinity,
        ]
    }
}

/// Lists the frontends.
pub fn services(args: &ListArgs) -> anyhow::Result<()> {
    let view = View::open(args)?;
    let dump = view.maps.dump()?;
    let mut rows: Vec<ServiceRow> = Vec::new();
    rows.extend(
        dump.frontends4
            .iter()
            .filter_map(|(key, frontend)| row(&view, key, frontend)),
    );
    rows.extend(
        dump.frontends6
            .iter()
            .filter_map(|(key, frontend)| row(&view, key, frontend)),
    );
    rows.sort_by(|a, b| (&a.service, a.kind, a.frontend).cmp(&(&b.service, b.kind, b.frontend)));
    print(args.output.output, &rows)
}

fn row<A: Addr>(view: &View<'_>, key: &FrontendKey<A>, frontend: &Frontend) -> Option<ServiceRow> {
    let kind = if frontend.flags.has(FrontendFlags::NODE_PORT) {
        "NodePort"
    } else if frontend.flags.has(FrontendFlags::EXTERNAL) {
        "External"
    } else {
        "ClusterIP"
    };
    view.wanted(frontend.service, &[key.addr.ip()])
        .then(|| ServiceRow {
            service: view.names.label(frontend.service),
            kind,
            frontend: endpoint(key.addr, key.port),
            protocol: protocol(key.proto),
            backends_inside: frontend.slice(Class::Inside).count,
            backends_outside: frontend.slice(Class::Outside).count,
            backends_host: frontend.slice(Class::Host).count,
            affinity_seconds: frontend.affinity_seconds,
            rejects: frontend.flags.has(FrontendFlags::REJECT),
        })
}
