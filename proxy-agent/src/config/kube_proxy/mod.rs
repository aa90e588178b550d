//! `KubeProxyConfiguration` (kubeproxy.config.k8s.io/v1alpha1) with every field of SEMANTICS 15. `Default` is kube-proxy's.
//!
//! As in Go, an absent field, null and, where there is a default, the zero value mean the same.

mod fields;
mod validate;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::go::Duration;
use super::settings::sections;

pub(crate) use fields::SETTINGS;
pub(crate) use validate::validate;

/// Its `apiVersion`.
pub(crate) const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// Its `kind`.
pub(crate) const KIND: &str = "KubeProxyConfiguration";
/// Feature gates that have an effect.
pub(crate) const GATES: [&str; 3] = [
    "AllowServiceExternalIPs",
    "MultiCIDRServiceAllocator",
    "PreferSameTrafficDistribution",
];
/// Port of /healthz and /livez.
pub(crate) const HEALTHZ_PORT: u16 = 10_256;
/// Port of /metrics.
pub(crate) const METRICS_PORT: u16 = 10_249;

sections! {
    /// The document.
    KubeProxyConfiguration {
        kind: String = KIND.to_owned(),
        api_version: String = API_VERSION.to_owned(),
        feature_gates: BTreeMap<String, bool> = BTreeMap::new(),
        client_connection: ClientConnection = ClientConnection::default(),
        logging: Logging = Logging::default(),
        hostname_override: String = String::new(),
        bind_address: String = "0.0.0.0".to_owned(),
        healthz_bind_address: String = String::new(),
        metrics_bind_address: String = String::new(),
        bind_address_hard_fail: bool = false,
        enable_profiling: bool = false,
        show_hidden_metrics_for_version: String = String::new(),
        mode: String = String::new(),
        iptables: Iptables = Iptables::default(),
        ipvs: Ipvs = Ipvs::default(),
        nftables: Nftables = Nftables::default(),
        winkernel: Winkernel = Winkernel::default(),
        detect_local_mode: String = String::new(),
        detect_local: DetectLocal = DetectLocal::default(),
        cluster_cidr ["clusterCIDR"]: String = String::new(),
        node_port_addresses: Vec<String> = Vec::new(),
        oom_score_adj: i32 = -999,
        conntrack: Conntrack = Conntrack::default(),
        config_sync_period: Duration = Duration::seconds(15 * 60),
        port_range: String = String::new(),
        windows_run_as_service: bool = false,
    }
    /// How the API server is reached.
    ClientConnection {
        kubeconfig: String = String::new(),
        accept_content_types: String = String::new(),
        content_type: String = "application/vnd.kubernetes.protobuf".to_owned(),
        qps: f32 = 5.0,
        burst: i32 = 10,
    }
    /// The logs.
    Logging {
        format: String = "text".to_owned(),
        flush_frequency: serde_json::Value = "5s".into(),
        verbosity: u32 = 0,
        vmodule: serde_json::Value = serde_json::Value::Array(Vec::new()),
        options: serde_json::Value = serde_json::json!({
            "text": {"infoBufferSize": "0"}, "json": {"infoBufferSize": "0"}
        }),
    }
    /// Mode iptables.
    Iptables {
        masquerade_bit: i32 = 14,
        masquerade_all: bool = false,
        localhost_node_ports: bool = true,
        sync_period: Duration = Duration::seconds(30),
        min_sync_period: Duration = Duration::seconds(1),
    }
    /// Mode ipvs.
    Ipvs {
        sync_period: Duration = Duration::seconds(30),
        min_sync_period: Duration = Duration::default(),
        scheduler: String = String::new(),
        exclude_cidrs ["excludeCIDRs"]: Vec<String> = Vec::new(),
        strict_arp ["strictARP"]: bool = false,
        tcp_timeout: Duration = Duration::default(),
        tcp_fin_timeout: Duration = Duration::default(),
        udp_timeout: Duration = Duration::default(),
    }
    /// Mode nftables.
    Nftables {
        masquerade_bit: i32 = 14,
        masquerade_all: bool = false,
        sync_period: Duration = Duration::seconds(30),
        min_sync_period: Duration = Duration::seconds(1),
    }
    /// Windows.
    Winkernel {
        network_name: String = String::new(),
        source_vip: String = String::new(),
        enable_dsr ["enableDSR"]: bool = false,
        root_hns_endpoint_name: String = String::new(),
        forward_health_check_vip: bool = false,
    }
    /// How pods of this node are told from everybody else.
    DetectLocal {
        bridge_interface: String = String::new(),
        interface_name_prefix: String = String::new(),
    }
    /// netfilter's connection tracking.
    Conntrack {
        max_per_core: i32 = 32 * 1_024,
        min: i32 = 128 * 1_024,
        tcp_established_timeout: Duration = Duration::seconds(24 * 3_600),
        tcp_close_wait_timeout: Duration = Duration::seconds(3_600),
        tcp_be_liberal: bool = false,
        udp_timeout: Duration = Duration::default(),
        udp_stream_timeout: Duration = Duration::default(),
    }
}

/// `mode`, once it is known to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// None was chosen.
    Unset,
    /// iptables.
    Iptables,
    /// ipvs.
    Ipvs,
    /// nftables.
    Nftables,
}

/// Settings that stand in another section in every mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ModeSettings {
    /// SNAT what goes to cluster IPs.
    pub masquerade_all: bool,
    /// Bit of the mark that asks for masquerade.
    pub masquerade_bit: i32,
    /// Health is lost when an update waits twice as long.
    pub sync_period: Duration,
    /// Time between two syncs.
    pub min_sync_period: Duration,
}

impl KubeProxyConfiguration {
    /// Where the zero value means the default, the default; addresses get their ports.
    #[must_use]
    pub(crate) fn completed(mut self) -> Self {
        let default = Self::default();
        let fill = |field: &mut Duration, default: Duration| {
            if field.is_zero() {
                *field = default;
            }
        };
        fill(&mut self.iptables.sync_period, default.iptables.sync_period);
        fill(
            &mut self.iptables.min_sync_period,
            default.iptables.min_sync_period,
        );
        fill(&mut self.ipvs.sync_period, default.ipvs.sync_period);
        fill(&mut self.nftables.sync_period, default.nftables.sync_period);
        fill(
            &mut self.nftables.min_sync_period,
            default.nftables.min_sync_period,
        );
        fill(&mut self.config_sync_period, default.config_sync_period);
        let fill = |field: &mut String, default: &str| {
            if field.is_empty() {
                default.clone_into(field);
            }
        };
        fill(&mut self.bind_address, &default.bind_address);
        fill(
            &mut self.client_connection.content_type,
            &default.client_connection.content_type,
        );
        fill(&mut self.logging.format, &default.logging.format);
        if matches!(
            self.logging.flush_frequency.to_string().as_str(),
            "0" | "\"0\"" | "\"0s\""
        ) {
            self.logging.flush_frequency = default.logging.flush_frequency;
        }
        if self.client_connection.qps == 0.0 {
            self.client_connection.qps = default.client_connection.qps;
        }
        if self.client_connection.burst == 0 {
            self.client_connection.burst = default.client_connection.burst;
        }
        let (healthz, metrics) = default_addresses(&self.bind_address);
        fill(&mut self.healthz_bind_address, healthz);
        fill(&mut self.metrics_bind_address, metrics);
        with_port(&mut self.healthz_bind_address, HEALTHZ_PORT);
        with_port(&mut self.metrics_bind_address, METRICS_PORT);
        self
    }

    /// The mode, if it is one that Linux has.
    pub(crate) fn mode(&self) -> Option<Mode> {
        match self.mode.as_str() {
            "" => Some(Mode::Unset),
            "iptables" => Some(Mode::Iptables),
            "ipvs" => Some(Mode::Ipvs),
            "nftables" => Some(Mode::Nftables),
            _ => None,
        }
    }

    /// The section that counts in this mode, as kube-proxy chooses it: without a mode, that of iptables.
    pub(crate) fn mode_settings(&self) -> ModeSettings {
        let Self {
            iptables,
            ipvs,
            nftables,
            ..
        } = self;
        let by_iptables = ModeSettings {
            masquerade_all: iptables.masquerade_all,
            masquerade_bit: iptables.masquerade_bit,
            sync_period: iptables.sync_period,
            min_sync_period: iptables.min_sync_period,
        };
        match self.mode() {
            Some(Mode::Nftables) => ModeSettings {
                masquerade_all: nftables.masquerade_all,
                masquerade_bit: nftables.masquerade_bit,
                sync_period: nftables.sync_period,
                min_sync_period: nftables.min_sync_period,
            },
            Some(Mode::Ipvs) => ModeSettings {
                sync_period: ipvs.sync_period,
                min_sync_period: ipvs.min_sync_period,
                ..by_iptables
            },
            Some(Mode::Unset | Mode::Iptables) | None => by_iptables,
        }
    }

    /// The address that replaces the node's primary one; the unspecified ones replace nothing (SEMANTICS 13.4).
    pub(crate) fn node_ip(&self) -> Option<IpAddr> {
        proxy_model::parse_ip(&self.bind_address).filter(|ip| !ip.is_unspecified())
    }

    /// Whether a feature gate is on; all three are by default.
    pub(crate) fn gate(&self, name: &str) -> bool {
        self.feature_gates.get(name).copied().unwrap_or(true)
    }

    /// The networks of `clusterCIDR`, in order.
    pub(crate) fn cluster_cidrs(&self) -> impl Iterator<Item = &str> {
        self.cluster_cidr
            .split(',')
            .filter(|_| !self.cluster_cidr.is_empty())
    }
}

/// /healthz for everybody, /metrics for the node itself, in the family of bindAddress.
fn default_addresses(bind_address: &str) -> (&'static str, &'static str) {
    match proxy_model::parse_ip(bind_address) {
        Some(IpAddr::V6(_)) => ("[::]:10256", "[::1]:10249"),
        _ => ("0.0.0.0:10256", "127.0.0.1:10249"),
    }
}

fn with_port(address: &mut String, port: u16) {
    if let Some(ip) = proxy_model::parse_ip(address) {
        *address = std::net::SocketAddr::new(ip, port).to_string();
    }
}
