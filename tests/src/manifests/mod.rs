//! Services, `EndpointSlices` and Nodes as YAML files in a directory that the agents watch. A file appears and changes at once.

mod service;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::topology::addresses::pod_networks;
use crate::topology::{Family, Node};

pub use service::{Endpoint, Service};

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
            let (pods4, pods6) = pod_networks(node.number());
            write!(
                yaml,
                "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels:\n    kubernetes.io/hostname: {name}\n    topology.kubernetes.io/zone: zone-{number}\n\
                spec:\n  podCIDRs: [\"{pods4}\", \"{pods6}\"]\n\
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
        let write = |family| self.slice(service, family, endpoints);
        Family::BOTH.into_iter().try_for_each(write)
    }

    /// Writes the `EndpointSlice` of one family.
    pub fn slice(&self, service: &Service, family: Family, endpoints: &[Endpoint]) -> Result<()> {
        self.write(
            &format!("slice-{}-{}", service.name, family.name().to_lowercase()),
            &service.slice(family, endpoints)?,
        )
    }

    /// Removes the files of `service`.
    pub fn remove_service(&self, name: &str) -> Result<()> {
        self.remove(&format!("service-{name}"))?;
        Family::BOTH.into_iter().try_for_each(|family| {
            self.remove(&format!("slice-{name}-{}", family.name().to_lowercase()))
        })
    }
}
