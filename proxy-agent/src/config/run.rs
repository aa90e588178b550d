//! What `kube-shunt run` takes: a few flags of its own, those of the tables, and how they meet the files of `--config`.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments are help texts here; a terminal shows backticks"
)]

use std::path::{Path, PathBuf};

use clap::Args;

use super::error::ConfigError;
use super::file::Documents;
use super::given::Given;
use super::kube_proxy::{self, KubeProxyConfiguration};
use super::kube_shunt::KubeShuntConfiguration;
use super::resolve::{Resolved, resolve};
use super::{
    CleanupArgs, Config, ConfigFile, LogArgs, LogFormat, Output, OutputArgs, PinArgs, Source,
    build, go,
};

/// What `run` takes.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub pins: PinArgs,
    /// Read settings from this file: a KubeProxyConfiguration, a KubeShuntConfiguration, or both as two YAML documents
    ///
    /// May be given twice. As with kube-proxy, a KubeProxyConfiguration there replaces kube-proxy's flags but for those of
    /// the log, --hostname-override and --master; flags of kube-shunt win over a KubeShuntConfiguration. The agent ends
    /// when the file changes, so that its supervisor starts it with the new settings.
    #[arg(
        long,
        env = "KUBE_SHUNT_CONFIG",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub config: Vec<PathBuf>,
    /// This node's name in the cluster [default: the host name in lower case]
    #[arg(
        long,
        alias = "hostname-override",
        env = "KUBE_SHUNT_NODE_NAME",
        value_name = "NAME"
    )]
    pub node_name: Option<String>,
    /// Directory that outlives a reboot: the API servers' addresses are kept there for the next start
    #[arg(
        long,
        env = "KUBE_SHUNT_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/kube-shunt"
    )]
    pub state_dir: PathBuf,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc here would become the help text of the flags"
    )]
    pub given: Given,
}

/// What to do with the settings.
#[derive(Clone, Debug)]
pub enum Action {
    /// Run the agent.
    Run(Box<Config>),
    /// Set sysctls and exit (`--init-only`).
    Init(Box<Config>),
    /// Remove every trace and exit (`--cleanup`).
    Cleanup(CleanupArgs),
    /// Write the settings to a file and exit (`--write-config-to`).
    Write(PathBuf, Box<Resolved>),
}

impl RunArgs {
    /// Reads the files, and gives all settings their final types. `log` is what the command line says about the log.
    pub fn action(self, log: LogArgs) -> Result<Action, ConfigError> {
        if let Some(file) = self
            .given
            .text("write-config-to")
            .filter(|file| !file.is_empty())
        {
            let resolved = resolve(documents(&read(&self.config)?)?, &self.given)?;
            return Ok(Action::Write(file.into(), Box::new(resolved)));
        }
        let (cleanup, init) = (self.given.is_set("cleanup"), self.given.is_set("init-only"));
        let pins = self.pins.clone();
        let config = self.validate(log)?;
        Ok(if cleanup {
            Action::Cleanup(CleanupArgs {
                pins,
                cgroup_root: config.cgroup_root,
                output: OutputArgs {
                    output: Output::Table,
                },
            })
        } else if init {
            Action::Init(Box::new(config))
        } else {
            Action::Run(Box::new(config))
        })
    }

    /// Checks what clap cannot and gives the settings their final types.
    pub fn validate(self, log: LogArgs) -> Result<Config, ConfigError> {
        let Self {
            pins: PinArgs { bpf_root, run_dir },
            config,
            node_name,
            state_dir,
            given,
        } = self;
        let files = read(&config)?;
        let resolved = resolve(documents(&files)?, &given)?;
        let Resolved {
            kube_proxy,
            kube_shunt,
            healthz_off,
            metrics_off,
            warnings: _,
        } = &resolved;
        absolute("--bpf-root", &bpf_root)?;
        absolute("--run-dir", &run_dir)?;
        absolute("--state-dir", &state_dir)?;
        let cgroup_root = build::path(&kube_shunt.cgroup_root);
        if let Some(dir) = &cgroup_root {
            directory("--cgroup-root", dir)?;
        }
        let address = |off: bool, text: &str, port| go::socket_address(text, port).filter(|_| !off);
        let healthz = address(
            *healthz_off,
            &kube_proxy.healthz_bind_address,
            kube_proxy::HEALTHZ_PORT,
        );
        let metrics = address(
            *metrics_off,
            &kube_proxy.metrics_bind_address,
            kube_proxy::METRICS_PORT,
        );
        if let Some(both) = healthz.filter(|_| healthz == metrics) {
            let allowed = "is --metrics-bind-address too: use two ports";
            return Err(ConfigError::value(
                "--healthz-bind-address",
                &both.to_string(),
                allowed,
            ));
        }
        let (xdp, devices) = build::devices(kube_shunt);
        let master = given.text("master").filter(|url| !url.is_empty());
        Ok(Config {
            source: source(kube_proxy, kube_shunt, master)?,
            node_name: node_name_or_host(node_name, &kube_proxy.hostname_override)?,
            bpf_root,
            cgroup_root,
            run_dir,
            state_dir,
            healthz_bind_address: healthz,
            metrics_bind_address: metrics,
            bind_address_hard_fail: kube_proxy.bind_address_hard_fail,
            policy: build::policy(&resolved),
            detector: build::detector(&resolved),
            nodeport_addresses: build::node_port_addresses(kube_proxy),
            host_routing: kube_shunt.host_routing == "bpf",
            masquerade_bit: u8::try_from(kube_proxy.mode_settings().masquerade_bit).unwrap_or(14),
            xdp,
            devices,
            capacities: build::capacities(kube_shunt),
            watch: build::watch(kube_shunt),
            watch_service_cidrs: kube_proxy.gate("MultiCIDRServiceAllocator"),
            conntrack: build::conntrack(kube_proxy),
            oom_score_adj: kube_proxy.oom_score_adj,
            health_timeout: build::health_timeout(&resolved),
            sync_batch_changes: usize::try_from(kube_shunt.sync_batch_changes)
                .unwrap_or(usize::MAX),
            log: logs(log, kube_proxy),
            resolved,
            files,
        })
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<ConfigFile>, ConfigError> {
    let read = |path: &PathBuf| match std::fs::read_to_string(path) {
        Ok(text) => Ok(ConfigFile {
            path: path.clone(),
            text,
        }),
        Err(error) => Err(ConfigError::Read {
            path: path.clone(),
            error: error.to_string(),
        }),
    };
    paths.iter().map(read).collect()
}

fn documents(files: &[ConfigFile]) -> Result<Documents, ConfigError> {
    let mut documents = Documents::default();
    for ConfigFile { path, text } in files {
        documents.add(&path.display().to_string(), text)?;
    }
    Ok(documents)
}

/// Our own flags win over kube-proxy's.
fn logs(ours: LogArgs, kube_proxy: &KubeProxyConfiguration) -> LogArgs {
    let LogArgs {
        log_format,
        log_level,
    } = ours;
    let logging = &kube_proxy.logging;
    let json = if logging.format == "json" {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    LogArgs {
        log_format: log_format.or(Some(json)),
        log_level: log_level.or_else(|| Some(build::log_level(logging.verbosity).to_owned())),
    }
}

fn source(
    kube_proxy: &KubeProxyConfiguration,
    kube_shunt: &KubeShuntConfiguration,
    master: Option<String>,
) -> Result<Source, ConfigError> {
    let kubeconfig = build::path(&kube_proxy.client_connection.kubeconfig);
    if let Some(dir) = build::path(&kube_shunt.manifests) {
        directory("--manifests", &dir)?;
        if kubeconfig.is_some() || master.is_some() || !kube_shunt.api_servers.is_empty() {
            let allowed = "cannot be used with --kubeconfig, --apiserver or --master";
            return Err(ConfigError::value(
                "--manifests",
                &dir.to_string_lossy(),
                allowed,
            ));
        }
        return Ok(Source::Manifests(dir));
    }
    if let Some(file) = kubeconfig.as_ref().filter(|file| !file.is_file()) {
        return Err(ConfigError::value(
            "--kubeconfig",
            &file.to_string_lossy(),
            "must be an existing file",
        ));
    }
    let apiservers = match kube_shunt.api_servers.as_slice() {
        [] => master.into_iter().collect(),
        servers => servers.to_vec(),
    };
    Ok(Source::Cluster {
        kubeconfig,
        apiservers,
    })
}

/// As kube-proxy does it (SEMANTICS 13.2): trimmed and in lower case; the flag, the file, the host.
fn node_name_or_host(flag: Option<String>, file: &str) -> Result<String, ConfigError> {
    let name = match flag {
        Some(name) => name,
        None if !file.is_empty() => file.to_owned(),
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
        let allowed = "must be a DNS name: lower-case letters, digits, '-' and '.', at most 253 of them, with a letter or digit at both ends";
        Err(ConfigError::value("--node-name", &name, allowed))
    }
}

fn absolute(flag: &str, path: &Path) -> Result<(), ConfigError> {
    let wrong = || ConfigError::value(flag, &path.to_string_lossy(), "must be an absolute path");
    path.is_absolute().then_some(()).ok_or_else(wrong)
}

fn directory(flag: &str, path: &Path) -> Result<(), ConfigError> {
    let wrong = || {
        ConfigError::value(
            flag,
            &path.to_string_lossy(),
            "must be an existing directory",
        )
    };
    path.is_dir().then_some(()).ok_or_else(wrong)
}
