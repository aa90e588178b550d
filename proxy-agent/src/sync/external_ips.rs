//! External addresses that are the node's own: obeyed as kube-proxy does (SEMANTICS 21.8), but told once. Whoever may write
//! Services can take a node's port 22 so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proxy_model::{Change, Kind, Object, raw};

use crate::events::Notice;
use crate::healthcheck::ServiceId;

/// Who has external addresses, which addresses our Node has, and what was told.
#[derive(Debug)]
pub(super) struct ExternalIps {
    node_name: String,
    node: BTreeSet<IpAddr>,
    services: BTreeMap<(String, String), (String, Vec<IpAddr>)>,
    told: BTreeSet<(ServiceId, IpAddr)>,
}

impl ExternalIps {
    pub(super) fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            node: BTreeSet::new(),
            services: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Takes a change; what is new to tell about it.
    pub(super) fn see(&mut self, change: &Change) -> Vec<Notice> {
        match change {
            Change::Upsert(Object::Service(service)) => self.service(service),
            Change::Upsert(Object::Node(node)) if node.metadata.name == self.node_name => {
                let parsed = node.status.addresses.iter();
                self.node = parsed
                    .filter_map(|address| address.address.trim().parse().ok())
                    .collect();
                let all: Vec<_> = self.services.keys().cloned().collect();
                all.into_iter().flat_map(|name| self.news(&name)).collect()
            }
            Change::Delete(object) if object.kind == Kind::Service => {
                let name = (object.namespace.clone(), object.name.clone());
                self.services.remove(&name);
                self.told.retain(|(service, _)| {
                    (&service.namespace, &service.name) != (&name.0, &name.1)
                });
                Vec::new()
            }
            // The list says anew who has some.
            Change::RelistStart(Kind::Service) => {
                self.services.clear();
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn service(&mut self, service: &raw::Service) -> Vec<Notice> {
        let raw::Meta {
            namespace,
            name,
            uid,
            ..
        } = &service.metadata;
        let name = (namespace.clone(), name.clone());
        let ips = service.spec.external_ips.iter();
        let ips: Vec<IpAddr> = ips.filter_map(|ip| proxy_model::parse_ip(ip)).collect();
        if ips.is_empty() {
            self.services.remove(&name);
            return Vec::new();
        }
        self.services.insert(name.clone(), (uid.clone(), ips));
        self.news(&name)
    }

    fn news(&mut self, name: &(String, String)) -> Vec<Notice> {
        let Some((uid, ips)) = self.services.get(name) else {
            return Vec::new();
        };
        let id = ServiceId {
            namespace: name.0.clone(),
            name: name.1.clone(),
            uid: uid.clone(),
        };
        let mut notices = Vec::new();
        for ip in ips.iter().filter(|ip| self.node.contains(ip)) {
            if self.told.insert((id.clone(), *ip)) {
                let note = format!(
                    "external IP {ip} is an address of node {}: connections to the Service's ports there go to its endpoints, whatever the node itself serves on them",
                    self.node_name
                );
                notices.push(Notice::service(
                    &id,
                    "ExternalIPIsNodeAddress",
                    "SyncRules",
                    note,
                ));
            }
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use proxy_model::ObjectRef;

    use super::*;

    fn service(ips: &[&str]) -> Change {
        let mut service = raw::Service::default();
        service.metadata.namespace = "d".to_owned();
        service.metadata.name = "web".to_owned();
        service.spec.external_ips = ips.iter().map(|ip| (*ip).to_owned()).collect();
        Change::Upsert(Object::Service(service))
    }

    impl ExternalIps {
        /// How much is told of a Service with `ip` on a node with 192.0.2.1.
        fn told_of(mut self, ip: &str) -> usize {
            self.see(&node("n1", "192.0.2.1"));
            self.see(&service(&[ip])).len()
        }
    }

    fn node(name: &str, ip: &str) -> Change {
        let mut node = raw::Node::default();
        node.metadata.name = name.to_owned();
        node.status = serde_json::from_value(
            serde_json::json!({"addresses": [{"type": "InternalIP", "address": ip}]}),
        )
        .unwrap();
        Change::Upsert(Object::Node(node))
    }

    #[test]
    fn semantics_21_8_external_ip_of_the_node_is_told_once_whichever_comes_first() {
        let mut seen = ExternalIps::new("n1");
        assert!(
            seen.see(&service(&["192.0.2.1", "198.51.100.1"]))
                .is_empty()
        );
        assert!(seen.see(&node("other", "192.0.2.1")).is_empty());
        let told = seen.see(&node("n1", "192.0.2.1"));
        assert_eq!(told.len(), 1);
        assert!(told[0].note.contains("192.0.2.1") && told[0].reason == "ExternalIPIsNodeAddress");
        assert!(seen.see(&node("n1", "192.0.2.1")).is_empty());
        assert!(seen.see(&service(&["192.0.2.1"])).is_empty());
        // SEMANTICS 2.8: the same address.
        assert!(seen.see(&service(&["192.000.2.01"])).is_empty());
        assert_eq!(ExternalIps::new("n1").told_of("192.000.2.01"), 1);
        // A new list is no news; a new Service of the name is.
        assert!(seen.see(&Change::RelistStart(Kind::Service)).is_empty());
        assert!(seen.see(&service(&["192.0.2.1"])).is_empty());
        seen.see(&Change::Delete(ObjectRef {
            kind: Kind::Service,
            namespace: "d".to_owned(),
            name: "web".to_owned(),
        }));
        assert_eq!(seen.see(&service(&["192.0.2.1"])).len(), 1);
    }
}
