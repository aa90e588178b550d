//! Services, `EndpointSlices` and Nodes as YAML files in a directory that the agents watch. A file appears and changes at once.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::probe::Proto;
use crate::topology::{Family, Node, Pod};

/// The directory. Files are written beside it and renamed into it.
#[derive(Debug)]
pub struct Manifests {
    dir: PathBuf,
    drafts: PathBuf,
}

impl Manifests {
    /// An empty directory `dir`.
    pub fn create(dir: &Path) -> Result<Self> {
        let drafts = dir.with_extension("drafts");
        for dir in [dir, &drafts] {
            std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            drafts,
        })
    }

    /// What agents are given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes `<name>.yaml`, atomically.
    pub fn write(&self, name: &str, yaml: &str) -> Result<()> {
        let draft = self.drafts.join(name);
        std::fs::write(&draft, yaml)?;
        Ok(std::fs::rename(&draft, self.file(name))?)
    }

    /// Removes `<name>.yaml`.
    pub fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.file(name)).with_context(|| format!("remove {name}"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.yaml"))
    }

    /// Writes the Node objects.
    pub fn nodes(&self, nodes: &[&Node]) -> Result<()> {
        let mut yaml = String::new();
        for node in nodes {
            write!(
                yaml,
                "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels:\n    kubernetes.io/hostname: {name}\n    topology.kubernetes.io/zone: zone-{number}\n\
                status:\n  addresses:\n  - type: InternalIP\n    address: {}\n  - type: InternalIP\n    address: \"{}\"\n  - type: Hostname\n    address: {name}\n",
                node.addr4,
                node.addr6,
                name = node.name(),
                number = node.number(),
            )?;
        }
        self.write("nodes", &yaml)
    }

    /// Writes `service` and an `EndpointSlice` of each of its families with `endpoints`.
    pub fn service(&self, service: &Service, endpoints: &[Endpoint]) -> Result<()> {
        self.write(&format!("service-{}", service.name), &service.yaml()?)?;
        self.endpoints(service, endpoints)
    }

    /// Writes the `EndpointSlices` of `service`.
    pub fn endpoints(&self, service: &Service, endpoints: &[Endpoint]) -> Result<()> {
        for family in Family::BOTH {
            self.write(
                &format!("slice-{}-{}", service.name, family.name().to_lowercase()),
                &service.slice(family, endpoints)?,
            )?;
        }
        Ok(())
    }

    /// Removes the files of `service`.
    pub fn remove_service(&self, name: &str) -> Result<()> {
        self.remove(&format!("service-{name}"))?;
        Family::BOTH.into_iter().try_for_each(|family| {
            self.remove(&format!("slice-{name}-{}", family.name().to_lowercase()))
        })
    }
}

/// One endpoint: an address in each family, and its state.
#[derive(Clone, Debug)]
pub struct Endpoint {
    addr4: IpAddr,
    addr6: IpAddr,
    node: String,
    ready: bool,
    terminating: bool,
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
    /// externalTrafficPolicy: Local.
    pub external_local: bool,
    /// internalTrafficPolicy: Local.
    pub internal_local: bool,
}

impl Service {
    /// A Service on port 80 with the `ClusterIPs` of `index`.
    pub fn new(name: &str, index: u8) -> Self {
        Self {
            name: name.to_owned(),
            index,
            port: 80,
            target_port: crate::topology::addresses::POD_PORT,
            node_port: 0,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            external_local: false,
            internal_local: false,
        }
    }

    /// With a node port.
    #[must_use]
    pub fn node_port(self, node_port: u16) -> Self {
        Self { node_port, ..self }
    }

    /// Its `ClusterIP`.
    pub fn ip(&self, family: Family) -> IpAddr {
        crate::topology::addresses::cluster_ip(family, self.index)
    }

    fn yaml(&self) -> Result<String> {
        let kind = if !self.load_balancer_ips.is_empty() {
            "LoadBalancer"
        } else if self.node_port != 0 {
            "NodePort"
        } else {
            "ClusterIP"
        };
        let (v4, v6) = (self.ip(Family::V4), self.ip(Family::V6));
        let mut yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n  namespace: default\nspec:\n  type: {kind}\n  clusterIP: {v4}\n  clusterIPs: [\"{v4}\", \"{v6}\"]\n\
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
        yaml += "  ports:\n";
        for proto in Proto::BOTH {
            writeln!(
                yaml,
                "  - name: {}\n    protocol: {}\n    port: {}\n    targetPort: {}",
                proto.name().to_lowercase(),
                proto.name(),
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
                writeln!(yaml, "    - ip: \"{ip}\"\n      ipMode: VIP")?;
            }
        }
        Ok(yaml)
    }

    fn slice(&self, family: Family, endpoints: &[Endpoint]) -> Result<String> {
        let lower = family.name().to_lowercase();
        let mut yaml = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{lower}\n  namespace: default\n  labels:\n    kubernetes.io/service-name: {name}\naddressType: {}\nports:\n",
            family.name(),
            name = self.name,
        );
        for proto in Proto::BOTH {
            writeln!(
                yaml,
                "- name: {}\n  protocol: {}\n  port: {}",
                proto.name().to_lowercase(),
                proto.name(),
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
        }
        Ok(yaml)
    }
}
