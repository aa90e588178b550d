//! The objects as they come over the wire, cut down while they are parsed.
//!
//! Only what the planner and the agent read is ever allocated: no managedFields, no foreign labels and annotations. Judges
//! nothing; that is the planner's part.

mod meta;
mod node;

use proxy_model::{Kind, Object, ObjectRef, raw};
use serde::Deserialize;

pub use meta::{WireMeta, not_ours};
pub use node::{NodeFacts, WireNode};

/// An object of one of the watched kinds, with the parts that the planner does not need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// For the planner.
    pub object: Object,
    /// Of the list or the watch; empty in files.
    pub resource_version: String,
    /// Only for Nodes.
    pub node: Option<NodeFacts>,
}

/// core/v1 Service on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireService {
    metadata: WireMeta,
    #[serde(default)]
    spec: Option<raw::ServiceSpec>,
    #[serde(default)]
    status: Option<raw::ServiceStatus>,
}

impl From<WireService> for Parsed {
    fn from(wire: WireService) -> Self {
        let WireService {
            metadata,
            spec,
            status,
        } = wire;
        let (metadata, resource_version) = metadata.namespaced();
        let service = raw::Service {
            metadata,
            spec: spec.unwrap_or_default(),
            status: status.unwrap_or_default(),
        };
        Self {
            object: Object::Service(service),
            resource_version,
            node: None,
        }
    }
}

/// discovery.k8s.io/v1 `EndpointSlice` on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireSlice {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    metadata: WireMeta,
    #[serde(default)]
    address_type: Option<String>,
    #[serde(default)]
    endpoints: Option<Vec<raw::Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<raw::EndpointPort>>,
}

impl WireSlice {
    /// What it says it is: `apiVersion`, `kind`.
    pub fn take_type(&mut self) -> (Option<String>, Option<String>) {
        (self.api_version.take(), self.kind.take())
    }
}

impl From<WireSlice> for Parsed {
    fn from(wire: WireSlice) -> Self {
        let WireSlice {
            api_version: _,
            kind: _,
            metadata,
            address_type,
            endpoints,
            ports,
        } = wire;
        let (metadata, resource_version) = metadata.namespaced();
        let slice = raw::EndpointSlice {
            metadata,
            address_type: address_type.unwrap_or_default(),
            endpoints: endpoints.unwrap_or_default(),
            ports: ports.unwrap_or_default(),
        };
        Self {
            object: Object::EndpointSlice(slice),
            resource_version,
            node: None,
        }
    }
}

/// networking.k8s.io `ServiceCIDR` on the wire.
#[derive(Deserialize)]
pub struct WireServiceCidr {
    metadata: WireMeta,
    #[serde(default)]
    spec: Option<raw::ServiceCidrSpec>,
}

impl From<WireServiceCidr> for Parsed {
    fn from(wire: WireServiceCidr) -> Self {
        let WireServiceCidr { metadata, spec } = wire;
        let (metadata, resource_version) = metadata.cluster_wide();
        let spec = spec.unwrap_or_default();
        Self {
            object: Object::ServiceCidr(raw::ServiceCidr { metadata, spec }),
            resource_version,
            node: None,
        }
    }
}

/// The metadata of any watched object.
pub fn meta(object: &Object) -> &raw::Meta {
    match object {
        Object::Service(service) => &service.metadata,
        Object::EndpointSlice(slice) => &slice.metadata,
        Object::Node(node) => &node.metadata,
        Object::ServiceCidr(cidr) => &cidr.metadata,
    }
}

/// The name of any watched object.
pub fn reference(object: &Object) -> ObjectRef {
    let kind = match object {
        Object::Service(_) => Kind::Service,
        Object::EndpointSlice(_) => Kind::EndpointSlice,
        Object::Node(_) => Kind::Node,
        Object::ServiceCidr(_) => Kind::ServiceCidr,
    };
    let meta = meta(object);
    ObjectRef {
        kind,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
    }
}

#[cfg(test)]
mod tests;
