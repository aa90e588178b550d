//! discovery.k8s.io/v1 `EndpointSlice` to [`EndpointSlice`].

use std::collections::BTreeMap;

use proxy_common::addr::{Addr, V4, V6};

use super::{Problems, address, full_name, is_others, port_number, protocol, time};
use crate::endpoint::{Endpoint, EndpointSlice, Endpoints, Facts, SlicePort, Zones};
use crate::error::ObjectErrorKind;
use crate::policy::Policy;
use crate::raw;

/// The label that names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// When the change that led to this version of the slice began.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A slice that is ours to read.
pub(crate) struct Read {
    /// Full name of its Service.
    pub(crate) service: String,
    pub(crate) slice: EndpointSlice,
    /// Nanoseconds since 1970 (SEMANTICS 6.4).
    pub(crate) triggered: Option<i64>,
}

/// The slice, or `None` if it is not ours to read (SEMANTICS 1.2, 1.5) or useless.
pub(crate) fn endpoint_slice(
    raw: raw::EndpointSlice,
    node_name: &str,
    policy: &Policy,
    problems: &mut Problems,
) -> Option<Read> {
    let raw::EndpointSlice {
        metadata,
        address_type,
        endpoints,
        ports,
    } = raw;
    if is_others(&metadata) {
        return None;
    }
    let Some(service) = metadata
        .labels
        .get(SERVICE_NAME)
        .filter(|name| !name.is_empty())
    else {
        problems.add(ObjectErrorKind::NoServiceName);
        return None;
    };
    let service = full_name(&metadata.namespace, service)
        .map_err(|problem| problems.add(problem))
        .ok()?;
    let mut zones = ZoneTable::default();
    let reader = Reader {
        node_name,
        node_hints: !policy.ignore_node_hints,
    };
    let endpoints = match address_type.as_str() {
        "IPv4" => Endpoints::V4(reader.family::<V4>(endpoints, &mut zones, problems)),
        "IPv6" => Endpoints::V6(reader.family::<V6>(endpoints, &mut zones, problems)),
        _ => {
            problems.add(ObjectErrorKind::AddressType(address_type));
            return None;
        }
    };
    let slice = EndpointSlice {
        ports: slice_ports(ports, problems),
        endpoints,
        zones: zones.list.into(),
    };
    let triggered = metadata.annotations.get(TRIGGER_TIME).and_then(|text| {
        let time = time::nanoseconds(text);
        if time.is_none() {
            problems.add(ObjectErrorKind::TriggerTime(text.clone()));
        }
        time
    });
    Some(Read {
        service,
        slice,
        triggered,
    })
}

/// What is needed to read endpoints.
struct Reader<'a> {
    node_name: &'a str,
    node_hints: bool,
}

impl Reader<'_> {
    fn family<A: Addr>(
        &self,
        raw: Vec<raw::Endpoint>,
        zones: &mut ZoneTable,
        problems: &mut Problems,
    ) -> Box<[Endpoint<A>]> {
        let Self {
            node_name,
            node_hints,
        } = *self;
        let mut endpoints = Vec::with_capacity(raw.len());
        for (index, endpoint) in raw.into_iter().enumerate() {
            let raw::Endpoint {
                addresses,
                conditions,
                node_name: endpoint_node,
                hints,
            } = endpoint;
            let Some(text) = addresses.first() else {
                problems.add(ObjectErrorKind::NoAddress(index));
                continue;
            };
            let Some(ip) = address("endpoints.addresses", text, problems) else {
                continue;
            };
            let Some(addr) = A::from_ip(ip) else {
                problems.add(ObjectErrorKind::WrongFamily(ip));
                continue;
            };
            // SEMANTICS 5.2: with the gate off, node hints are not even parsed.
            let for_nodes = if node_hints { &*hints.for_nodes } else { &[] };
            let for_node =
                !node_name.is_empty() && for_nodes.iter().any(|hint| hint.name == node_name);
            let facts = conditions_of(&conditions)
                .with(
                    Facts::LOCAL,
                    !node_name.is_empty() && endpoint_node.as_deref() == Some(node_name),
                )
                .with(Facts::NODE_HINT, !for_nodes.is_empty())
                .with(Facts::FOR_NODE, for_node);
            endpoints.push(Endpoint {
                addr,
                facts,
                zones: zones.index(hints.for_zones),
            });
        }
        endpoints.into()
    }
}

/// SEMANTICS 1.8.
fn conditions_of(raw: &raw::Conditions) -> Facts {
    let raw::Conditions {
        ready,
        serving,
        terminating,
    } = *raw;
    Facts::default()
        .with(Facts::READY, ready.unwrap_or(true))
        .with(Facts::SERVING, serving.unwrap_or(true))
        .with(Facts::TERMINATING, terminating.unwrap_or(false))
}

/// SEMANTICS 1.6.
fn slice_ports(raw: Vec<raw::EndpointPort>, problems: &mut Problems) -> Box<[SlicePort]> {
    let mut ports = Vec::with_capacity(raw.len());
    for (
        index,
        raw::EndpointPort {
            name,
            protocol: protocol_name,
            port,
        },
    ) in raw.into_iter().enumerate()
    {
        let Some(name) = name else {
            problems.add(ObjectErrorKind::UnnamedPort(index));
            continue;
        };
        let protocol_name = protocol_name.unwrap_or_default();
        let Some(proto) = protocol(&protocol_name) else {
            problems.add(ObjectErrorKind::UnknownProtocol {
                port: name,
                protocol: protocol_name,
            });
            continue;
        };
        match port {
            None | Some(0) => problems.add(ObjectErrorKind::NoPortNumber(name)),
            Some(number) => match port_number(number) {
                Some(port) => ports.push(SlicePort {
                    name: name.into(),
                    proto,
                    port,
                }),
                None => problems.add(ObjectErrorKind::PortOutOfRange { port: name, number }),
            },
        }
    }
    // So that a port is found at once, however many there are; equal ones stay in their order.
    ports.sort_by(|one: &SlicePort, other| one.name_and_proto().cmp(&other.name_and_proto()));
    ports.into()
}

/// The distinct zone hints of a slice: few, while endpoints are many.
#[derive(Default)]
struct ZoneTable {
    list: Vec<Zones>,
    known: BTreeMap<Zones, u16>,
}

impl ZoneTable {
    /// Index of the hints plus one; 0 for none. A slice with 65535 different ones, which no controller writes, has no more.
    fn index(&mut self, hints: Vec<raw::Hint>) -> u16 {
        if hints.is_empty() {
            return 0;
        }
        let mut zones: Vec<Box<str>> = hints.into_iter().map(|hint| hint.name.into()).collect();
        zones.sort_unstable();
        zones.dedup();
        let zones: Zones = zones.into();
        if let Some(index) = self.known.get(&zones) {
            return *index;
        }
        let Ok(index) = u16::try_from(self.list.len().saturating_add(1)) else {
            return 0;
        };
        self.list.push(zones.clone());
        self.known.insert(zones, index);
        index
    }
}
