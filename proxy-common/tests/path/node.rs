//! A node in words: its devices, routes and Services, and what comes out when a packet enters or leaves.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use proxy_common::addr::Addr;
use proxy_common::be::Be16;
use proxy_common::flags::{AddrFlags, BackendFlags, FrontendFlags};
use proxy_common::key::{FlowKey, FrontendKey};
use proxy_common::path::Action;
use proxy_common::reason::Reason;
use proxy_common::sim::build::{Build, ethernet};
use proxy_common::sim::oracle::{self, Seen};
use proxy_common::sim::{Program, Skb, World, scene};
use proxy_common::value::{
    Backend, BackendState, Flow, Frontend, Settings, Slice, backend_sets, backend_state,
};

pub(crate) use proxy_common::sim::scene::{
    FAMILIES, MARK, NARROW, NODE, Names, OTHER_POD, POD, PORTS, TUNNEL,
};

/// MAC addresses of the way out of `NODE`, destination first.
pub(crate) const NODE_MACS: [u8; 12] = scene::macs(NODE);

/// `ip`:`port`.
pub(crate) fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) action: Action,
    pub(crate) skb: Skb,
    /// As its receiver reads it.
    pub(crate) seen: Seen,
    /// What was counted.
    pub(crate) reasons: Vec<Reason>,
}

impl Out {
    /// Asserts action, addresses and the only reason that was counted.
    #[track_caller]
    pub(crate) fn is(
        &self,
        action: Action,
        src: SocketAddr,
        dst: SocketAddr,
        reason: Reason,
    ) -> &Self {
        assert_eq!(
            (
                self.action,
                self.seen.src,
                self.seen.dst,
                self.reasons.as_slice()
            ),
            (action, src, dst, [reason].as_slice())
        );
        self
    }
}

/// A node with devices and routes, and no Services yet.
pub(crate) struct Node {
    pub(crate) world: World,
    slots: u32,
    /// Programs that stand in for TC's: those of devices without link-layer header.
    pub(crate) l3: Cell<bool>,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with_flows(1 << 16)
    }

    pub(crate) fn with_flows(flows: usize) -> Self {
        Self::with_settings(scene::settings(), flows)
    }

    pub(crate) fn with_settings(settings: Settings, flows: usize) -> Self {
        Self {
            world: scene::world(settings, flows),
            slots: 1,
            l3: Cell::new(false),
        }
    }

    /// Writes a backend set and makes its backends active. Ids are the slots.
    pub(crate) fn set(&mut self, backends: &[(SocketAddr, bool)]) -> Slice {
        let offset = self.slots;
        for (addr, local) in backends {
            let id = self.slots;
            let generation = 1;
            self.state(id, backend_state::ACTIVE);
            let flags = if *local {
                BackendFlags::LOCAL
            } else {
                BackendFlags::default()
            };
            let port = Be16::new(addr.port());
            match addr.ip() {
                IpAddr::V4(ip) => {
                    let backend = Backend {
                        addr: ip.into(),
                        port,
                        flags,
                        id,
                        generation,
                    };
                    self.world.v4.backends.set(id, backend);
                }
                IpAddr::V6(ip) => {
                    let backend = Backend {
                        addr: ip.into(),
                        port,
                        flags,
                        id,
                        generation,
                    };
                    self.world.v6.backends.set(id, backend);
                }
            }
            self.slots += 1;
        }
        Slice {
            offset,
            count: u32::try_from(backends.len()).unwrap(),
        }
    }

    /// Sets the state of a backend id.
    pub(crate) fn state(&mut self, id: u32, state: u16) {
        let old = self.world.states.get(id).unwrap();
        let (generation, sets) = if old.generation == 0 {
            (1, backend_sets::CLUSTER | backend_sets::LOCAL)
        } else {
            (old.generation, old.sets)
        };
        self.world.states.set(
            id,
            BackendState {
                generation,
                state,
                sets,
                ..old
            },
        );
    }

    /// A frontend with the same backend set for every class.
    pub(crate) fn service(
        &mut self,
        frontend: SocketAddr,
        proto: u8,
        backends: &[(SocketAddr, bool)],
    ) -> Slice {
        let slice = self.set(backends);
        let flags = if backends.is_empty() {
            FrontendFlags::REJECT
        } else {
            FrontendFlags::default()
        };
        self.frontend(frontend, proto, flags, [slice; 3]);
        slice
    }

    /// A `NodePort` with the same backend set for every class, served on the node's address.
    pub(crate) fn node_port(
        &mut self,
        names: &Names,
        port: u16,
        proto: u8,
        backends: &[(SocketAddr, bool)],
    ) -> Slice {
        let slice = self.set(backends);
        let any = if names.v6 { "::" } else { "0.0.0.0" };
        self.frontend(
            at(any, port),
            proto,
            FrontendFlags::NODE_PORT.with(FrontendFlags::EXTERNAL),
            [slice; 3],
        );
        slice
    }

    /// Serves every `NodePort` on `ip`.
    pub(crate) fn serve_node_ports(&mut self, ip: IpAddr) {
        self.know(ip, AddrFlags::NODE.with(AddrFlags::NODE_PORT));
    }

    /// Adds bits to what ADDRS has of `ip`.
    pub(crate) fn know(&mut self, ip: IpAddr, flags: AddrFlags) {
        let place = match ip {
            IpAddr::V4(ip) => self.world.v4.addrs.entry(ip.into()).or_default(),
            IpAddr::V6(ip) => self.world.v6.addrs.entry(ip.into()).or_default(),
        };
        *place = place.with(flags);
    }

    /// Writes a frontend.
    pub(crate) fn frontend(
        &mut self,
        addr: SocketAddr,
        proto: u8,
        flags: FrontendFlags,
        slices: [Slice; 3],
    ) {
        let value = Frontend {
            service: u32::from(addr.port()),
            flags,
            slices,
            ..Frontend::default()
        };
        self.write(addr, proto, value);
    }

    /// Writes a frontend's value as it is.
    pub(crate) fn write(&mut self, addr: SocketAddr, proto: u8, value: Frontend) {
        let port = Be16::new(addr.port());
        if !addr.ip().is_unspecified() {
            self.know(addr.ip(), AddrFlags::VIRTUAL);
        }
        match addr.ip() {
            IpAddr::V4(ip) => self
                .world
                .v4
                .frontends
                .insert(FrontendKey::new(ip.into(), port, proto), value),
            IpAddr::V6(ip) => self
                .world
                .v6
                .frontends
                .insert(FrontendKey::new(ip.into(), port, proto), value),
        };
    }

    /// Runs `program` on a packet without link-layer header, and judges what comes out.
    #[track_caller]
    pub(crate) fn run(&self, program: Program, ifindex: u32, packet: &[u8]) -> Out {
        let frame = ethernet(packet);
        let skb = Skb::new(frame, ifindex);
        let skb = if program.l2() == 0 {
            Skb::l3(packet.to_vec(), skb.protocol, ifindex)
        } else {
            skb
        };
        self.run_skb(program, skb)
    }

    /// The same for a packet that the kernel knows more of.
    #[track_caller]
    pub(crate) fn run_skb(&self, program: Program, mut skb: Skb) -> Out {
        let before = self.world.counters.borrow().clone();
        let action = program.run(&self.world, &mut skb);
        let mut reasons = Vec::new();
        for ((reason, hook), count) in self.world.counters.borrow().iter() {
            let more = count - before.get(&(*reason, *hook)).unwrap_or(&0);
            assert!(more == 0 || *hook == program.hook());
            reasons.extend(std::iter::repeat_n(*reason, usize::try_from(more).unwrap()));
        }
        self.check_pairs();
        let seen = oracle::see(&skb.bytes[program.l2()..])
            .unwrap_or_else(|wrong| panic!("{wrong:?} in {action:?} of {skb:?}"));
        Out {
            action,
            skb,
            seen,
            reasons,
        }
    }

    /// TC ingress.
    #[track_caller]
    pub(crate) fn enter(&self, ifindex: u32, packet: &[u8]) -> Out {
        let program = if self.l3.get() {
            Program::TcIngressL3
        } else {
            Program::TcIngress
        };
        self.run(program, ifindex, packet)
    }

    /// TC egress.
    #[track_caller]
    pub(crate) fn leave(&self, ifindex: u32, packet: &[u8]) -> Out {
        let program = if self.l3.get() {
            Program::TcEgressL3
        } else {
            Program::TcEgress
        };
        self.run(program, ifindex, packet)
    }

    /// Lets `seconds` pass.
    pub(crate) fn wait(&self, seconds: u32) {
        self.world.clock.set(self.world.clock.get() + seconds);
    }

    /// Entries of FLOWS and of EMBRYOS, of both families.
    pub(crate) fn entries(&self) -> (usize, usize) {
        let World { v4, v6, .. } = &self.world;
        (
            v4.flows.len() + v6.flows.len(),
            v4.embryos.len() + v6.embryos.len(),
        )
    }

    /// Flows of a family as (key, value) of addresses.
    pub(crate) fn states(&self, names: &Names) -> Vec<u16> {
        if names.v6 {
            self.world
                .v6
                .flows
                .all()
                .iter()
                .map(|(_, flow)| flow.state)
                .collect()
        } else {
            self.world
                .v4
                .flows
                .all()
                .iter()
                .map(|(_, flow)| flow.state)
                .collect()
        }
    }

    /// Whether the entry of every direction has the other one.
    #[track_caller]
    fn check_pairs(&self) {
        check_pairs(&self.world.v4.flows.all());
        check_pairs(&self.world.v6.flows.all());
    }
}

#[track_caller]
pub(crate) fn check_pairs<A: Addr>(flows: &[(FlowKey<A>, Flow<A>)]) {
    let find = |key: &FlowKey<A>| flows.iter().find(|(other, _)| other == key);
    for (key, flow) in flows {
        let (_, peer) = find(&flow.peer(key.proto)).unwrap_or_else(|| panic!("{key:?} is alone"));
        assert_eq!(peer.peer(key.proto), *key);
        assert_ne!(peer.flags, flow.flags, "both are of one direction");
    }
}

/// Protocols.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;

/// The packet that opens a connection.
pub(crate) fn opening(proto: u8, src: SocketAddr, dst: SocketAddr) -> Build {
    match proto {
        TCP => Build::tcp(src, dst).syn(),
        SCTP => Build::sctp(src, dst).chunk(1),
        _ => Build::udp(src, dst),
    }
}

/// The first answer to it.
pub(crate) fn answering(proto: u8, src: SocketAddr, dst: SocketAddr) -> Build {
    match proto {
        TCP => Build::tcp(src, dst).syn_ack(),
        SCTP => Build::sctp(src, dst).chunk(2),
        _ => Build::udp(src, dst),
    }
}
