//! A Service and its endpoints, as tests want them, and the YAML of both.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::probe::Proto;
use crate::topology::{Family, Node, Pod, addresses};

/// One endpoint: an address in each family, and its state.
#[derive(Clone, Debug)]
pub struct Endpoint {
    addr4: IpAddr,
    addr6: IpAddr,
    node: String,
    ready: bool,
    terminating: bool,
    hints: String,
}

impl Endpoint {
    /// A pod that is ready.
    pub fn pod(pod: &Pod) -> Self {
        Self {
            addr4: pod.ip(Family::V4),
            addr6: pod.ip(Family::V6),
            node: pod.node.clone(),
            ready: true,
            terminating: false,
            hints: String::new(),
        }
    }

    /// A pod with hostNetwork.
    pub fn host(node: &Node) -> Self {
        Self {
            addr4: node.ip(Family::V4),
            addr6: node.ip(Family::V6),
            node: node.name().to_owned(),
            ready: true,
            terminating: false,
            hints: String::new(),
        }
    }

    /// The same, not ready.
    #[must_use]
    pub fn unready(self) -> Self {
        Self {
            ready: false,
            ..self
        }
    }

    /// The same with `publishNotReadyAddresses` of its Service, on its way out (SEMANTICS 21.16).
    #[must_use]
    pub fn published(self) -> Self {
        Self {
            ready: true,
            terminating: true,
            ..self
        }
    }

    /// The same for these consumers, as the `EndpointSlice` controller hints: `forZones: [{name: z}]`.
    #[must_use]
    pub fn hints(self, hints: &str) -> Self {
        Self {
            hints: hints.to_owned(),
            ..self
        }
    }

    /// The same on its way out; it still serves.
    #[must_use]
    pub fn terminating(self) -> Self {
        Self {
            ready: false,
            terminating: true,
            ..self
        }
    }
}

/// A dual-stack Service with one TCP and one UDP port of the same number.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, in the namespace `default`.
    pub name: String,
    /// Last number of its `ClusterIPs`.
    pub index: u8,
    /// Its port.
    pub port: u16,
    /// The port of its pods.
    pub target_port: u16,
    /// Its node port; 0 is none.
    pub node_port: u16,
    /// Its external addresses.
    pub external_ips: Vec<IpAddr>,
    /// Its load-balancer addresses.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `ipMode` of these.
    pub ip_mode: &'static str,
    /// externalTrafficPolicy: Local.
    pub external_local: bool,
    /// internalTrafficPolicy: Local.
    pub internal_local: bool,
    /// Whether there is an SCTP port too.
    pub sctp: bool,
    /// `kube-shunt.io/algorithm`; none if empty.
    pub algorithm: &'static str,
    /// More lines of the spec, each indented by two and ended.
    pub spec: String,
}

impl Service {
    /// A Service on port 80 with the `ClusterIPs` of `index`.
    pub fn new(name: &str, index: u8) -> Self {
        Self {
            name: name.to_owned(),
            index,
            port: 80,
            target_port: addresses::POD_PORT,
            node_port: 0,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            ip_mode: "VIP",
            external_local: false,
            internal_local: false,
            sctp: false,
            algorithm: "",
            spec: String::new(),
        }
    }

    /// With a node port.
    #[must_use]
    pub fn node_port(self, node_port: u16) -> Self {
        Self { node_port, ..self }
    }

    /// Its `ClusterIP`.
    pub fn ip(&self, family: Family) -> IpAddr {
        addresses::cluster_ip(family, self.index)
    }

    /// Its addresses and ports, as the kernel map has them: node ports at the unspecified address.
    pub fn frontends(&self) -> impl Iterator<Item = (IpAddr, u16)> {
        let node_ports = Family::BOTH
            .map(|family| family.pick(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED))
            .map(|ip| (ip, self.node_port));
        let load_balancer_ips = (self.ip_mode == "VIP").then_some(&self.load_balancer_ips);
        let ips = Family::BOTH.map(|family| self.ip(family)).into_iter();
        ips.chain(self.external_ips.iter().copied())
            .chain(load_balancer_ips.into_iter().flatten().copied())
            .map(|ip| (ip, self.port))
            .chain(node_ports.into_iter().filter(|(_, port)| *port != 0))
    }

    fn protocols(&self) -> impl Iterator<Item = &'static str> {
        let sctp = self.sctp.then_some("SCTP");
        Proto::BOTH.map(Proto::name).into_iter().chain(sctp)
    }

    pub(super) fn yaml(&self) -> Result<String> {
        let kind = if !self.load_balancer_ips.is_empty() {
            "LoadBalancer"
        } else if self.node_port != 0 {
            "NodePort"
        } else {
            "ClusterIP"
        };
        let (v4, v6) = (self.ip(Family::V4), self.ip(Family::V6));
        let annotations = match self.algorithm {
            "" => String::new(),
            name => format!("  annotations:\n    kube-shunt.io/algorithm: {name}\n"),
        };
        let mut yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n  namespace: default\n{annotations}spec:\n  type: {kind}\n  clusterIP: {v4}\n  clusterIPs: [\"{v4}\", \"{v6}\"]\n\
            \x20 ipFamilies: [IPv4, IPv6]\n  ipFamilyPolicy: RequireDualStack\n  selector:\n    app: {}\n",
            self.name, self.name
        );
        for (field, local) in [
            ("externalTrafficPolicy", self.external_local),
            ("internalTrafficPolicy", self.internal_local),
        ] {
            writeln!(
                yaml,
                "  {field}: {}",
                if local { "Local" } else { "Cluster" }
            )?;
        }
        if !self.external_ips.is_empty() {
            writeln!(
                yaml,
                "  externalIPs: {:?}",
                self.external_ips
                    .iter()
                    .map(IpAddr::to_string)
                    .collect::<Vec<_>>()
            )?;
        }
        yaml += &self.spec;
        yaml += "  ports:\n";
        for proto in self.protocols() {
            writeln!(
                yaml,
                "  - name: {}\n    protocol: {proto}\n    port: {}\n    targetPort: {}",
                proto.to_lowercase(),
                self.port,
                self.target_port
            )?;
            if self.node_port != 0 {
                writeln!(yaml, "    nodePort: {}", self.node_port)?;
            }
        }
        if !self.load_balancer_ips.is_empty() {
            yaml += "status:\n  loadBalancer:\n    ingress:\n";
            for ip in &self.load_balancer_ips {
                writeln!(yaml, "    - ip: \"{ip}\"\n      ipMode: {}", self.ip_mode)?;
            }
        }
        Ok(yaml)
    }

    pub(super) fn slice(&self, family: Family, endpoints: &[Endpoint]) -> Result<String> {
        let lower = family.name().to_lowercase();
        let mut yaml = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{lower}\n  namespace: default\n  labels:\n    kubernetes.io/service-name: {name}\naddressType: {}\nports:\n",
            family.name(),
            name = self.name,
        );
        for proto in self.protocols() {
            writeln!(
                yaml,
                "- name: {}\n  protocol: {proto}\n  port: {}",
                proto.to_lowercase(),
                self.target_port
            )?;
        }
        yaml += if endpoints.is_empty() {
            "endpoints: []\n"
        } else {
            "endpoints:\n"
        };
        for endpoint in endpoints {
            let ip = if family == Family::V4 {
                endpoint.addr4
            } else {
                endpoint.addr6
            };
            writeln!(
                yaml,
                "- addresses: [\"{ip}\"]\n  nodeName: {}\n  conditions:\n    ready: {}\n    serving: {}\n    terminating: {}",
                endpoint.node,
                endpoint.ready,
                endpoint.ready || endpoint.terminating,
                endpoint.terminating,
            )?;
            if !endpoint.hints.is_empty() {
                writeln!(yaml, "  hints: {{{}}}", endpoint.hints)?;
            }
        }
        Ok(yaml)
    }
}
