//! Random traffic that makes sense: clients that open, use and close connections, backends that answer, routers that
//! complain, datagrams in pieces, and now and then noise. The same seed gives the same traffic.

use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::vec::Vec;

use crate::path::{Action, GSO_BY_FRAGS};
use crate::sim::build::{Build, ethernet};
use crate::sim::oracle;
use crate::sim::rng::Rng;
use crate::sim::scene::{NARROW, NODE, Names, OTHER_POD, POD, TUNNEL};
use crate::sim::{Program, Skb};

/// Programs that a node runs together.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    /// Where packets enter.
    pub ingress: Program,
    /// Where they leave.
    pub egress: Program,
}

/// A packet at a program.
#[derive(Clone, Debug)]
pub struct Shot {
    /// The program that sees it.
    pub program: Program,
    /// The packet.
    pub skb: Skb,
    /// The conversation it belongs to.
    pub talk: usize,
}

/// A conversation.
#[derive(Clone, Debug)]
struct Talk {
    proto: u8,
    client: SocketAddr,
    frontend: SocketAddr,
    /// The client's device.
    device: u32,
    /// Source and destination as the backend saw them last.
    arrived: Option<(SocketAddr, SocketAddr)>,
    /// The same for a backend before this one, which may still answer.
    earlier: Option<(SocketAddr, SocketAddr)>,
}

/// A source of packets.
#[derive(Debug)]
pub struct Traffic {
    names: Names,
    hooks: Hooks,
    frontends: Vec<SocketAddr>,
    /// Chance and choice.
    pub rng: Rng,
    talks: Vec<Talk>,
    queue: VecDeque<Shot>,
}

impl Traffic {
    /// Traffic to `frontends` of one family.
    pub fn new(names: Names, hooks: Hooks, frontends: &[SocketAddr], seed: u64) -> Self {
        Self {
            names,
            hooks,
            frontends: frontends.to_vec(),
            rng: Rng::new(seed),
            talks: Vec::new(),
            queue: VecDeque::new(),
        }
    }

    /// The next packet.
    pub fn shot(&mut self) -> Shot {
        loop {
            if let Some(shot) = self.queue.pop_front() {
                return shot;
            }
            if self.talks.is_empty() || self.talks.len() < 50 && self.rng.one_in(9) {
                self.open();
            }
            let mut talk = self.rng.below(self.talks.len());
            match self.rng.below(100) {
                0..40 => self.request(talk),
                40..78 => {
                    // Most of those who can answer.
                    for _ in 0..4 {
                        if self.talks[talk].arrived.is_none() {
                            talk = self.rng.below(self.talks.len());
                        }
                    }
                    self.answer(talk);
                }
                78..86 => self.complain(talk),
                86..93 => self.in_parts(talk),
                _ => self.noise(talk),
            }
        }
    }

    /// Tells where a packet went, so that its receiver can answer.
    pub fn saw(&mut self, shot: &Shot, action: Action, left: &Skb) {
        let Some(talk) = self.talks.get_mut(shot.talk) else {
            return;
        };
        if matches!(action, Action::Drop) || shot.program != self.hooks.ingress {
            return;
        }
        let bytes = left.bytes.get(shot.program.l2()..).unwrap_or_default();
        if let Ok(seen) = oracle::see(bytes)
            && seen.proto == talk.proto
            && seen.dst != talk.frontend
            && seen.dst != talk.client
            && !seen.fragment
        {
            let arrived = Some((seen.src, seen.dst));
            if talk.arrived != arrived {
                talk.earlier = talk.arrived;
            }
            talk.arrived = arrived;
        }
    }

    fn open(&mut self) {
        let names = self.names;
        let (ip, device) = *self.rng.pick(&[
            (names.pod, POD),
            (names.pod, POD),
            (names.local, OTHER_POD),
            (names.outside, NODE),
            (names.outside, NODE),
            (names.outside, NARROW),
            (names.tunnelled, TUNNEL),
            // A client that no route leads back to.
            (names.unreachable, NODE),
        ]);
        // Few ports, so that connections meet.
        let ports = [4000, 4001, 4002, 4003, 40_000, 40_001, 40_002, 50_000];
        let port = *self.rng.pick(&ports);
        let client = SocketAddr::new(ip.parse().unwrap_or(IpAddr::V4([0; 4].into())), port);
        let talk = Talk {
            proto: *self.rng.pick(&[6, 17, 132]),
            client,
            frontend: *self.rng.pick(&self.frontends),
            device,
            arrived: None,
            earlier: None,
        };
        self.talks.push(talk);
    }

    fn push(&mut self, program: Program, ifindex: u32, packet: &[u8], talk: usize) {
        let framed = Skb::new(ethernet(packet), ifindex);
        let skb = match program.l2() {
            0 => Skb::l3(packet.to_vec(), framed.protocol, ifindex),
            _ => framed,
        };
        self.queue.push_back(Shot { program, skb, talk });
    }

    /// A packet of the right protocol with something in it.
    fn filled(&mut self, proto: u8, src: SocketAddr, dst: SocketAddr) -> Build {
        let length = match self.rng.below(20) {
            0 => 1200 + self.rng.below(250),
            1..10 => self.rng.below(64),
            _ => 0,
        };
        let payload = self.rng.bytes(length);
        let mut packet = Build::flow(proto, src, dst).payload(&payload);
        packet = packet.id(u16::try_from(self.rng.below(1 << 16)).unwrap_or(0));
        if self.rng.one_in(2) {
            packet = packet.dont_fragment();
        }
        if self.rng.one_in(20) {
            packet = packet.ttl(u8::try_from(self.rng.below(3)).unwrap_or(0));
        }
        if self.rng.one_in(12) {
            packet = packet.options(u8::try_from(1 + self.rng.below(10)).unwrap_or(0));
        }
        if self.names.v6 && self.rng.one_in(12) {
            for _ in 0..=self.rng.below(5) {
                let more = u8::try_from(self.rng.below(4)).unwrap_or(0);
                packet = packet.extension(*self.rng.pick(&[0, 43, 44, 60]), more);
            }
        }
        if proto == 17 && self.rng.one_in(5) {
            packet = packet.zero_checksum();
        }
        packet
    }

    /// The client speaks.
    fn request(&mut self, index: usize) {
        let talk = self.talks[index].clone();
        let mut packet = self.filled(talk.proto, talk.client, talk.frontend);
        if talk.proto == 6 {
            let opening = talk.arrived.is_none() && !self.rng.one_in(8);
            let flags = [
                0x02, 0x02, 0x10, 0x10, 0x18, 0x18, 0x11, 0x14, 0x04, 0xc2, 0x12, 0x00, 0x03,
            ];
            if self.rng.one_in(3) {
                packet = packet.tcp_options(3);
            }
            packet = packet.flags(if opening {
                0x02
            } else {
                *self.rng.pick(&flags)
            });
        }
        if talk.proto == 132 {
            let opening = talk.arrived.is_none() && !self.rng.one_in(8);
            let chunks = [1, 1, 0, 0, 3, 4, 10, 7, 8, 14, 6, 2, 200];
            packet = match (opening, *self.rng.pick(&chunks)) {
                (true, _) => packet.chunk(1),
                (false, 0) if self.rng.one_in(3) => packet.partial_checksum(),
                (false, chunk) => packet.chunk(chunk),
            };
        }
        let packet = packet.packet();
        self.push(self.hooks.ingress, talk.device, &packet, index);
        if let Some(shot) = self.queue.back_mut()
            && packet.len() > 400
            && self.rng.one_in(2)
        {
            let sizes = [400, 1200, 1300, 1400];
            shot.skb.gso_size = match talk.proto {
                132 => GSO_BY_FRAGS,
                _ => *self.rng.pick(&sizes),
            };
        }
    }

    /// Programs and devices that an answer from `backend` to `to` passes.
    fn way_back(&mut self, talk: &Talk, backend: SocketAddr, to: SocketAddr) -> (Program, u32) {
        let names = &self.names;
        let is = |text: &str| text.parse() == Ok(backend.ip());
        let device = if is(names.pod) {
            POD
        } else if is(names.local) {
            OTHER_POD
        } else if is(names.tunnelled) {
            TUNNEL
        } else if is(names.narrow) {
            NARROW
        } else {
            NODE
        };
        // Answers whose client was kept are translated on their way out; sometimes they are seen on their way in as well.
        if to.ip() == talk.client.ip() && !self.rng.one_in(6) {
            (self.hooks.egress, talk.device)
        } else {
            (self.hooks.ingress, device)
        }
    }

    /// The backend answers.
    fn answer(&mut self, index: usize) {
        let talk = self.talks[index].clone();
        let earlier = talk.earlier.filter(|_| self.rng.one_in(3));
        let Some((client, backend)) = earlier.or(talk.arrived) else {
            return self.request(index);
        };
        let mut packet = self.filled(talk.proto, backend, client);
        if talk.proto == 6 {
            packet = packet.flags(
                *self
                    .rng
                    .pick(&[0x12, 0x12, 0x12, 0x10, 0x18, 0x11, 0x14, 0x04]),
            );
        }
        if talk.proto == 132 {
            let chunks = [2, 2, 2, 0, 3, 11, 7, 8, 14, 6];
            packet = packet.chunk(*self.rng.pick(&chunks));
        }
        let (program, ifindex) = self.way_back(&talk, backend, client);
        self.push(program, ifindex, &packet.packet(), index);
    }

    /// An ICMP error about a packet of either direction.
    fn complain(&mut self, index: usize) {
        let talk = self.talks[index].clone();
        let kind = if self.names.v6 {
            *self.rng.pick(&[(1, 4), (2, 0), (3, 0), (128, 0)])
        } else {
            *self.rng.pick(&[(3, 3), (3, 4), (11, 0), (8, 0)])
        };
        let router = self.names.unresolved.parse().unwrap_or(talk.client.ip());
        let own = self.rng.one_in(2);
        if let Some((client, backend)) = talk.arrived.filter(|_| !self.rng.one_in(3)) {
            let inner = self.filled(talk.proto, client, backend).packet();
            let from = if own { backend.ip() } else { router };
            let packet = Build::icmp(from, client.ip(), kind, 1400, &self.cut(inner)).packet();
            let (program, ifindex) = self.way_back(&talk, backend, client);
            return self.push(program, ifindex, &packet, index);
        }
        let inner = self.filled(talk.proto, talk.frontend, talk.client).packet();
        let from = if own { talk.client.ip() } else { router };
        let packet = Build::icmp(from, talk.frontend.ip(), kind, 1400, &self.cut(inner)).packet();
        self.push(self.hooks.ingress, talk.device, &packet, index);
    }

    /// As much of a packet as an error carries.
    fn cut(&mut self, mut inner: Vec<u8>) -> Vec<u8> {
        let headers = if self.names.v6 { 48 } else { 28 };
        let most = self.rng.below(600);
        inner.truncate(if self.rng.one_in(10) {
            most
        } else {
            headers + most
        });
        inner
    }

    /// A datagram or an SCTP packet in two parts, mostly in order.
    fn in_parts(&mut self, index: usize) {
        let talk = self.talks[index].clone();
        let back = talk.arrived.filter(|_| self.rng.one_in(2));
        let (src, dst) = back.map_or((talk.client, talk.frontend), |(client, backend)| {
            (backend, client)
        });
        let (program, ifindex) = match back {
            Some((client, backend)) => self.way_back(&talk, backend, client),
            None => (self.hooks.ingress, talk.device),
        };
        let length = 40 + self.rng.below(600);
        let payload = self.rng.bytes(length);
        let id = u16::try_from(self.rng.below(50)).unwrap_or(0);
        let proto = if talk.proto == 132 { 132 } else { 17 };
        let packet = Build::flow(proto, src, dst).payload(&payload).id(id);
        let mut parts = packet.parts(8 + self.rng.below(length));
        if self.rng.one_in(5) {
            parts.reverse();
        }
        for part in &parts {
            self.push(program, ifindex, part, index);
        }
    }

    /// A packet with bytes changed, or cut short, or no packet at all.
    fn noise(&mut self, index: usize) {
        if self.rng.one_in(2) {
            self.request(index);
        } else {
            self.answer(index);
        }
        let Some(shot) = self.queue.back_mut() else {
            return;
        };
        let l2 = shot.program.l2();
        let length = shot.skb.bytes.len();
        shot.skb.gso_size = 0;
        match self.rng.below(4) {
            0 => {
                let fresh = self.rng.bytes(length - 14);
                shot.skb.bytes.truncate(14);
                shot.skb.bytes.extend_from_slice(&fresh);
            }
            1 => shot.skb.bytes.truncate(l2 + self.rng.below(length - l2)),
            _ => {
                for _ in 0..=self.rng.below(3) {
                    // Most in the headers, where it matters; the EtherType stays.
                    let at = l2 + self.rng.below((length - l2).min(60));
                    if !(l2 == 0 && (12..14).contains(&at)) {
                        shot.skb.bytes[at] ^= u8::try_from(1 + self.rng.below(255)).unwrap_or(1);
                    }
                }
            }
        }
    }
}
