//! The endpoints of default/kubernetes, kept on disk: after a reboot nobody serves the `ClusterIP` that leads to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use http::Uri;
use proxy_model::raw;
use tracing::warn;

/// The Service whose endpoints are the API servers.
const SERVICE: (&str, &str) = ("default", "kubernetes");
/// The label that ties a slice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Its port; a slice that does not name it has one port alone.
const PORT: &str = "https";

/// The addresses of the API servers, by the slice that names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(BTreeMap<String, BTreeSet<SocketAddr>>);

impl Addresses {
    /// Takes a slice; whether it changed anything. Slices of other Services are ignored.
    pub fn upsert(&mut self, slice: &raw::EndpointSlice) -> bool {
        let raw::Meta {
            namespace,
            name,
            labels,
            ..
        } = &slice.metadata;
        if namespace != SERVICE.0 || labels.get(SERVICE_NAME).map(String::as_str) != Some(SERVICE.1)
        {
            return false;
        }
        let addresses = sockets(slice);
        self.0.insert(name.clone(), addresses.clone()) != Some(addresses)
    }

    /// A slice is gone; whether that changed anything.
    pub fn remove(&mut self, namespace: &str, name: &str) -> bool {
        namespace == SERVICE.0 && self.0.remove(name).is_some()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }

    /// As URLs, each once.
    pub fn urls(&self) -> Vec<Uri> {
        let sockets: BTreeSet<&SocketAddr> = self.0.values().flatten().collect();
        let urls = sockets
            .into_iter()
            .map(|socket| format!("https://{socket}").parse());
        urls.filter_map(Result::ok).collect()
    }
}

impl FromIterator<SocketAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(sockets: I) -> Self {
        Self(BTreeMap::from([(
            String::new(),
            sockets.into_iter().collect(),
        )]))
    }
}

fn sockets(slice: &raw::EndpointSlice) -> BTreeSet<SocketAddr> {
    let named = slice
        .ports
        .iter()
        .find(|port| port.name.as_deref() == Some(PORT));
    let port = named
        .or_else(|| slice.ports.first())
        .and_then(|port| port.port);
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else {
        return BTreeSet::new();
    };
    let ready = |endpoint: &&raw::Endpoint| endpoint.conditions.ready != Some(false);
    let addresses = slice.endpoints.iter().filter(ready);
    let addresses = addresses.filter_map(|endpoint| endpoint.addresses.first()?.parse().ok());
    addresses.map(|ip| SocketAddr::new(ip, port)).collect()
}

/// The file that outlives the agent and the boot.
#[derive(Clone, Debug)]
pub struct Remembered(PathBuf);

impl Remembered {
    /// In the file at `path`, which need not exist.
    pub const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// What an earlier run saw; nothing if there was none, or its file makes no sense.
    pub fn read(&self) -> Addresses {
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Addresses::default();
            }
            Err(error) => {
                warn!(file = %self.0.display(), %error, "cannot read the remembered API servers");
                return Addresses::default();
            }
        };
        match serde_json::from_str::<Vec<SocketAddr>>(&text) {
            Ok(sockets) => sockets.into_iter().collect(),
            Err(error) => {
                warn!(file = %self.0.display(), %error, "the remembered API servers make no sense");
                Addresses::default()
            }
        }
    }

    /// Replaces the file as a whole. A failure costs a later start, not this run.
    pub fn write(&self, addresses: &Addresses) {
        if let Err(error) = self.replace(addresses) {
            warn!(
                error = format!("{error:#}"),
                "cannot remember the API servers for the next start"
            );
        }
    }

    fn replace(&self, addresses: &Addresses) -> anyhow::Result<()> {
        let sockets: BTreeSet<&SocketAddr> = addresses.0.values().flatten().collect();
        let dir = self.0.parent().context("the file has no directory")?;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let fresh = self.0.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec(&sockets)?)
            .with_context(|| format!("cannot write {}", fresh.display()))?;
        std::fs::rename(&fresh, &self.0)
            .with_context(|| format!("cannot put {} in place", self.0.display()))
    }
}
