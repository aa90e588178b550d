//! The commands that look: they read the pinned maps and so work without the agent; only names come from it.

mod backends;
mod cleanup;
mod flows;
pub(crate) mod names;
mod services;
mod table;
mod version;

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use proxy_common::addr::proto;
use proxy_kernel::Maps;
use serde::Serialize;

use crate::config::{ListArgs, Output};
use names::Names;

pub use backends::backends;
pub use cleanup::cleanup;
pub use flows::flows;
pub use services::services;
pub use version::version;

/// One line of a table, and one element of the JSON document.
trait Row: Serialize {
    /// Column titles.
    const TITLES: &'static [&'static str];
    /// The cells, one for each title.
    fn cells(&self) -> Vec<String>;
}

/// Prints rows. A reader that closes the pipe early (`| head`) is no error.
fn print<R: Row>(output: Output, rows: &[R]) -> anyhow::Result<()> {
    let text = match output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(rows)?),
        Output::Table => table::render(R::TITLES, rows.iter().map(Row::cells)),
    };
    write_out(&text)
}

fn write_out(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// The maps and the names, and which of it is asked for.
struct View<'a> {
    maps: Maps,
    names: Names,
    args: &'a ListArgs,
}

impl<'a> View<'a> {
    fn open(args: &'a ListArgs) -> anyhow::Result<Self> {
        let maps = Maps::open(&args.pins.bpf_root)?;
        let names = Names::ask(&args.pins.run_dir);
        if !names.known() {
            let by_name = args.namespace.is_some()
                || args
                    .services
                    .iter()
                    .any(|service| service.parse::<u32>().is_err());
            anyhow::ensure!(
                !by_name,
                "the agent does not answer, so names are not known: choose by number or --address"
            );
            eprintln!("kube-shunt: the agent does not answer; Services are shown by number");
        }
        Ok(Self { maps, names, args })
    }

    /// Whether a Service, with these addresses in its row, is asked for.
    fn wanted(&self, service: u32, addresses: &[IpAddr]) -> bool {
        let ListArgs {
            pins: _,
            output: _,
            namespace,
            address,
            services,
        } = self.args;
        let name = self.names.get(service);
        let namespace_fits = namespace
            .as_ref()
            .is_none_or(|wanted| name.is_some_and(|name| name.namespace == *wanted));
        let address_fits = address.is_none_or(|wanted| addresses.contains(&wanted));
        let fits = |wanted: &String| {
            wanted.parse() == Ok(service)
                || name.is_some_and(|name| match wanted.split_once('/') {
                    Some((namespace, wanted)) => name.namespace == namespace && name.name == wanted,
                    None => name.name == *wanted,
                })
        };
        namespace_fits && address_fits && (services.is_empty() || services.iter().any(fits))
    }
}

/// A Service as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct ServiceLabel {
    namespace: Option<String>,
    name: Option<String>,
    port_name: Option<String>,
    service_id: u32,
}

impl fmt::Display for ServiceLabel {
    /// `namespace/name:port`, `#7` of a Service whose name is not known, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(namespace), Some(name)) = (&self.namespace, &self.name) else {
            return match self.service_id {
                0 => f.write_str("none"),
                id => write!(f, "#{id}"),
            };
        };
        write!(f, "{namespace}/{name}")?;
        match self.port_name.as_deref() {
            None | Some("") => Ok(()),
            Some(port) => write!(f, ":{port}"),
        }
    }
}

/// A protocol as Kubernetes writes it.
fn protocol(number: u8) -> String {
    match number {
        proto::TCP => "TCP".to_owned(),
        proto::UDP => "UDP".to_owned(),
        proto::SCTP => "SCTP".to_owned(),
        other => other.to_string(),
    }
}

/// An address with its port, as it is typed: IPv6 in brackets.
fn endpoint(addr: impl proxy_common::addr::Addr, port: proxy_common::be::Be16) -> SocketAddr {
    SocketAddr::new(addr.ip(), port.get())
}

#[cfg(test)]
mod tests;
