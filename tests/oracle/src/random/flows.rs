//! Random questions to a case: most of them meet a frontend.

use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;
use serde_json::Value;

use super::Case;
use super::pool::{ENDPOINTS, NODE_PORTS, PORTS, chance, v4, v6};
use crate::json::{at, items, port, text, texts};
use crate::net::address;
use crate::{Flow, From, Proto};

/// Clients in the network; the last are pods of another node.
const OUTSIDE: [[&str; 2]; 5] = [
    ["203.0.113.7", "2001:db8::7"],
    ["203.0.113.200", "2001:db8:7::7"],
    ["198.51.100.200", "2001:db8:2::c8"],
    ["10.1.1.9", "fd00:1:1::9"],
    ["10.1.1.5", "fd00:1:1::5"],
];
/// Clients behind pods' devices; the last has no pod's address.
const PODS: [[&str; 2]; 4] = [
    ["10.1.0.9", "fd00:1::9"],
    ["10.1.0.5", "fd00:1::5"],
    ["10.1.0.6", "fd00:1::6"],
    ["172.20.0.9", "fd00:99::9"],
];
const PROTOS: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Sctp];

impl Case {
    /// So many questions of a seed.
    pub fn flows(&self, seed: u64, count: usize) -> Vec<Flow> {
        let rng = &mut Rng::with_seed(seed);
        let frontends = self.frontends();
        (0..count).map(|_| self.flow(rng, &frontends)).collect()
    }

    fn flow(&self, rng: &mut Rng, frontends: &[(SocketAddr, Proto)]) -> Flow {
        let (mut dst, mut proto) = match frontends.len() {
            0 => self.stray(rng),
            _ if chance(rng, 6) => self.stray(rng),
            count => frontends[rng.usize(0..count)],
        };
        if chance(rng, 4) {
            proto = PROTOS[rng.usize(0..3)];
        }
        if chance(rng, 4) {
            dst.set_port(PORTS[rng.usize(0..PORTS.len())]);
        }
        let mut from = [From::Pod, From::Host, From::Outside][rng.usize(0..3)];
        if from == From::Host && chance(rng, 8) && NODE_PORTS.contains(&dst.port()) {
            dst.set_ip(if dst.is_ipv4() {
                v4("127.0.0.1")
            } else {
                v6("::1")
            });
        }
        if dst.ip().is_loopback() {
            from = From::Host;
        }
        // Some leave it to their source's address. A loopback destination would then not be asked from elsewhere.
        let untold = chance(rng, 12) && !dst.ip().is_loopback();
        let mut src = self.client(rng, from, dst.is_ipv4());
        // A process that connects to an address of its own node has it for its source (SEMANTICS 4.7).
        if from == From::Host && self.addresses.contains(&dst.ip()) && chance(rng, 40) {
            src = dst.ip();
        }
        Flow {
            src,
            dst,
            proto,
            from: (!untold).then_some(from),
        }
    }

    fn client(&self, rng: &mut Rng, from: From, of_v4: bool) -> IpAddr {
        let one = |rng: &mut Rng, pairs: &[[&str; 2]]| {
            let pair = pairs[rng.usize(0..pairs.len())];
            if of_v4 { v4(pair[0]) } else { v6(pair[1]) }
        };
        match from {
            From::Pod => one(rng, &PODS),
            From::Outside => one(rng, &OUTSIDE),
            From::Host => {
                let own: Vec<&IpAddr> = self
                    .addresses
                    .iter()
                    .filter(|address| address.is_ipv4() == of_v4)
                    .collect();
                *own[rng.usize(0..own.len())]
            }
        }
    }

    /// A destination that is mostly nobody's.
    fn stray(&self, rng: &mut Rng) -> (SocketAddr, Proto) {
        let pairs = [
            ["10.96.0.200", "fd00:10:96::c8"],
            ["10.96.0.10", "fd00:10:96::a"],
            ["93.184.216.34", "2001:db8:ff::1"],
            ["192.168.1.2", "fd00:192::2"],
            ENDPOINTS[2].1,
        ];
        let own = self.addresses[rng.usize(0..self.addresses.len())];
        let pair = pairs[rng.usize(0..pairs.len())];
        let ip = match rng.u32(0..5) {
            0 => own,
            1 | 2 => v4(pair[0]),
            _ => v6(pair[1]),
        };
        let number = [53, 80, 81, 8080, 30_080, 30_085][rng.usize(0..6)];
        (SocketAddr::new(ip, number), PROTOS[rng.usize(0..3)])
    }

    /// Every address and port that some Service names, served or not.
    fn frontends(&self) -> Vec<(SocketAddr, Proto)> {
        let mut all = Vec::new();
        for service in self
            .objects
            .iter()
            .filter(|object| text(object, "kind") == "Service")
        {
            let ips = addresses(service);
            for entry in items(service, "spec.ports") {
                let Some(proto) = Proto::parse(text(entry, "protocol")) else {
                    continue;
                };
                let number = port(at(entry, "port"));
                all.extend(number.into_iter().flat_map(|number| {
                    ips.iter()
                        .map(move |ip| (SocketAddr::new(*ip, number), proto))
                }));
                let own = |number| {
                    self.addresses
                        .iter()
                        .map(move |ip| (SocketAddr::new(*ip, number), proto))
                };
                all.extend(port(at(entry, "nodePort")).into_iter().flat_map(own));
            }
        }
        all
    }
}

fn addresses(service: &Value) -> Vec<IpAddr> {
    let ingress = items(service, "status.loadBalancer.ingress")
        .iter()
        .map(|entry| text(entry, "ip"));
    texts(service, "spec.clusterIPs")
        .chain([text(service, "spec.clusterIP")])
        .chain(texts(service, "spec.externalIPs"))
        .chain(ingress)
        .filter_map(address)
        .collect()
}
