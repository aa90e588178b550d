//! Services for the [scene](crate::sim::scene), one of each kind that the path treats differently, and changes to them.

use core::net::{IpAddr, SocketAddr};
use std::vec;
use std::vec::Vec;

use crate::addr::Addr;
use crate::be::Be16;
use crate::flags::{AddrFlags, BackendFlags, FrontendFlags};
use crate::key::{FrontendKey, RangeKey};
use crate::limits;
use crate::sim::rng::Rng;
use crate::sim::scene::Names;
use crate::sim::world::{Holds, World};
use crate::value::{
    Backend, BackendState, Cidr, Frontend, LutWord, Slice, backend_sets, backend_state,
};

/// What a Service is there for, its address (none for a `NodePort`) and port, backends, flags, seconds of affinity.
type Kind<'a> = (&'a str, &'a str, u16, Vec<&'a str>, FrontendFlags, u32);

/// The set of source ranges: pods of this node.
const RANGES: u32 = 7;
/// Where in LUT the table of all sets of four stands.
const TABLE: u32 = 5;

/// Writes Services of one family and hands out slots, whose numbers are the backends' ids too.
#[derive(Debug)]
pub struct Services {
    names: Names,
    slot: u32,
    last: u32,
}

impl Services {
    /// Begins at slot `slot`, which must be 1 or more.
    pub const fn new(names: Names, slot: u32) -> Self {
        Self {
            names,
            slot,
            last: 0,
        }
    }

    /// Writes one Service of each kind, for TCP, UDP and SCTP, and returns the addresses to speak to.
    pub fn all_kinds<A: Addr>(&mut self, world: &mut World) -> Vec<SocketAddr>
    where
        World: Holds<A>,
    {
        let names = self.names;
        let mut addresses = Vec::new();
        let many = [names.remote, names.local, names.narrow, names.remote];
        let kinds = [of_every_flag(&names, &many), node_ports(&names)].concat();
        for (_, ip, port, backends, flags, affinity) in kinds {
            addresses.push(SocketAddr::new(
                parse(if ip.is_empty() { names.node } else { ip }),
                port,
            ));
            for proto in [6, 17, 132] {
                let key =
                    FrontendKey::new(crate::sim::scene::addr::<A>(ip), Be16::new(port), proto);
                self.replace(world, key, &backends, flags, affinity);
            }
        }
        // A frontend whose slice lies past the end of BACKENDS, as no agent writes it.
        addresses.push(SocketAddr::new(parse(names.other_vip), 85));
        let broken = Frontend {
            service: 999,
            slices: [Slice {
                offset: limits::BACKENDS,
                count: 2,
            }; 3],
            ..Frontend::default()
        };
        for proto in [6, 17, 132] {
            let key = FrontendKey::new(
                crate::sim::scene::addr::<A>(names.other_vip),
                Be16::new(85),
                proto,
            );
            write(world, key, broken);
        }
        // Ports and an address that no Service has.
        addresses.push(SocketAddr::new(parse(names.vip), 79));
        addresses.push(SocketAddr::new(parse(names.other_vip), 79));
        addresses.push(SocketAddr::new(parse(names.free_vip), 80));
        self.surroundings::<A>(world);
        addresses
    }

    /// What frontends refer to beside backends: a table, a set of source ranges, the pods' range, a
    /// `ServiceCIDR`, and what else ADDRS knows.
    fn surroundings<A: Addr>(&self, world: &mut World)
    where
        World: Holds<A>,
    {
        use crate::sim::scene::addr;
        let names = self.names;
        world.lut.set(TABLE, LutWord([13, 0, 0, 0]));
        for word in 0..4_u16 {
            let entry = |index: u16| (word * 4 + index) % 4;
            let entries = [entry(2), entry(0), entry(3), entry(1)];
            world.lut.set(TABLE + 1 + u32::from(word), LutWord(entries));
        }
        let family = world.family_mut();
        let (prefix, set) = (if names.v6 { 32 + 64 } else { 32 + 24 }, RANGES);
        family.ranges.insert(RangeKey {
            prefix,
            set,
            addr: addr(names.pod),
        });
        for (index, ip) in [names.pod, names.vip].into_iter().enumerate() {
            let mask = addr::<A>(names.mask);
            let mut words = mask.words();
            for (word, net) in words.iter_mut().zip(addr::<A>(ip).words()) {
                *word &= net;
            }
            family.cidrs[index] = Cidr {
                addr: A::from_words(words),
                mask,
                used: 1,
            };
        }
        for (ip, flags) in [
            (names.vip, AddrFlags::ECHO),
            (names.other_vip, AddrFlags::REJECT_UNKNOWN),
        ] {
            let known = family.addrs.entry(addr(ip)).or_default();
            *known = known.with(flags);
        }
    }

    /// Gives a frontend a fresh set of backends.
    fn replace<A: Addr>(
        &mut self,
        world: &mut World,
        key: FrontendKey<A>,
        backends: &[&str],
        flags: FrontendFlags,
        affinity_seconds: u32,
    ) where
        World: Holds<A>,
    {
        let offset = self.slot;
        for (index, ip) in (0..).zip(backends) {
            let local = *ip == self.names.pod || *ip == self.names.local;
            let backend = Backend {
                addr: crate::sim::scene::addr(ip),
                port: Be16::new(8080 + index),
                flags: if local {
                    BackendFlags::LOCAL
                } else {
                    BackendFlags::default()
                },
                id: self.slot,
                generation: 1,
            };
            world.family_mut().backends.set(self.slot, backend);
            let state = BackendState {
                generation: 1,
                state: backend_state::ACTIVE,
                active: 0,
                reserved: 0,
                sets: backend_sets::CLUSTER | backend_sets::LOCAL,
            };
            world.states.set(self.slot, state);
            self.slot += 1;
        }
        let count = self.slot - offset;
        self.last += 1;
        let value = Frontend {
            service: self.last,
            flags,
            affinity_seconds,
            ranges: RANGES,
            slices: [Slice { offset, count }; 3],
            tables: [TABLE; 2],
        };
        write(world, key, value);
    }

    /// Lets some backend drain, go or come back, or gives one id to another owner. Returns the id.
    pub fn disturb(world: &mut World, rng: &mut Rng) -> Option<u32> {
        let ids: Vec<u32> = world.states.iter().map(|(id, _)| id).collect();
        if ids.is_empty() {
            return None;
        }
        let id = *rng.pick(&ids);
        let mut state = world.states.get(id)?;
        match rng.below(5) {
            0 => state.generation ^= 1,
            1 => state.state = backend_state::GONE,
            2 => state.state = backend_state::DRAINING,
            _ => state.state = backend_state::ACTIVE,
        }
        world.states.set(id, state);
        Some(id)
    }

    /// Lets the TCP frontend at `addr` choose from `slice` alone.
    pub fn point(world: &mut World, addr: SocketAddr, slice: Slice) {
        fn point<A: Addr>(world: &mut World, addr: SocketAddr, slice: Slice)
        where
            World: Holds<A>,
        {
            let key = FrontendKey::new(
                A::from_ip(addr.ip()).unwrap_or_default(),
                Be16::new(addr.port()),
                6,
            );
            if let Some(value) = world.family_mut().frontends.get_mut(&key) {
                value.slices = [slice; 3];
            }
        }
        if addr.is_ipv4() {
            point::<crate::addr::V4>(world, addr, slice);
        } else {
            point::<crate::addr::V6>(world, addr, slice);
        }
    }

    /// Moves the slice of some frontend by one or cuts it by one, as a new set of backends would. Returns its key.
    pub fn reshape<A: Addr>(world: &mut World, rng: &mut Rng) -> Option<FrontendKey<A>>
    where
        World: Holds<A>,
    {
        let frontends = &mut world.family_mut().frontends;
        let chosen = rng.below(frontends.len());
        let (key, value) = frontends.iter_mut().nth(chosen)?;
        for slice in &mut value.slices {
            if slice.offset < limits::BACKENDS && slice.count > 0 {
                match rng.below(3) {
                    0 => slice.count = 1 + slice.count % 4,
                    1 => slice.offset = 1 + slice.offset % 12,
                    _ => {}
                }
            }
        }
        Some(*key)
    }
}

/// Writes a frontend, and its address if it is no `NodePort`.
fn write<A: Addr>(world: &mut World, key: FrontendKey<A>, value: Frontend)
where
    World: Holds<A>,
{
    let family = world.family_mut();
    family.frontends.insert(key, value);
    if key.addr != A::unspecified() {
        let known = family.addrs.entry(key.addr).or_default();
        *known = known.with(AddrFlags::VIRTUAL);
    }
}

fn parse(ip: &str) -> IpAddr {
    ip.parse().unwrap_or(IpAddr::V4([0; 4].into()))
}

/// Services with a cluster address, one for each flag of a frontend; most have the backends `many`.
fn of_every_flag<'a>(names: &Names, many: &[&'a str]) -> Vec<Kind<'a>> {
    vec![
        ("many", names.vip, 80, many.to_vec(), FrontendFlags(0), 0),
        (
            "sticky",
            names.vip,
            81,
            many.to_vec(),
            FrontendFlags(0),
            10_800,
        ),
        // The same one backend behind two addresses.
        (
            "one",
            names.vip,
            82,
            vec![names.remote],
            FrontendFlags(0),
            0,
        ),
        (
            "the same",
            names.other_vip,
            82,
            vec![names.remote],
            FrontendFlags(0),
            0,
        ),
        (
            "itself",
            names.vip,
            83,
            vec![names.pod],
            FrontendFlags(0),
            0,
        ),
        ("nobody", names.vip, 84, vec![], FrontendFlags::REJECT, 0),
        (
            "in turn",
            names.vip,
            86,
            many.to_vec(),
            FrontendFlags::ROUND_ROBIN,
            0,
        ),
        (
            "least",
            names.vip,
            87,
            many.to_vec(),
            FrontendFlags::LEAST_CONNECTIONS,
            0,
        ),
        (
            "by table",
            names.vip,
            88,
            many.to_vec(),
            FrontendFlags::MAGLEV,
            0,
        ),
        (
            "guarded",
            names.other_vip,
            89,
            many.to_vec(),
            FrontendFlags::RANGES.with(FrontendFlags::ROUND_ROBIN),
            10_800,
        ),
        (
            "masqueraded",
            names.other_vip,
            90,
            many.to_vec(),
            FrontendFlags(FrontendFlags::MASQUERADE_INSIDE.0 | FrontendFlags::MASQUERADE_OUTSIDE.0),
            0,
        ),
        (
            "nobody here",
            names.other_vip,
            84,
            vec![],
            FrontendFlags::EXTERNAL,
            0,
        ),
    ]
}

/// `NodePort`s whose backends are reached in different ways.
fn node_ports<'a>(names: &Names) -> Vec<Kind<'a>> {
    vec![
        (
            "remote",
            "",
            30_080,
            vec![names.remote, names.narrow],
            FrontendFlags::NODE_PORT,
            0,
        ),
        (
            "tunnelled",
            "",
            30_081,
            vec![names.tunnelled],
            FrontendFlags::NODE_PORT,
            0,
        ),
        (
            "local",
            "",
            30_082,
            vec![names.local],
            FrontendFlags::NODE_PORT,
            0,
        ),
        (
            "unreachable",
            "",
            30_083,
            vec![names.unreachable],
            FrontendFlags::NODE_PORT,
            0,
        ),
        (
            "unresolved",
            "",
            30_084,
            vec![names.unresolved],
            FrontendFlags::NODE_PORT,
            0,
        ),
    ]
}
