//! From what clap parsed to a [`Config`]: each check names the flag, the value and what is allowed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxy_kernel::{Capacities, DeviceOverrides, NodePortAddresses, XdpDevices};

use super::{Config, PinArgs, RunArgs, Source, WatchConfig};

/// A setting that cannot work. Syntax errors are clap's; these need the whole picture.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The node name is not one that Kubernetes allows.
    #[error(
        "--node-name {0:?}: a node name is a DNS name: lower-case letters, digits, '-' and '.', at most 253 of them, and begins and ends with a letter or digit"
    )]
    NodeName(String),
    /// The host name could not be read, so there is no default.
    #[error("--node-name is not set, and the host name cannot be read: {0}")]
    HostName(String),
    /// Not a directory.
    #[error("{flag} {path:?}: must be an existing directory")]
    NotADirectory {
        /// The flag.
        flag: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// Not a file.
    #[error("{flag} {path:?}: must be an existing file")]
    NotAFile {
        /// The flag.
        flag: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// Relative.
    #[error("{flag} {path:?}: must be an absolute path")]
    NotAbsolute {
        /// The flag.
        flag: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// Both servers on one address.
    #[error("--healthz-bind-address and --metrics-bind-address are both {0}: use two ports")]
    SamePort(SocketAddr),
}

/// An address to listen on; `None` turns the server off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress(pub Option<SocketAddr>);

impl RunArgs {
    /// Checks what clap cannot and gives the settings their final types.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let Self {
            pins: PinArgs { bpf_root, run_dir },
            manifests,
            kubeconfig,
            apiserver,
            list_page_size,
            watch_timeout_seconds,
            watch_backoff_max_milliseconds,
            node_name,
            cgroup_root,
            nodeport_addresses,
            xdp,
            device_include,
            device_exclude,
            healthz_bind_address: BindAddress(healthz_bind_address),
            metrics_bind_address: BindAddress(metrics_bind_address),
            health_timeout_seconds,
            map_frontends_entries,
            map_backends_entries,
            map_flows_entries,
            map_embryos_entries,
            sync_batch_changes,
        } = self;

        absolute("--bpf-root", &bpf_root)?;
        absolute("--run-dir", &run_dir)?;
        if let Some(dir) = &cgroup_root {
            directory("--cgroup-root", dir)?;
        }
        if let (Some(a), Some(b)) = (healthz_bind_address, metrics_bind_address)
            && a == b
            && a.port() != 0
        {
            return Err(ConfigError::SamePort(a));
        }
        Ok(Config {
            source: source(manifests, kubeconfig, apiserver)?,
            node_name: node_name_or_host(node_name)?,
            bpf_root,
            cgroup_root,
            run_dir,
            healthz_bind_address,
            metrics_bind_address,
            nodeport_addresses,
            xdp,
            devices: DeviceOverrides {
                include: device_include,
                exclude: device_exclude,
            },
            capacities: Capacities {
                frontends: map_frontends_entries,
                backends: map_backends_entries,
                flows: map_flows_entries,
                embryos: map_embryos_entries,
                ..Capacities::default()
            },
            watch: WatchConfig {
                page_size: list_page_size,
                timeout_seconds: watch_timeout_seconds,
                backoff_max: Duration::from_millis(watch_backoff_max_milliseconds),
            },
            health_timeout: Duration::from_secs(health_timeout_seconds),
            sync_batch_changes: usize::try_from(sync_batch_changes).unwrap_or(usize::MAX),
        })
    }
}

fn source(
    manifests: Option<PathBuf>,
    kubeconfig: Option<PathBuf>,
    apiserver: Option<String>,
) -> Result<Source, ConfigError> {
    if let Some(dir) = manifests {
        directory("--manifests", &dir)?;
        return Ok(Source::Manifests(dir));
    }
    if let Some(file) = kubeconfig.as_ref().filter(|file| !file.is_file()) {
        return Err(ConfigError::NotAFile {
            flag: "--kubeconfig",
            path: file.clone(),
        });
    }
    Ok(Source::Cluster {
        kubeconfig,
        apiserver,
    })
}

/// As kube-proxy does it (SEMANTICS 13.2): trimmed and in lower case, whether given or the host's.
fn node_name_or_host(flag: Option<String>) -> Result<String, ConfigError> {
    let name = match flag {
        Some(name) => name,
        None => nix::unistd::gethostname()
            .map_err(|error| ConfigError::HostName(error.to_string()))?
            .to_string_lossy()
            .into_owned(),
    };
    let name = name.trim().to_lowercase();
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    if inner && name.len() <= 253 && end(name.chars().next()) && end(name.chars().last()) {
        Ok(name)
    } else {
        Err(ConfigError::NodeName(name))
    }
}

fn absolute(flag: &'static str, path: &Path) -> Result<(), ConfigError> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(ConfigError::NotAbsolute {
            flag,
            path: path.to_owned(),
        })
    }
}

fn directory(flag: &'static str, path: &Path) -> Result<(), ConfigError> {
    if path.is_dir() {
        Ok(())
    } else {
        Err(ConfigError::NotADirectory {
            flag,
            path: path.to_owned(),
        })
    }
}

pub(super) fn bind_address(text: &str) -> Result<BindAddress, String> {
    if text.is_empty() {
        return Ok(BindAddress(None));
    }
    text.parse()
        .map(|address| BindAddress(Some(address)))
        .map_err(|_| {
            "expected IP:PORT as in 0.0.0.0:10256 or [::1]:10249, or an empty value to turn it off"
                .to_owned()
        })
}

pub(super) fn nodeport_addresses(text: &str) -> Result<NodePortAddresses, String> {
    text.parse()
        .map_err(|error: proxy_kernel::options::ParseError| error.to_string())
}

/// Names of network devices are 1 to 15 bytes without '/', ':' and white space (`dev_valid_name` in the kernel).
pub(super) fn xdp(text: &str) -> Result<XdpDevices, String> {
    let XdpDevices::Named(names) = text.parse().unwrap_or_default() else {
        return Ok(text.parse().unwrap_or_default());
    };
    let reserved = |name: &str| matches!(name, "none" | "auto");
    let valid = |name: &String| {
        (1..=15).contains(&name.len())
            && !name.contains(['/', ':'])
            && !name.contains(char::is_whitespace)
    };
    if !names.is_empty() && names.iter().all(|name| valid(name) && !reserved(name)) {
        Ok(XdpDevices::Named(names))
    } else {
        Err("expected none, auto, or device names with commas as in eth0,eth1".to_owned())
    }
}

pub(super) fn url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text
        .parse()
        .map_err(|error| format!("not a URL: {error}"))?;
    match uri.scheme_str() {
        Some("https" | "http") if uri.host().is_some() => Ok(text.to_owned()),
        _ => Err("expected a URL as in https://192.0.2.10:6443".to_owned()),
    }
}

pub(super) fn log_level(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| {
            format!(
                "{error}; expected error, warn, info, debug, trace, or MODULE=LEVEL with commas"
            )
        })
}
