//! Random clusters and random changes to them, small enough that everything meets everything.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proxy_model::policy::{Algorithm, DetectLocal, Network, Policy, Profile, SourceIp};
use proxy_model::{Change, Kind, raw};

use crate::oracle::World;
use crate::rig::Rig;
use crate::words::{endpoint, service, slice};

/// One step of a cluster's life.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Service(raw::Service),
    DeleteService(String),
    Slice(raw::EndpointSlice),
    DeleteSlice(String),
    Zone(&'static str),
    /// Addresses and pod ranges of our node.
    Node(&'static str),
    /// A `ServiceCIDR` of that name; `None` deletes it.
    ServiceCidr(&'static str, Option<&'static str>),
    /// Both lists anew, after these were lost meanwhile.
    Relist(Vec<String>),
    /// Milliseconds pass, then a plan.
    Plan(u64),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const ADDRESSES: [&str; 6] = [
    "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6",
];
const ADDRESSES_V6: [&str; 3] = ["fd00::1", "fd00::2", "fd00::3"];

fn words(all: &'static [&'static str]) -> impl Strategy<Value = String> {
    subsequence(all, 0..=all.len()).prop_map(|words| words.join(" "))
}

fn some_service() -> impl Strategy<Value = raw::Service> {
    let ips = select(&[
        "ip=10.96.0.1",
        "ip=10.96.0.2",
        "ip=10.96.0.3",
        "ip=10.96.0.1 ip=fd00:96::1",
        "ip=fd00:96::2",
    ]);
    let types = select(&["", "NodePort", "LoadBalancer"]);
    let more = words(&[
        "itp",
        "etp",
        "external=192.0.2.7",
        "external=2001:db8::7",
        "lb=198.51.100.9",
        "lb=2001:db8::9",
        "external=198.51.100.9",
        "affinity=60",
        "ranges=10.0.0.0/8",
        "ranges=192.0.2.0/24",
        "ranges=fd00::/16",
        "ranges=2001:db8::/32",
        "algorithm=maglev",
    ]);
    let ports = prop::collection::vec(
        (
            select(&["p", "q"]),
            select(&["TCP", "UDP"]),
            select(&[80, 81]),
            select(&[0, 30_080, 30_081]),
        ),
        1..4,
    );
    let created = select(&[
        "",
        "created=2026-01-01T00:00:00Z",
        "created=2026-01-02T00:00:00Z",
    ]);
    (select(&NAMES), ips, types, more, ports, created).prop_map(
        |(name, ips, kind, more, ports, created)| {
            let mut service = service(name, &format!("{ips} {kind} {more} {created}"));
            for (name, protocol, port, node_port) in ports {
                let port = raw::ServicePort {
                    name: name.to_owned(),
                    protocol: protocol.to_owned(),
                    port,
                    node_port,
                };
                if !service
                    .spec
                    .ports
                    .iter()
                    .any(|known| known.name == port.name && known.protocol == port.protocol)
                {
                    service.spec.ports.push(port);
                }
            }
            service
        },
    )
}

fn some_endpoint(addresses: &'static [&'static str]) -> impl Strategy<Value = raw::Endpoint> {
    let condition = select(&[
        "",
        "",
        "",
        "terminating",
        "terminating not-serving",
        "unready",
        "unready not-serving",
    ]);
    let hints = select(&[
        "",
        "",
        "zone=zone-1",
        "zone=zone-2",
        "zone=zone-1 zone=zone-2",
        "node=node-a",
        "node=node-b",
    ]);
    (select(addresses), condition, hints, select(&["", "here"])).prop_map(
        |(addr, condition, hints, here)| endpoint(&format!("{addr} {condition} {hints} {here}")),
    )
}

fn some_slice() -> impl Strategy<Value = raw::EndpointSlice> {
    let family = prop_oneof![
        3 => prop::collection::vec(some_endpoint(&ADDRESSES), 0..6).prop_map(|endpoints| ("IPv4", endpoints)),
        1 => prop::collection::vec(some_endpoint(&ADDRESSES_V6), 0..4).prop_map(|endpoints| ("IPv6", endpoints)),
    ];
    let ports = words(&[
        "p/TCP/8080",
        "p/UDP/8080",
        "q/TCP/8081",
        "q/UDP/8081",
        "p/TCP/9090",
    ]);
    (select(&NAMES), 0..3u8, ports, family).prop_map(
        |(name, number, ports, (family, endpoints))| {
            // Slices of one name may move to another Service.
            let mut slice = slice(name, &format!("slice-{number}"), &ports, &[]);
            family.clone_into(&mut slice.address_type);
            slice.endpoints = endpoints;
            slice
        },
    )
}

fn some_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => some_service().prop_map(Event::Service),
        2 => select(&NAMES).prop_map(|name| Event::DeleteService(name.to_owned())),
        8 => some_slice().prop_map(Event::Slice),
        2 => (0..3u8).prop_map(|number| Event::DeleteSlice(format!("slice-{number}"))),
        1 => select(&["zone-1", "zone-2", ""]).prop_map(Event::Zone),
        1 => select(&["", "10.1.2.3 10.200.1.0/24", "192.0.2.7 fd00:1::3 10.200.2.0/24 fd00:2::/64"]).prop_map(Event::Node),
        1 => (select(&["x", "y"]), select(&[None, Some("10.96.0.0/16 fd00:96::/108"), Some("10.97.0.0/16"), Some("10.96.0.0/16")]))
            .prop_map(|(name, cidrs)| Event::ServiceCidr(name, cidrs)),
        1 => subsequence(vec!["a", "b", "c", "d", "slice-0", "slice-1", "slice-2"], 0..4)
            .prop_map(|names| Event::Relist(names.into_iter().map(str::to_owned).collect())),
        8 => select(&[0, 10, 400, 1_000, 5_000]).prop_map(Event::Plan),
    ]
}

/// What an operator may choose.
pub(crate) fn some_policy() -> impl Strategy<Value = Policy> {
    let cidrs: Vec<Network> = vec![
        ("10.200.0.0".parse().unwrap(), 16),
        ("10.201.0.0".parse().unwrap(), 16),
    ];
    let detectors = vec![
        DetectLocal::Device,
        DetectLocal::ClusterCidr(cidrs),
        DetectLocal::NodeCidr,
        DetectLocal::Interface,
    ];
    let node_ip = vec![None, Some("10.9.9.9".parse().unwrap())];
    (
        any::<[bool; 5]>(),
        select(detectors),
        select(vec![
            Algorithm::Random,
            Algorithm::Maglev,
            Algorithm::RoundRobin,
        ]),
        select(node_ip),
    )
        .prop_map(
            |([iptables, all, exact, no_external, no_hints], detect_local, algorithm, node_ip)| {
                Policy {
                    profile: if iptables {
                        Profile::Iptables
                    } else {
                        Profile::Nftables
                    },
                    detect_local,
                    masquerade_all: all,
                    source_ip: if exact {
                        SourceIp::KubeProxy
                    } else {
                        SourceIp::Preserve
                    },
                    algorithm,
                    ignore_external_ips: no_external,
                    ignore_node_hints: no_hints,
                    node_ip,
                }
            },
        )
}

/// A cluster's life.
pub(crate) fn life() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(some_event(), 1..60)
}

impl World {
    /// Tells the oracle.
    pub(crate) fn happen(&mut self, event: &Event) {
        match event.clone() {
            Event::Service(service) => {
                drop(self.services.insert(service.metadata.name.clone(), service));
            }
            Event::DeleteService(name) => drop(self.services.remove(&name)),
            Event::Slice(slice) => drop(self.slices.insert(slice.metadata.name.clone(), slice)),
            Event::DeleteSlice(name) => drop(self.slices.remove(&name)),
            Event::Zone(zone) => zone.clone_into(&mut self.zone),
            Event::Node(words) => words.clone_into(&mut self.node),
            Event::ServiceCidr(name, Some(cidrs)) => {
                drop(self.cidrs.insert(name.to_owned(), cidrs.to_owned()));
            }
            Event::ServiceCidr(name, None) => drop(self.cidrs.remove(name)),
            Event::Relist(lost) => {
                self.services.retain(|name, _| !lost.contains(name));
                self.slices.retain(|name, _| !lost.contains(name));
            }
            Event::Plan(_) => {}
        }
    }

    /// Tells a planner everything that there is.
    pub(crate) fn tell(&self, rig: &mut Rig) {
        for service in self.services.values() {
            rig.service(service.clone());
        }
        for slice in self.slices.values() {
            rig.slice(slice.clone());
        }
        rig.node(&self.zone, &self.node);
        for (name, cidrs) in &self.cidrs {
            rig.service_cidr(name, cidrs);
        }
    }
}

/// Tells the planner; `world` is what there is after the event.
pub(crate) fn happen(rig: &mut Rig, event: &Event, world: &World) {
    match event {
        Event::Service(service) => {
            rig.service(service.clone());
        }
        Event::DeleteService(name) => {
            rig.delete(Kind::Service, name);
        }
        Event::Slice(slice) => {
            rig.slice(slice.clone());
        }
        Event::DeleteSlice(name) => {
            rig.delete(Kind::EndpointSlice, name);
        }
        Event::Zone(_) | Event::Node(_) => {
            rig.node(&world.zone, &world.node);
        }
        Event::ServiceCidr(name, cidrs) => {
            match cidrs {
                Some(cidrs) => rig.service_cidr(name, cidrs),
                None => rig.delete(Kind::ServiceCidr, name),
            };
        }
        Event::Relist(_) => {
            rig.planner.apply(Change::RelistStart(Kind::Service));
            rig.planner.apply(Change::RelistStart(Kind::EndpointSlice));
            rig.planner.apply(Change::RelistStart(Kind::ServiceCidr));
            world.tell(rig);
            rig.planner.apply(Change::RelistEnd(Kind::Service));
            rig.planner.apply(Change::RelistEnd(Kind::EndpointSlice));
            rig.planner.apply(Change::RelistEnd(Kind::ServiceCidr));
        }
        Event::Plan(_) => {}
    }
}
