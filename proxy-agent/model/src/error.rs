//! What can be wrong with an object. One bad object or port never stops the others.

use std::net::IpAddr;

use crate::change::ObjectRef;

/// A problem of one object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {kind}")]
pub struct ObjectError {
    /// The object.
    pub object: ObjectRef,
    /// Its uid; may be empty.
    pub uid: String,
    /// The problem.
    pub kind: ObjectErrorKind,
}

/// The problem, and what is left out because of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ObjectErrorKind {
    /// A field is of another type than it should be.
    #[error("{0}; the object stays as it last was")]
    Malformed(String),
    /// No name, or one with a slash.
    #[error("{0:?} is no object name; the object is ignored")]
    InvalidName(String),
    /// A Service without a usable port.
    #[error("no usable port; the Service is ignored")]
    NoPorts,
    /// Neither TCP, UDP nor SCTP.
    #[error("port {port:?}: unknown protocol {protocol:?}; the port is ignored")]
    UnknownProtocol {
        /// Port name.
        port: String,
        /// The protocol.
        protocol: String,
    },
    /// Not in 1 to 65535.
    #[error("port {port:?}: {number} is no port number; the port is ignored")]
    PortOutOfRange {
        /// Port name.
        port: String,
        /// The number.
        number: i64,
    },
    /// Not in 0 to 65535.
    #[error("port {port:?}: {number} is no node port; the port gets no NodePort")]
    NodePortOutOfRange {
        /// Port name.
        port: String,
        /// The number.
        number: i64,
    },
    /// Two ports with one name and protocol.
    #[error("port {0:?} comes twice with the same protocol; the second one is ignored")]
    DuplicatePort(String),
    /// Not an IP address.
    #[error("{field}: {address:?} is no IP address; it is ignored")]
    InvalidAddress {
        /// Where it stands.
        field: &'static str,
        /// The text.
        address: String,
    },
    /// An address that no traffic can be sent to.
    #[error("{field}: {address} is unspecified, loopback or multicast; it is ignored")]
    SpecialAddress {
        /// Where it stands.
        field: &'static str,
        /// The address.
        address: IpAddr,
    },
    /// An address that is not of the slice's address type.
    #[error("address {0} is not of the slice's address type; the endpoint is ignored")]
    WrongFamily(IpAddr),
    /// Neither `Cluster` nor `Local`.
    #[error("{field}: unknown policy {policy:?}; taken as Cluster")]
    UnknownPolicy {
        /// Which policy.
        field: &'static str,
        /// The text.
        policy: String,
    },
    /// Not a network in CIDR notation.
    #[error("{field}: {network:?} is no network; it is ignored")]
    InvalidNetwork {
        /// Where it stands.
        field: &'static str,
        /// The text.
        network: String,
    },
    /// A Service with a health check that has no port for it (SEMANTICS 2.11).
    #[error("spec.healthCheckNodePort: {0} is no port number; the Service has no health check")]
    HealthCheckPort(i64),
    /// The annotation `kube-shunt.io/algorithm` has an unknown value.
    #[error(
        "annotation kube-shunt.io/algorithm: unknown algorithm {0:?}; the default is used (known are random, round-robin, \
         maglev and least-connections)"
    )]
    UnknownAlgorithm(String),
    /// The annotation `endpoints.kubernetes.io/last-change-trigger-time` is no timestamp (SEMANTICS 6.4).
    #[error(
        "annotation endpoints.kubernetes.io/last-change-trigger-time: {0:?} is no timestamp; it is ignored"
    )]
    TriggerTime(String),
    /// More `ServiceCIDR`s than CIDRS has room for.
    #[error("no room for more ServiceCIDRs: packets to unknown addresses of {0} pass")]
    ServiceCidrRoom(String),
    /// An external address that is the node's own, with the port of SSH (SEMANTICS 21.8).
    #[error("{0} is this node's own: connections to the node's SSH port go to the Service")]
    CapturesSsh(IpAddr),
    /// No room in LUT, or more endpoints than a Maglev table can hold.
    #[error(
        "port {0:?}: no room for a Maglev table; backends are chosen by a hash of the client's address"
    )]
    NoTable(String),
    /// Neither `None` nor `ClientIP`.
    #[error("unknown session affinity {0:?}; taken as None")]
    UnknownAffinity(String),
    /// Not in 1 to 86400.
    #[error("session affinity timeout of {0} s is out of range; 10800 s are used")]
    AffinityTimeout(i64),
    /// A slice without the label `kubernetes.io/service-name`.
    #[error("no label kubernetes.io/service-name; the slice is ignored")]
    NoServiceName,
    /// Neither `IPv4` nor `IPv6`.
    #[error("address type {0:?} is not supported; the slice is ignored")]
    AddressType(String),
    /// A slice port without name.
    #[error("slice port number {0} has no name; it is ignored")]
    UnnamedPort(usize),
    /// A slice port without number, which would mean all ports.
    #[error("slice port {0:?} has no number; it is ignored")]
    NoPortNumber(String),
    /// An endpoint without addresses.
    #[error("endpoint number {0} has no address; it is ignored")]
    NoAddress(usize),
    /// The list of problems was cut.
    #[error("{0} more problems of this object are not listed")]
    More(usize),
    /// Another Service has the frontend already.
    #[error("{frontend} belongs to Service {winner} already; it is not served for this one")]
    DuplicateFrontend {
        /// The frontend.
        frontend: String,
        /// The Service that has it.
        winner: String,
    },
    /// A map is full.
    #[error("port {port:?}: map {map} is full; the port keeps its old state")]
    NoRoom {
        /// Port name and protocol.
        port: String,
        /// The map.
        map: &'static str,
    },
}

impl ObjectErrorKind {
    /// A metric label, from a closed set.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::InvalidName(_) => "invalid_name",
            Self::NoPorts => "no_ports",
            Self::UnknownProtocol { .. } => "unknown_protocol",
            Self::PortOutOfRange { .. } => "port_out_of_range",
            Self::NodePortOutOfRange { .. } => "node_port_out_of_range",
            Self::DuplicatePort(_) => "duplicate_port",
            Self::InvalidAddress { .. } => "invalid_address",
            Self::SpecialAddress { .. } => "special_address",
            Self::WrongFamily(_) => "wrong_family",
            Self::UnknownPolicy { .. } => "unknown_policy",
            Self::InvalidNetwork { .. } => "invalid_network",
            Self::HealthCheckPort(_) => "health_check_port",
            Self::UnknownAlgorithm(_) => "unknown_algorithm",
            Self::TriggerTime(_) => "trigger_time",
            Self::ServiceCidrRoom(_) => "service_cidr_room",
            Self::CapturesSsh(_) => "captures_ssh",
            Self::NoTable(_) => "no_table",
            Self::UnknownAffinity(_) => "unknown_affinity",
            Self::AffinityTimeout(_) => "affinity_timeout",
            Self::NoServiceName => "no_service_name",
            Self::AddressType(_) => "address_type",
            Self::UnnamedPort(_) => "unnamed_port",
            Self::NoPortNumber(_) => "no_port_number",
            Self::NoAddress(_) => "no_address",
            Self::More(_) => "more",
            Self::DuplicateFrontend { .. } => "duplicate_frontend",
            Self::NoRoom { .. } => "no_room",
        }
    }
}
