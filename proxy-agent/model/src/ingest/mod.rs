//! API objects to domain types. Everything that can be wrong with an object is found here; what comes out is trusted.

mod endpointslice;
mod ip;
mod node;
mod service;
mod time;

use std::net::IpAddr;

use proxy_common::addr::proto;

pub(crate) use endpointslice::{Read, endpoint_slice};
pub use ip::parse as parse_ip;
pub(crate) use node::{node, service_cidr};
pub(crate) use service::service;

use crate::error::ObjectErrorKind;
use crate::policy::Network;
use crate::raw::Meta;
use crate::service::Proto;

/// The namespace of objects that name none, as for kubectl.
const DEFAULT_NAMESPACE: &str = "default";
/// The object belongs to another proxy (SEMANTICS 1.2).
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The slice belongs to a headless Service (SEMANTICS 1.2).
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Problems listed per object; a megabyte of bad endpoints is one log line, not thousands.
const LISTED: usize = 16;

/// The problems of one object.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<ObjectErrorKind>,
    more: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: ObjectErrorKind) {
        if self.list.contains(&problem) {
        } else if self.list.len() < LISTED {
            self.list.push(problem);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    pub(crate) fn into_list(mut self) -> Vec<ObjectErrorKind> {
        if self.more > 0 {
            self.list.push(ObjectErrorKind::More(self.more));
        }
        self.list
    }
}

/// `namespace/name`: how the planner calls an object of a namespaced kind.
pub(crate) fn full_name(namespace: &str, name: &str) -> Result<String, ObjectErrorKind> {
    let namespace = if namespace.is_empty() {
        DEFAULT_NAMESPACE
    } else {
        namespace
    };
    for part in [namespace, name] {
        if part.is_empty() || part.contains('/') {
            return Err(ObjectErrorKind::InvalidName(part.to_owned()));
        }
    }
    Ok(format!("{namespace}/{name}"))
}

/// Whether another proxy serves the object, or none (SEMANTICS 1.2). The API server's label selector does the same, but files
/// have no selector.
fn is_others(meta: &Meta) -> bool {
    meta.labels.contains_key(PROXY_NAME) || meta.labels.contains_key(HEADLESS)
}

fn protocol(name: &str) -> Option<Proto> {
    match name {
        "" | "TCP" => Some(Proto(proto::TCP)),
        "UDP" => Some(Proto(proto::UDP)),
        "SCTP" => Some(Proto(proto::SCTP)),
        _ => None,
    }
}

fn port_number(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number > 0)
}

/// An address that traffic can be sent to.
fn address(field: &'static str, text: &str, problems: &mut Problems) -> Option<IpAddr> {
    let Some(ip) = ip::parse(text) else {
        problems.add(ObjectErrorKind::InvalidAddress {
            field,
            address: text.to_owned(),
        });
        return None;
    };
    // The unspecified address is also how NodePorts are kept: letting it in would open a port on every address of the node.
    if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
        problems.add(ObjectErrorKind::SpecialAddress { field, address: ip });
        return None;
    }
    Some(ip)
}

/// The networks among `texts`, each once, in order. A bad one is left out (SEMANTICS 2.8).
fn networks(field: &'static str, texts: &[String], problems: &mut Problems) -> Box<[Network]> {
    let mut networks = Vec::with_capacity(texts.len());
    for text in texts {
        match ip::parse_network(text) {
            Some(network) => networks.push(network),
            None => problems.add(ObjectErrorKind::InvalidNetwork {
                field,
                network: text.clone(),
            }),
        }
    }
    networks.sort_unstable();
    networks.dedup();
    networks.into()
}
