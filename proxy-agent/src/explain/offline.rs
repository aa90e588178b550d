//! A node out of files: no cluster, no traffic. Objects go through the planner, whose plan fills maps in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use proxy_common::flags::{DeviceFlags, detect, feature};
use proxy_common::value::{Device, Settings};
use proxy_kernel::explain::Sandbox;
use proxy_kernel::{NodePortAddresses, node_addr_flags};
use proxy_model::policy::{DetectLocal, SourceIp};
use proxy_model::{
    Change, MapOp, MemoryMaps, Object, Planner, PlannerConfig, Policy, ServiceView, raw,
};

use super::state::{Network, State};
use crate::manifests;
use crate::objects::{NodeFacts, Parsed};

/// The only pod's device there is, and the only one that leads elsewhere.
const DEVICES: (u32, u32) = (Sandbox::POD, Sandbox::NODE);

/// What a node is made of.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Its name.
    pub node: String,
    /// Services, `EndpointSlices`, Nodes, `ServiceCIDR`s.
    pub objects: Vec<Object>,
    /// What the Nodes among them say of themselves.
    pub nodes: Vec<NodeFacts>,
    /// Its Node object; takes the place of one among the objects.
    pub node_object: Option<Parsed>,
    /// Addresses of its interfaces, beside those of the Node object.
    pub node_addresses: Vec<IpAddr>,
    /// What holds for all Services.
    pub policy: Policy,
    /// On which local addresses `NodePort`s are served.
    pub node_port_addresses: NodePortAddresses,
}

/// A node made of [`Inputs`].
#[derive(Clone, Debug)]
pub struct Offline {
    /// What the programs see.
    pub state: State,
    /// The plan that filled the maps.
    pub ops: Vec<MapOp>,
    /// What is wrong with the objects.
    pub warnings: Vec<String>,
}

impl Offline {
    /// Plans.
    pub fn new(inputs: Inputs) -> Self {
        let Inputs {
            node,
            mut objects,
            mut nodes,
            node_object,
            node_addresses,
            policy,
            node_port_addresses,
        } = inputs;
        let mut planner = Planner::new(PlannerConfig {
            policy: policy.clone(),
            ..PlannerConfig::new(node.as_str())
        });
        if let Some(Parsed { object, node, .. }) = node_object {
            objects.push(object);
            nodes.extend(node);
        }
        let own = nodes.iter().rfind(|facts| facts.name == node);
        let addresses = own.map(|facts| facts.addresses.clone()).unwrap_or_default();
        let pods = objects.iter().rev().find_map(|object| match object {
            Object::Node(own) if own.metadata.name == node => Some(pod_networks(own)),
            _ => None,
        });
        for object in objects {
            planner.apply(Change::Upsert(object));
        }
        let ops = plan(&mut planner);
        let mut maps = MemoryMaps::default();
        maps.apply(&ops);
        let interfaces: BTreeSet<IpAddr> = node_addresses
            .into_iter()
            .chain(addresses.iter().copied())
            .collect();
        let warnings = planner.take_errors();
        let state = State {
            local: State::local_backends(&maps),
            maps,
            addrs: node_addr_flags(&node_port_addresses, &addresses, interfaces.iter().copied()),
            devices: devices(),
            pod_device: Some(DEVICES.0),
            outside_device: Some(DEVICES.1),
            settings: settings(&policy.detect_local, policy.source_ip),
            host: interfaces,
            pods: pods.unwrap_or_default(),
            names: names(&planner),
        };
        Self {
            state,
            ops,
            warnings: warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Plans until nothing is left to do: Maglev tables are built in between, as the agent does in the background.
fn plan(planner: &mut Planner) -> Vec<MapOp> {
    let mut ops = planner.plan(0);
    loop {
        let jobs = planner.table_jobs();
        if jobs.is_empty() {
            return ops;
        }
        for job in jobs {
            planner.table_done(job.build());
        }
        ops.extend(planner.plan(0));
    }
}

/// A pod's device and one that leads elsewhere. Which frames the stack would route where is not known here, and does not matter.
fn devices() -> BTreeMap<u32, Device> {
    let device = |flags| Device {
        flags,
        mtu: 1500,
        ..Device::default()
    };
    BTreeMap::from([
        (
            DEVICES.0,
            device(DeviceFlags::POD.with(DeviceFlags::INSIDE)),
        ),
        (DEVICES.1, device(DeviceFlags::NODE)),
    ])
}

/// Settings of programs that record nothing.
fn settings(detect_local: &DetectLocal, source_ip: SourceIp) -> Settings {
    let exact = match source_ip {
        SourceIp::Preserve => 0,
        SourceIp::KubeProxy => feature::EXACT_MASQUERADE,
    };
    Settings {
        features: feature::DRY_RUN | exact,
        masquerade_mark: 1 << proxy_kernel::options::MASQUERADE_BIT,
        hairpin4: proxy_kernel::settings::HAIRPIN4.into(),
        hairpin6: proxy_kernel::settings::HAIRPIN6.into(),
        snat_port_min: 1_024,
        snat_port_max: 29_999,
        detect: match detect_local {
            DetectLocal::Device | DetectLocal::Interface => detect::DEVICE,
            DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr => detect::CIDR,
        },
        ..Settings::default()
    }
}

/// `namespace/name:port` of every port; `namespace/name` of one without a name.
fn names(planner: &Planner) -> HashMap<u32, String> {
    let name = |view: ServiceView<'_>| {
        let ServiceView {
            id,
            namespace,
            name,
            port_name,
            ..
        } = view;
        (id, super::state::label(namespace, name, port_name))
    };
    planner.services().map(name).collect()
}

/// The networks of the Node's pods; what is no network is left out, the planner reports it.
fn pod_networks(node: &raw::Node) -> Vec<Network> {
    let networks = node.spec.pod_cidrs.iter();
    networks
        .filter_map(|text| {
            let (ip, bits) = text.trim().split_once('/')?;
            Some((ip.parse().ok()?, bits.parse().ok()?))
        })
        .collect()
}

/// The one Node of a file.
pub fn node_object(path: &Path, node: &str) -> anyhow::Result<Parsed> {
    let flag = || format!("--node-object {}", path.display());
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", flag()))?;
    let objects = manifests::parse(&text).map_err(|error| anyhow::anyhow!("{}:{error}", flag()))?;
    let mut nodes: Vec<_> = objects
        .into_iter()
        .filter(|parsed| parsed.node.is_some())
        .collect();
    let found = nodes.len();
    let (Some(own), 1) = (nodes.pop(), found) else {
        bail!("{}: holds {found} Nodes; expected a file with one", flag());
    };
    let name = own.node.as_ref().map_or("", |facts| &facts.name);
    ensure!(
        name == node,
        "{}: the Node is called {name:?}, but --node is {node:?}; expected the same name",
        flag()
    );
    Ok(own)
}
