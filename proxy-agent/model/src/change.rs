//! What the watches tell the planner.

use std::fmt;

use crate::raw;

/// A watched object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A Service.
    Service(raw::Service),
    /// An `EndpointSlice`.
    EndpointSlice(raw::EndpointSlice),
    /// A Node; all but our own are ignored.
    Node(raw::Node),
    /// A `ServiceCIDR`.
    ServiceCidr(raw::ServiceCidr),
}

/// A watched kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// core/v1 Service.
    Service,
    /// discovery.k8s.io/v1 `EndpointSlice`.
    EndpointSlice,
    /// core/v1 Node.
    Node,
    /// networking.k8s.io/v1 `ServiceCIDR`; a cluster may have none.
    ServiceCidr,
}

impl Kind {
    /// All kinds.
    pub const ALL: &'static [Self] = &[
        Self::Service,
        Self::EndpointSlice,
        Self::Node,
        Self::ServiceCidr,
    ];

    /// The kind as Kubernetes writes it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Kind.
    pub kind: Kind,
    /// Namespace; for namespaced kinds, empty means `default`.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        if namespace.is_empty() {
            write!(f, "{kind} {name}")
        } else {
            write!(f, "{kind} {namespace}/{name}")
        }
    }
}

/// One event of a watch.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all changes are upserts, and each lives for a moment"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object exists and looks like this.
    Upsert(Object),
    /// The object exists, but cannot be read, for this reason: it stays as it last was.
    Malformed(ObjectRef, String),
    /// The object is gone.
    Delete(ObjectRef),
    /// A new list of this kind begins: it replaces what is known.
    RelistStart(Kind),
    /// The list is complete: objects of the kind that were not upserted since its start are gone.
    RelistEnd(Kind),
}
